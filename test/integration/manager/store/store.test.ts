import { chmod, mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { DEFAULT_STORE_LIMITS } from "../../../../manager/store/limits.ts";
import { openStore } from "../../../../manager/store/open-store.ts";
import { StoreThread } from "../../../../manager/store/store-thread.ts";
import type { Receipt } from "../../../../shared/api/schemas.ts";
import { REVISION } from "../../../unit/manager/store/tables.ts";
import {
  bytesIn,
  lifecycleStep,
  message,
  mirrorChange,
  openTestStore,
  recordedLog,
  temporaryDirectory,
  vm,
} from "./stores.ts";

const delivered = { type: "delivered" as const, result: { epoch: "e", revision: 1, replaced: [] as string[] } };

describe("the store", () => {
  test("keeps what it answered when it is opened again", async () => {
    const directory = await temporaryDirectory();
    const first = await openTestStore(directory);
    await first.keepMessages([message("open"), message("secret", "hunter2", true)]);
    await first.close();
    const second = await openTestStore(directory);
    expect((await second.nextMessage(vm.id, REVISION))?.change).toEqual(message("open").change);
    await second.settle("open", delivered, Date.now());
    expect((await second.nextMessage(vm.id, REVISION))?.change).toEqual(message("secret", "hunter2", true).change);
  });

  test("shares a commit between all requests that came while it was busy", async () => {
    const commits: number[] = [];
    const options = { limits: { pendingPerVm: 2000 }, onCommit: (requests: number) => commits.push(requests) };
    const store = await openTestStore(await temporaryDirectory(), options);
    const messages = Array.from({ length: 2000 }, (_, index) => message(`m${index}`));
    const kept = await Promise.all(messages.map((one) => store.keepMessages([one])));
    expect(kept.every(([one]) => one?.type === "new")).toBe(true);
    expect(commits.reduce((sum, requests) => sum + requests)).toBe(2000);
    expect(commits.length).toBeLessThan(20);
  });

  test("does requests in the order of the calls", async () => {
    const store = await openTestStore(await temporaryDirectory());
    const ids = Array.from({ length: 50 }, (_, index) => `m${index}`);
    await Promise.all(ids.map((id) => store.keepMessages([message(id)])));
    expect((await store.pendingOf(vm.id)).map(({ messageId }) => messageId)).toEqual(ids);
  });

  test("never delivers what is over by its clock", async () => {
    let now = 1000;
    const store = await openTestStore(await temporaryDirectory(), { clock: () => now });
    await store.keepMessages([{ ...message("m"), expiresAt: 2000 }]);
    expect((await store.nextMessage(vm.id, REVISION))?.messageId).toBe("m");
    now = 2000;
    expect(await store.nextMessage(vm.id, REVISION)).toBeUndefined();
  });

  test("expires and prunes any number, other requests in between", async () => {
    const store = await openTestStore(await temporaryDirectory(), {
      limits: { pendingPerVm: 2000, receiptsPerVm: 10 },
    });
    const messages = Array.from({ length: 1200 }, (_, index) => ({ ...message(`m${index}`), expiresAt: 5 }));
    await store.keepMessages(messages);
    expect(await store.expire(4)).toEqual([]);
    expect((await store.expire(5)).map(({ messageId }) => messageId)).toEqual(messages.map((_, index) => `m${index}`));
    await store.addAudit([
      { time: new Date(0).toISOString(), who: "a", via: "b", action: "c", keys: [], outcome: "ok" },
    ]);
    await store.prune(5);
    expect(await store.receiptsOf(vm.id, 1000)).toHaveLength(10);
    await store.prune(Date.now());
    expect(await store.receiptsOf(vm.id, 1000)).toEqual([]);
    expect(await store.audit({ limit: 10 })).toEqual([]);
  });

  test("rejects a request that fails, and goes on", async () => {
    const store = await openTestStore(await temporaryDirectory());
    await expect(store.redeliver("unknown", undefined, 0)).rejects.toMatchObject({
      name: "CommandError",
      code: "failed",
    });
    await expect(store.receipt("unknown")).resolves.toBeUndefined();
  });

  test("closes after what was asked before, twice; then nothing can be asked", async () => {
    const directory = await temporaryDirectory();
    const store = await openTestStore(directory);
    const kept = store.keepMessages([message("m")]);
    await Promise.all([store.close(), store.close()]);
    expect((await kept)[0]?.type).toBe("new");
    await expect(store.receipt("m")).rejects.toThrow("the store is closed");
    expect(await readdir(directory)).toEqual(["secrets.key", "store.db"]);
  });
});

describe("events", () => {
  test("are told once for each commit, before whoever caused them is answered", async () => {
    const seen: string[] = [];
    const store = await openTestStore(await temporaryDirectory(), {
      onAppended: (events) => seen.push(...events.map(({ type, position }) => `${type} ${position}`)),
    });
    const [step, lifecycle] = lifecycleStep(vm, "w");
    const kept = store.keepMessages([message("m")]).then(() => seen.push("kept"));
    const settled = store.settle("m", delivered, Date.now()).then(() => seen.push("settled"));
    const failed = store.redeliver("unknown", undefined, 0).catch(() => seen.push("failed"));
    const appended = store.appendEvents(step, lifecycle);
    await Promise.all([kept, settled, failed, appended]);
    expect(seen.filter((word) => / \d/.test(word))).toEqual([
      "MESSAGE.SEND 1",
      "MESSAGE.QUEUED 2",
      "MESSAGE.DELIVERED 3",
      "VM.RUNNING 4",
    ]);
    expect(seen.indexOf("kept")).toBeGreaterThan(seen.indexOf("MESSAGE.QUEUED 2"));
    expect(seen.indexOf("settled")).toBeGreaterThan(seen.indexOf("MESSAGE.DELIVERED 3"));
    expect(await store.eventsAfter(3, 10)).toEqual(await appended);
  });

  test("and how far sinks are with them are there when it is opened again, and events go on in number", async () => {
    const directory = await temporaryDirectory();
    const first = await openTestStore(directory);
    const [step, lifecycles] = lifecycleStep(vm, "w");
    const [event] = await first.appendEvents([...step, ...step], lifecycles);
    const state = { position: 2, failures: 1, failingSince: 5, disabled: undefined, lastDeliveredAt: undefined };
    const when = { parkedAt: 5, dueAt: 7 };
    const parked = { position: 1, resource: vm.id, attempts: 1, ...when, holdsOthers: false, error: "refused" };
    await first.saveProgress([{ sink: "s", state, park: [parked], unpark: [], dead: [], attempts: [] }]);
    const log = await first.eventLog();
    await first.close();
    const second = await openTestStore(directory);
    expect(await second.eventLog()).toEqual(log);
    expect(await second.loadLifecycles()).toEqual(lifecycles);
    expect(await second.loadFeed("s")).toEqual({ sink: "s", ...state, parked: [parked], deadLetters: 0 });
    expect(await second.eventsAt([1])).toEqual([event]);
    expect(await second.appendEvents(step)).toMatchObject([{ position: 3, sequence: 3 }]);
  });

  test("are pruned in any number, other requests in between", async () => {
    const store = await openTestStore(await temporaryDirectory(), { limits: { eventCount: 2000 } });
    const [step] = lifecycleStep(vm, "w");
    await store.appendEvents(Array.from({ length: 3900 }, () => step).flat());
    await Promise.all([store.prune(Date.now()), store.appendEvents(step)]);
    expect((await store.eventLog()).last).toBe(3901);
    let kept = 0;
    for (let page = await store.eventsAfter(0, 10_000); page.length > 0;) {
      kept += page.length;
      page = await store.eventsAfter(page.at(-1)?.position ?? 0, 10_000);
    }
    expect(kept).toBe(2000);
  });
});

describe("the files", () => {
  test("are the manager's alone", async () => {
    const directory = join(await temporaryDirectory(), "state", "vmmessaged");
    const store = await openTestStore(directory);
    await store.keepMessages([message("m")]);
    const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);
    expect(await modeOf(directory)).toBe("700");
    for (const file of await readdir(directory)) expect(await modeOf(join(directory, file))).toBe("600");
  });

  test("never hold a secret as it is, before or after it was delivered", async () => {
    const directory = await temporaryDirectory();
    const store = await openTestStore(directory);
    const secret = "hunter2-hunter2-hunter2";
    await store.keepMessages([message("secret", secret, true), message("open", "as-it-is", false)]);
    const { set, ...change } = mirrorChange(vm, secret);
    const entries = set.map(({ entry, seenAt }) => ({ entry: { ...entry, secret: true }, seenAt }));
    await store.saveMirrors([{ ...change, set: entries }]);
    await store.saveSubscription({ id: "s", kind: "notify", createdAt: 0, record: {}, secrets: { password: secret } });
    expect(await store.eventsAfter(0, 10)).toHaveLength(5);
    const waiting = await bytesIn(directory);
    expect(waiting.includes("as-it-is")).toBe(true);
    expect(waiting.includes(secret)).toBe(false);
    await store.settle("secret", delivered, Date.now());
    expect((await bytesIn(directory)).includes(secret)).toBe(false);
    await store.close();
    expect((await bytesIn(directory)).includes(secret)).toBe(false);
  });

  test("hold nothing of a settled message's values once the log is written back", async () => {
    const directory = await temporaryDirectory();
    const store = await openTestStore(directory);
    await store.keepMessages([message("m", "as-it-is".repeat(1000))]);
    await store.settle("m", delivered, Date.now());
    await store.close();
    expect((await bytesIn(directory)).includes("as-it-is")).toBe(false);
  });

  test("in a directory that others can write to are not opened", async () => {
    const directory = await temporaryDirectory();
    await chmod(directory, 0o777);
    await expect(openTestStore(directory)).rejects.toThrow("others can write to the state directory");
    expect(await readdir(directory)).toEqual([]);
  });

  test("of another manager that runs are not opened", async () => {
    const directory = await temporaryDirectory();
    const first = await openTestStore(directory);
    await expect(openTestStore(directory)).rejects.toThrow("another vmmessaged has it open");
    await expect(first.keepMessages([message("m")])).resolves.toMatchObject([{ type: "new" }]);
  });

  test("that are damaged, or no files, are not opened, and it says why", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "store.db"), "this is no database, and never was one".repeat(1000));
    await expect(openTestStore(directory)).rejects.toThrow("it is damaged");
    await rm(join(directory, "store.db"));
    await mkdir(join(directory, "store.db"));
    await expect(openTestStore(directory)).rejects.toThrow("cannot make the database");
  });
});

