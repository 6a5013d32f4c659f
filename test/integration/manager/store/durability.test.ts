import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { expect, onTestFinished, test, vi } from "vitest";
import type { Event } from "../../../../manager/events/event.ts";
import type { Store } from "../../../../manager/store/store.ts";
import { openTestStore, temporaryDirectory, testVm, vm } from "./stores.ts";

const run = promisify(execFile);

/** A process that keeps messages in a directory, and what it said. */
class Keeper {
  /** The lines it wrote, but for what failed. */
  readonly kept: string[] = [];
  readonly failed: string[] = [];
  readonly events: string[] = [];
  readonly process: ChildProcess;
  readonly #ended: Promise<unknown>;

  /** @param under what it is run under: a program and its arguments */
  constructor(directory: string, round: number, senders = 16, under: string[] = [], work = "keep-until-killed.ts") {
    const script = join(import.meta.dirname, work);
    const [program, ...args] = [...under, process.execPath, script, directory, String(round), String(senders)];
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    this.process = child;
    this.#ended = once(child, "close");
    onTestFinished(() => this.kill());
    createInterface(child.stdout).on("line", (line) => {
      if (line.startsWith("!")) this.failed.push(line.slice(1));
      else this.kept.push(line);
    });
    createInterface(child.stderr).on("line", (line) => this.events.push(line));
  }

  /** With what it is run under. */
  async kill(): Promise<void> {
    const { pid, exitCode, signalCode } = this.process;
    if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, "SIGKILL");
    await this.#ended;
  }

  async limitFiles(bytes: string): Promise<void> {
    await run("prlimit", [`--pid=${String(this.process.pid)}`, `--fsize=${bytes}`]);
  }
}

async function keptIn(directory: string): Promise<Set<string>> {
  const store = await openTestStore(directory);
  const pending = await store.pendingOf(vm.id);
  await store.close();
  return new Set(pending.map(({ messageId }) => messageId));
}

test("a message is answered only after it was written to the log and that was synced", async () => {
  const directory = await temporaryDirectory();
  const trace = join(directory, "trace");
  const strace = ["strace", "-f", "-y", "-o", trace, "-e", "trace=write,pwrite64,fsync,fdatasync"];
  const keeper = new Keeper(join(directory, "state"), 0, 1, strace);
  await vi.waitUntil(() => keeper.kept.length >= 20, { timeout: 30_000 });
  await keeper.kill();
  const steps = stepsOf(await readFile(trace, "utf8"));
  const afterFirst = steps.slice(steps.indexOf("answer") + 1);
  const round = ["write", "sync", "answer"];
  expect(afterFirst.slice(0, 45)).toEqual(Array.from({ length: 15 }, () => round).flat());
});

/** What was done to the log, and answers; the same twice in a row is once. */
function stepsOf(trace: string): string[] {
  const steps = trace.split("\n").flatMap((line) => {
    if (/pwrite64\(.*store\.db-wal/.test(line)) return ["write"];
    if (/f(data)?sync\(.*store\.db-wal/.test(line)) return ["sync"];
    return /write\(1<.*"0\.0\.\d+\\n"/.test(line) ? ["answer"] : [];
  });
  return steps.filter((step, index) => step !== steps[index - 1]);
}

test(
  "a store that is killed at any moment, twenty times, has everything that it answered",
  { timeout: 120_000 },
  async () => {
    const directory = await temporaryDirectory();
    const answered: string[] = [];
    for (let round = 0; round < 20; round += 1) {
      const keeper = new Keeper(directory, round);
      const enough = 10 + 23 * round;
      await vi.waitUntil(() => keeper.kept.length >= enough, { timeout: 30_000, interval: 1 });
      await keeper.kill();
      answered.push(...keeper.kept);
    }
    const kept = await keptIn(directory);
    expect(answered.length).toBeGreaterThan(4000);
    expect(answered.filter((messageId) => !kept.has(messageId))).toEqual([]);
  },
);

test(
  "a store that is killed at any moment, ten times, has the events of what it has, and no others",
  { timeout: 120_000 },
  async () => {
    const directory = await temporaryDirectory();
    const senders = 8;
    const told: string[] = [];
    for (let round = 0; round < 10; round += 1) {
      const keeper = new Keeper(directory, round, senders, [], "change-until-killed.ts");
      await vi.waitUntil(() => keeper.kept.length >= 100 + 97 * round, { timeout: 30_000, interval: 1 });
      await keeper.kill();
      told.push(...keeper.kept);
    }
    const store = await openTestStore(directory);
    const events = await allEvents(store);
    const ids = new Set(events.map(({ id }) => `event ${id}`));
    expect(told.length).toBeGreaterThan(4000);
    expect(told.filter((line) => line.startsWith("event ") && !ids.has(line))).toEqual([]);
    expect(events.map(({ position }) => position)).toEqual(events.map((_, index) => index + 1));
    for (const vm of Array.from({ length: senders }, (_, sender) => testVm(sender))) {
      const ofVm = events.filter(({ resourceUUID }) => resourceUUID === vm.id);
      expect(ofVm.map(({ sequence }) => sequence)).toEqual(ofVm.map((_, index) => index + 1));
      await expectAgreement(store, vm.id, ofVm);
    }
  },
);

async function allEvents(store: Store): Promise<Event[]> {
  const events: Event[] = [];
  for (;;) {
    const page = await store.eventsAfter(events.length, 1000);
    if (page.length === 0) return events;
    events.push(...page);
  }
}

/** What the store keeps of a VM is what its events tell. */
async function expectAgreement(store: Store, vmId: string, events: Event[]): Promise<void> {
  const last = (type: string) => events.findLast((event) => event.type === type);
  const ofMessages = (type: string) => {
    return events.filter((event) => event.type === type).map(({ data }) => data["messageId"] as string);
  };
  const receipts = (await store.receiptsOf(vmId, 100_000)).reverse();
  const delivered = receipts.filter(({ state }) => state === "delivered");
  for (const type of ["MESSAGE.SEND", "MESSAGE.QUEUED"]) {
    expect(ofMessages(type)).toEqual(receipts.map(({ messageId }) => messageId));
  }
  expect(ofMessages("MESSAGE.DELIVERED")).toEqual(delivered.map(({ messageId }) => messageId));
  const mirror = (await store.loadMirrors()).find((one) => one.vmId === vmId);
  expect(last("KEY.SET")?.value).toEqual({ value: mirror?.entries[0]?.entry.value });
  const stored = (await store.loadLifecycles()).find((one) => one.vmId === vmId);
  expect(last("VM.RUNNING")?.data).toEqual(stored?.lifecycle);
}

test("a disk that takes no more refuses messages, which the log says once, and takes them again later", async () => {
  const directory = await temporaryDirectory();
  const keeper = new Keeper(directory, 0);
  await vi.waitUntil(() => keeper.kept.length >= 20, { timeout: 30_000 });
  // A limit on the size of files refuses the write as a full disk does.
  await keeper.limitFiles("0:unlimited");
  await vi.waitUntil(() => keeper.failed.length >= 200, { timeout: 30_000 });
  await keeper.limitFiles("unlimited");
  const before = keeper.kept.length;
  await vi.waitUntil(() => keeper.kept.length >= before + 200, { timeout: 30_000 });
  await keeper.kill();
  expect(keeper.events).toEqual(["store-cannot-commit", "store-commits-again"]);
  const kept = await keptIn(directory);
  expect(keeper.kept.filter((messageId) => !kept.has(messageId))).toEqual([]);
  expect(keeper.failed.filter((messageId) => kept.has(messageId))).toEqual([]);
});
