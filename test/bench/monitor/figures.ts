/** `monitor.*`: how soon a failure in a real guest is told, and how even the pings of a thousand guests are while others hang. */
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { buildBundles } from "../../../scripts/build.ts";
import type { EventPage } from "../../../shared/api/event-schemas.ts";
import type { VmHealth } from "../../../shared/api/monitor-schemas.ts";
import type { Guest } from "../../vm/harness/guest.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";
import { waitFor } from "../../vm/harness/wait-for.ts";
import type { Figure } from "../figure.ts";
import { BenchGuest } from "../guest.ts";
import { GuestFleet } from "../manager/guest-fleet.ts";
import { ManagerProcess } from "../manager/manager-process.ts";
import type { Progress } from "../progress.ts";
import { summary } from "../statistics.ts";
import { OriginalMonitor } from "./original-monitor.ts";

/** The defaults, as Masakari's monitor has them. */
const INTERVAL_MS = 10_000;

const GUESTS = 1_000;
const HANGING = 100;
/** Six pings of each guest. */
const WATCHED_MS = 60_000;

const ROUNDS = 3;
const minutes = { timeoutMs: 180_000, intervalMs: 100 };

export async function monitorFigures(progress: Progress): Promise<Figure[]> {
  await using resources = new AsyncDisposableStack();
  const bundle = await createTemporaryDirectory();
  resources.defer(() => removeTemporaryDirectory(bundle));
  await buildBundles({ outDir: bundle });
  return [await driftFigure(bundle, progress), ...(await detectionFigures(bundle, progress))];
}

/** The worst of all intervals between two pings of a guest that is well, before others hang and while they do. */
async function driftFigure(bundle: string, progress: Progress): Promise<Figure> {
  progress(`pinging ${GUESTS} guests`);
  await using fleet = await GuestFleet.start("guest", GUESTS);
  await using manager = await ManagerProcess.start(bundle);
  await manager.link(fleet.guests);
  await sleep(INTERVAL_MS);
  const calm = await worstDriftPct(fleet, new Set());
  const hanging = new Set(fleet.guests.slice(0, HANGING).map(({ name }) => name));
  for (const guest of hanging) await fleet.command({ type: "hang", guest });
  progress(`pinging ${GUESTS} guests of which ${HANGING} hang`);
  const ours = await worstDriftPct(fleet, hanging);
  const told = await eventsOf(manager, "VM.HUNG");
  if (told.length !== HANGING) throw new Error(`${told.length} guests were told of, and ${HANGING} hang`);
  return {
    name: "monitor.interval_drift_pct",
    unit: "%",
    ours,
    floor: calm,
    floorName: "none hangs",
    goal: "<= 10",
  };
}

async function worstDriftPct(fleet: GuestFleet, hanging: ReadonlySet<string>): Promise<number> {
  await fleet.command({ type: "forget-pings" });
  await sleep(WATCHED_MS);
  const counters = Object.entries(await fleet.command({ type: "count" })).filter(([name]) => !hanging.has(name));
  const drifts = counters.map(([name, { pings, shortestPauseMs, longestPauseMs }]) => {
    if (pings < 3) throw new Error(`${name} had ${pings} pings in ${WATCHED_MS / 1000} s`);
    return Math.max(longestPauseMs - INTERVAL_MS, INTERVAL_MS - shortestPauseMs);
  });
  return (100 * Math.max(...drifts)) / INTERVAL_MS;
}

interface Setting {
  guest: Guest;
  manager: ManagerProcess;
  original: OriginalMonitor;
  /** Of the guest agent that the original asks. */
  guestAgentPid: number;
  progress: Progress;
}

