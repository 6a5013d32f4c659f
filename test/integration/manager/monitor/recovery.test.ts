import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { managerEvent } from "../../../../manager/events/event.ts";
import { Subscriptions } from "../../../../manager/events/subscriptions.ts";
import type { SinkContext } from "../../../../manager/sinks/open-sink.ts";
import { parseConfig } from "../../../../manager/config.ts";
import { temporaryDirectory } from "../store/stores.ts";
import { RecoveryScene, resetHung, web1, web2 } from "./recovery-scene.ts";

const HOUR_MS = 3_600_000;

/** Closed when the test is over. */
async function open(...args: Parameters<typeof RecoveryScene.open>): Promise<RecoveryScene> {
  const scene = await RecoveryScene.open(...args);
  onTestFinished(() => scene.close());
  return scene;
}

/** Whether the process runs whose number stands there. */
function isRunning(pid: string | undefined): boolean {
  try {
    // A process that has ended and that nobody has waited for is not running.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid ?? ""}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function ended(scene: RecoveryScene, count: number): Promise<Record<string, unknown>[]> {
  await vi.waitUntil(async () => (await scene.told("RECOVERY.ENDED")).length >= count, { timeout: 20_000 });
  return (await scene.told("RECOVERY.ENDED")).map(({ data }) => data);
}

test("a VM that hangs has its policy's command run once, with the event and what it is for", async () => {
  const directory = await temporaryDirectory();
  const script = '/usr/bin/env > "$1/environment"; cat > "$1/event"';
  const policy = { ...resetHung, on: ["VM.APPLICATION-FAILED" as const] };
  const scene = await open(directory, { script, policies: [policy] });
  const reason = "$(touch /tmp/x); `id`";
  const failure = await scene.happens("VM.APPLICATION-FAILED", web1, { application: "web", reason });
  const [end] = await ended(scene, 1);

  const environment = await scene.lines("environment");
  expect(environment.filter((line) => !/^(PWD|OLDPWD|SHLVL|_)=/.test(line)).toSorted()).toEqual([
    "LANG=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    `VMMESSAGE_EVENT_ID=${failure.id}`,
    "VMMESSAGE_EVENT_TYPE=VM.APPLICATION-FAILED",
    "VMMESSAGE_EVENT_VM=web1",
    `VMMESSAGE_EVENT_VM_ID=${web1.id}`,
    "VMMESSAGE_RECOVERY_POLICY=reset-hung",
    "VMMESSAGE_RECOVERY_RUN=1",
    "VMMESSAGE_VM=web1",
    `VMMESSAGE_VM_ID=${web1.id}`,
  ]);
  expect(JSON.parse((await scene.lines("event")).join("\n"))).toMatchObject({
    id: failure.id,
    type: "org.vmmessage.VM.APPLICATION-FAILED",
    data: { application: "web", reason },
  });
  const about = { policy: "reset-hung", command: "reset", run: 1, event: failure.id };
  const [started] = await scene.told("RECOVERY.STARTED");
  expect(started).toMatchObject({ category: "ActionEvent", resourceUUID: web1.id });
  expect(started?.data).toEqual({ ...about, atMost: 3, type: "VM.APPLICATION-FAILED" });
  expect(end).toEqual({ ...about, outcome: "succeeded", exitCode: 0, durationMs: expect.any(Number) as number });
  expect(scene.outcomes).toEqual(["reset-hung succeeded"]);
  expect(scene.logged.filter((name) => name.startsWith("recovery-"))).toEqual(["recovery-started", "recovery-ended"]);
});

test("a command that fails is not run again for the failure, and says with its last line why", async () => {
  const script = 'echo run >> "$1/runs"; printf "trying\\nno such \\033[31mdomain\\n" >&2; exit 3';
  const scene = await open(await temporaryDirectory(), { script });
  await scene.happens("VM.HUNG");
  const [end] = await ended(scene, 1);
  expect(end).toMatchObject({ outcome: "failed", exitCode: 3, stderr: "no such \\u001b[31mdomain" });
  await vi.waitUntil(() => scene.dispatcher.feed("recovery:reset-hung")?.backlog === 0);
  expect(scene.dispatcher.feed("recovery:reset-hung")).toMatchObject({ retrying: 0, deadLetters: 0 });
  expect(await scene.lines("runs")).toEqual(["run"]);
  expect(scene.recoveries.standing(web1.id)).toMatchObject([{ policy: "reset-hung", runs: 1, isSuspended: false }]);
});

test("a command that cannot be started has failed", async () => {
  const program = { run: ["/nonexistent/reset"] as [string], timeout: 30_000 };
  const scene = await open(await temporaryDirectory(), { program });
  await scene.happens("VM.HUNG");
  expect(await ended(scene, 1)).toMatchObject([{ outcome: "failed", reason: "it cannot be started: ENOENT" }]);
});

test("a command that takes too long is ended with all that it started", async () => {
  const script = 'trap "" TERM; sleep 60 & echo $! >> "$1/pids"; echo $$ >> "$1/pids"; while :; do sleep 0.05; done';
  const scene = await open(await temporaryDirectory(), { script, timeout: 1_000 });
  await scene.happens("VM.HUNG");
  const [end] = await ended(scene, 1);
  expect(end).toMatchObject({ outcome: "timed-out", reason: "it did not end within 1 s" });
  const pids = await scene.lines("pids");
  expect(pids).toHaveLength(2);
  await vi.waitUntil(() => !pids.some(isRunning));
});

test("a command that the manager's kill -9 left behind is interrupted, and not run again for the same failure", async () => {
  const directory = await temporaryDirectory();
  const script = 'echo $$ >> "$1/runs"; exec sleep 60';
  const killed = spawn(process.execPath, [join(import.meta.dirname, "recover-until-killed.ts"), directory, script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [failure] = (await once(killed.stdout, "data")) as [Buffer];
  const runs = (): string[] => readFileSync(join(directory, "runs"), "utf8").trim().split("\n");
  await vi.waitUntil(() => {
    try {
      return runs()[0] !== "";
    } catch {
      return false;
    }
  });
  killed.kill("SIGKILL");
  await once(killed, "close");
  const [left = ""] = runs();
  onTestFinished(() => {
    if (isRunning(left)) process.kill(Number(left), "SIGKILL");
  });

  const scene = await open(directory, { script });
  const event = failure.toString().trim();
  expect(await ended(scene, 1)).toMatchObject([
    { event, outcome: "interrupted", reason: "the manager was killed, or crashed" },
  ]);
  expect(await scene.dispatcher.redeliver("recovery:reset-hung", [event])).toBe(1);
  await vi.waitUntil(() => scene.dispatcher.feed("recovery:reset-hung")?.retrying === 0);
  expect(await scene.told("RECOVERY.STARTED")).toHaveLength(1);
  expect(scene.recoveries.standing(web1.id)).toMatchObject([{ runs: 1 }]);

  // The next one is another failure.
  await scene.happens("VM.RECOVERED");
  await scene.happens("VM.HUNG");
  await vi.waitUntil(() => runs().length === 2);
  await scene.recoveries.close();
  expect(isRunning(runs()[1])).toBe(false);
  expect((await ended(scene, 2))[1]).toMatchObject({ run: 2, outcome: "interrupted", reason: "the manager stops" });
});

test("a run whose beginning the manager's end overtakes is not begun, and is made when the manager is back", async () => {
  const directory = await temporaryDirectory();
  const first = await RecoveryScene.open(directory);
  const append = first.store.appendEvents.bind(first.store);
  first.store.appendEvents = async (events, ...more) => {
    const appended = await append(events, ...more);
    if (events.some(({ type }) => type === "RECOVERY.STARTED")) void first.recoveries.close();
    return appended;
  };
  await first.happens("VM.HUNG");
  const reason = "the manager stops; it had not begun, and does when the manager is back";
  expect(await ended(first, 1)).toMatchObject([{ run: 1, outcome: "interrupted", reason }]);
  expect(first.recoveries.standing(web1.id)).toMatchObject([{ runs: 0 }]);
  await first.close();

  const scene = await open(directory);
  expect((await ended(scene, 2))[1]).toMatchObject({ run: 1, outcome: "succeeded" });
  expect(await scene.lines("runs")).toEqual(["web1 1"]);
});

test("a VM that hangs again and again is left alone, also after a restart, until it was well for long enough", async () => {
  const directory = await temporaryDirectory();
  const policies = [{ ...resetHung, atMost: 2 }];
  const first = await RecoveryScene.open(directory, { policies });
  for (let time = 1; time <= 4; time += 1) {
    await first.happens("VM.HUNG");
    if (time <= 2) await ended(first, time);
    await first.happens("VM.RECOVERED");
  }
  await vi.waitUntil(async () => (await first.told("RECOVERY.SUSPENDED")).length > 0);
  await vi.waitUntil(() => first.dispatcher.feed("recovery:reset-hung")?.backlog === 0);
  await first.close();

  const scene = await open(directory, { policies });
  expect(scene.recoveries.standing(web1.id)).toMatchObject([{ runs: 2, isSuspended: true }]);
  await scene.happens("VM.HUNG");
  await scene.happens("VM.RECOVERED");
  await vi.waitUntil(() => scene.dispatcher.feed("recovery:reset-hung")?.backlog === 0);
  const suspended = await scene.told("RECOVERY.SUSPENDED");
  expect(suspended.map(({ category, data }) => ({ category, ...data }))).toEqual([
    expect.objectContaining({ category: "AlertEvent", policy: "reset-hung", of: "vm", runs: 2, withinMs: HOUR_MS }),
  ]);
  expect(await scene.lines("runs")).toEqual(["web1 1", "web1 2"]);

  scene.passes(HOUR_MS);
  expect(scene.recoveries.standing(web1.id)).toEqual([{ policy: "reset-hung", runs: 0, isSuspended: false }]);
  await scene.happens("VM.HUNG");
  await ended(scene, 3);
  expect(await scene.lines("runs")).toEqual(["web1 1", "web1 2", "web1 1"]);
});

test("commands for different VMs run side by side, and a VM's next failure waits for the end of its own", async () => {
  const script = `echo "start $VMMESSAGE_VM" >> "$1/runs"
    [ "$VMMESSAGE_VM$VMMESSAGE_RECOVERY_RUN" = web11 ] && while [ ! -e "$1/go" ]; do sleep 0.05; done
    echo "end $VMMESSAGE_VM" >> "$1/runs"`;
  const directory = await temporaryDirectory();
  const scene = await open(directory, { script });
  await scene.happens("VM.HUNG", web1);
  await vi.waitUntil(async () => (await scene.lines("runs")).length === 1);
  await scene.happens("VM.RECOVERED", web1);
  await scene.happens("VM.HUNG", web1);
  await scene.happens("VM.HUNG", web2);
  await ended(scene, 1);
  expect(await scene.lines("runs")).toEqual(["start web1", "start web2", "end web2"]);
  expect(scene.dispatcher.feed("recovery:reset-hung")).toMatchObject({ retrying: 1, state: { failures: 0 } });
  const go = spawn("touch", [join(directory, "go")]);
  await once(go, "exit");
  await ended(scene, 3);
  expect((await scene.lines("runs")).slice(3)).toEqual(["end web1", "start web1", "end web1"]);
});

test("a policy that is taken out is forgotten, also while no manager ran; the others stay as they are", async () => {
  const directory = await temporaryDirectory();
  const other = { ...resetHung, name: "other", vms: ["web2"] };
  const last = { ...resetHung, name: "last", vms: ["none"] };
  const first = await RecoveryScene.open(directory, { policies: [resetHung, other, last] });
  await first.happens("VM.HUNG", web2);
  await ended(first, 2);
  await first.recoveries.apply([other, last]);
  expect(await first.store.feedNames()).toEqual(["recovery:last", "recovery:other"]);
  expect(first.recoveries.standing(web2.id)).toMatchObject([{ policy: "other", runs: 1 }]);
  await first.close();

  const scene = await open(directory, { policies: [other] });
  expect(await scene.store.feedNames()).toEqual(["recovery:other"]);
  expect(scene.recoveries.standing(web2.id)).toMatchObject([{ policy: "other", runs: 1 }]);
  // What a policy of that name knew is not known to the next.
  await scene.recoveries.apply([resetHung, other]);
  expect(scene.recoveries.standing(web2.id)).toMatchObject([
    { policy: "other", runs: 1 },
    { policy: "reset-hung", runs: 0 },
  ]);
  await scene.recoveries.apply([]);
  expect(await scene.store.feedNames()).toEqual([]);
  expect(await scene.store.loadMonitors("recovery")).toEqual([{ vmId: web2.id, part: "recovery", state: {} }]);
});

test("a policy is no stray to the configuration's other sinks", async () => {
  const scene = await open(await temporaryDirectory());
  const { store, dispatcher } = scene;
  const { events } = parseConfig({}, "test");
  const context = { host: "hv1", config: () => events } as SinkContext;
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const options = {
    store,
    dispatcher,
    context,
    log,
    rightsOf: () => undefined,
    rightsOfOthers: () => undefined,
    lastPosition: () => 0,
  };
  const subscriptions = await Subscriptions.load(options);
  await subscriptions.apply(events);
  expect(await store.feedNames()).toEqual(["recovery:reset-hung"]);
  await scene.happens("VM.HUNG");
  await ended(scene, 1);
});

test("nothing is known of a VM that was forgotten, and its command's end brings nothing back", async () => {
  const directory = await temporaryDirectory();
  const script = 'echo run >> "$1/runs"; while [ ! -e "$1/go" ]; do sleep 0.05; done';
  const scene = await open(directory, { script });
  await scene.happens("VM.HUNG");
  await vi.waitUntil(async () => (await scene.lines("runs")).length === 1);
  scene.recoveries.forget(web1.id);
  await scene.store.forgetVm(web1.id);
  const go = spawn("touch", [join(directory, "go")]);
  await once(go, "exit");
  expect(await ended(scene, 1)).toMatchObject([{ outcome: "succeeded" }]);
  expect(await scene.store.loadMonitors("recovery")).toEqual([]);
  expect(scene.recoveries.standing(web1.id)).toMatchObject([{ runs: 0 }]);
});

test("a policy can be tried: whether its command is there, without its being run", async () => {
  const scene = await open(await temporaryDirectory());
  const id = "recovery:reset-hung";
  const tested = scene.dispatcher.feed(id)?.tested("t1", AbortSignal.timeout(10_000));
  await scene.store.appendEvents([managerEvent("SINK.TEST", Date.now(), { only: id, data: { test: "t1" } })]);
  expect(await tested).toMatchObject({ outcome: "delivered" });
  expect(await scene.lines("runs")).toEqual([]);
  expect(await scene.told("RECOVERY.STARTED")).toEqual([]);
});