describe("the key of the secrets", () => {
  test("that was lost costs the secrets that wait, and nothing else", async () => {
    const directory = await temporaryDirectory();
    const first = await openTestStore(directory);
    await first.keepMessages([message("secret", "hunter2", true), message("open")]);
    await first.close();
    await rm(join(directory, "secrets.key"));
    const refused: Receipt[] = [];
    const second = await openTestStore(directory, { onSettled: (receipt) => refused.push(receipt) });
    expect((await second.nextMessage(vm.id, REVISION))?.messageId).toBe("open");
    expect(refused).toMatchObject([{ messageId: "secret", state: "refused", refusal: { code: "failed" } }]);
    expect(await second.receipt("secret")).toEqual(refused[0]);
    await second.keepMessages([message("again", "hunter2", true)]);
    await second.settle("open", delivered, Date.now());
    expect((await second.nextMessage(vm.id, REVISION))?.change).toEqual(message("again", "hunter2", true).change);
  });

  test("that is none is moved away, which the log says", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "secrets.key"), "too short");
    const { events, log } = recordedLog();
    await openTestStore(directory, { log });
    expect(events).toEqual(["store-key-set-aside"]);
    const files = await readdir(directory);
    expect(files.some((file) => file.startsWith("secrets.key.unusable-"))).toBe(true);
    expect((await stat(join(directory, "secrets.key"))).size).toBe(32);
  });
});

describe("a thread that dies", () => {
  test("rejects what waits and what comes, and says so once", async () => {
    const onFailure = vi.fn();
    const events = { log: recordedLog().log, onCommit: () => undefined, onAppended: () => undefined, onFailure };
    const options = { directory: "", limits: DEFAULT_STORE_LIMITS };
    const thread = await StoreThread.start(options, events, join(import.meta.dirname, "dying-thread.ts"));
    const asked = [thread.call("receipt", "a"), thread.call("receipt", "b")];
    for (const { status } of await Promise.allSettled(asked)) expect(status).toBe("rejected");
    await expect(thread.call("receipt", "c")).rejects.toThrow("closed");
    await thread.close();
    expect(onFailure.mock.calls).toEqual([[expect.objectContaining({ message: "out of memory" })]]);
  });

  test("before it opened anything rejects the opening", async () => {
    const options = { directory: "/dev/null/store", log: recordedLog().log, onFailure: vi.fn() };
    await expect(openStore(options)).rejects.toThrow("cannot make the database");
    expect(options.onFailure).not.toHaveBeenCalled();
  });
});