async function detectionFigures(bundle: string, progress: Progress): Promise<Figure[]> {
  progress("starting a guest");
  await using resources = new AsyncDisposableStack();
  const sockets = await createTemporaryDirectory();
  resources.defer(() => removeTemporaryDirectory(sockets));
  const qmp = `unix:${join(sockets, "guest.sock")},server=on,wait=off`;
  const { guest, ...bench } = await startGuest(resources, ["-qmp", qmp, "-device", "pvpanic-pci"]);
  const manager = resources.use(await ManagerProcess.start(bundle, { inventory: { qmp: [sockets] } }));
  await untilWell(manager);
  const original = await OriginalMonitor.watch(bench.path);
  resources.defer(() => original.close());
  const setting = { guest, manager, original, guestAgentPid: bench.pid, progress };
  const application = await applicationFigure(setting);
  const hang = await hangFigure(setting);
  return [hang, application, await panicFigure(setting)];
}

async function startGuest(resources: AsyncDisposableStack, qemuArgs: string[]) {
  const bench = resources.use(await BenchGuest.start(qemuArgs));
  return { guest: bench.guest, ...(await bench.startQemuGa()) };
}

/** Our agent and the guest agent stand still at the same moment, as with a guest that hangs. */
async function hangFigure({ guest, manager, original, guestAgentPid, progress }: Setting): Promise<Figure> {
  const pids = `$(cat /run/agent.pid) ${guestAgentPid}`;
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    progress(`a guest that hangs, ${round} of ${ROUNDS}`);
    const reported = original.reported();
    const at = Date.now();
    await guest.shell(`kill -STOP ${pids}`);
    ours.push((await toldAfter(manager, "VM.HUNG", at)) / 1000);
    theirs.push(((await reported) - at) / 1000);
    await guest.shell(`kill -CONT ${pids}`);
    await toldAfter(manager, "VM.RECOVERED", at);
  }
  return {
    name: "monitor.detect_hang_s",
    unit: "s",
    ...summary(ours),
    peer: summary(theirs).ours,
    peerName: "Masakari's monitor",
    goal: "<= 32",
  };
}

/** Its check is made every second. */
async function applicationFigure({ guest, manager, progress }: Setting): Promise<Figure> {
  await guest.shell("touch /tmp/well; agent check add shop --every 1s --timeout 1s -- test -e /tmp/well");
  const ours: number[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    progress(`an application that fails, ${round} of ${ROUNDS}`);
    await waitFor(
      "the application to be well",
      async () => (await health(manager))?.applications[0]?.state === "healthy",
      minutes,
    );
    const at = Date.now();
    await guest.shell("rm /tmp/well");
    ours.push((await toldAfter(manager, "VM.APPLICATION-FAILED", at)) / 1000);
    await guest.shell("touch /tmp/well");
    await toldAfter(manager, "VM.APPLICATION-RECOVERED", at);
  }
  return { name: "monitor.detect_application_s", unit: "s", ...summary(ours), goal: "<= 32" };
}

/** Once: the guest does not come back from it. */
async function panicFigure({ guest, manager, progress }: Setting): Promise<Figure> {
  progress("a kernel that panics");
  await guest.qmp.execute("set-action", { panic: "pause" });
  const at = Date.now();
  await guest.qga.spawn(["sh", "-c", "echo c > /proc/sysrq-trigger"]).catch(() => undefined);
  const ours = (await toldAfter(manager, "VM.PANIC", at)) / 1000;
  return { name: "monitor.detect_panic_s", unit: "s", ours, goal: "<= 32" };
}

/** How long after that moment the event was written, ms. */
async function toldAfter(manager: ManagerProcess, type: string, at: number): Promise<number> {
  const after = async (): Promise<number | undefined> => {
    const times = (await eventsOf(manager, type)).map(({ time }) => Date.parse(time) - at);
    return times.find((ms) => ms >= 0);
  };
  return waitFor(type, after, minutes);
}

async function eventsOf(manager: ManagerProcess, type: string): Promise<EventPage["events"]> {
  const { events } = await manager.calls.ask<EventPage>(`/v1/events?type=${type}&limit=1000`);
  return events;
}

async function health(manager: ManagerProcess): Promise<VmHealth | undefined> {
  const { vms } = await manager.calls.ask<{ vms: VmHealth[] }>("/v1/monitor");
  return vms[0];
}

async function untilWell(manager: ManagerProcess): Promise<void> {
  await waitFor("the guest to be well", async () => (await health(manager))?.state === "healthy", minutes);
}
