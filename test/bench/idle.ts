/** `idle.*` and `reconnect_ms`: what the agent costs while nothing happens, and how soon it is there when something does. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Guest } from "../vm/harness/guest.ts";
import type { Figure } from "./figure.ts";
import { BenchGuest } from "./guest.ts";
import type { Progress } from "./progress.ts";
import { AgentLink, LineLink } from "./request-link.ts";
import { guestPing, guestSync } from "./round-trips.ts";
import { median } from "./statistics.ts";

const WINDOW_MS = 30_000;
/** After a change of state, before a window begins. */
const SETTLE_MS = 2_000;
const RECONNECTIONS = 30;
/** Between two hosts. */
const ABSENCE_MS = 300;
/** USER_HZ, the unit of times in /proc/PID/stat, is 100 on every architecture we run on. */
const TICKS_PER_SECOND = 100;

const peerName = "qemu-ga";

/** The two programs in the guest that are compared: their process ids, and the sockets that lead to them. */
interface Subjects {
  agent: { pid: number; path: string };
  qemuGa: { pid: number; path: string };
}

export async function idleFigures(progress: Progress): Promise<Figure[]> {
  progress("starting the guest");
  await using bench = await BenchGuest.start();
  const { guest } = bench;
  const agentPid = await guest.agentPid();
  if (agentPid === undefined) throw new Error("the agent does not run");
  const agent = { pid: agentPid, path: guest.channelPath };
  const subjects = { agent, qemuGa: await bench.startQemuGa() };
  return [
    ...(await attachedFigures(guest, subjects, progress)),
    await absentFigure(guest, subjects, progress),
    await reconnectFigure(subjects, progress),
  ];
}

/** A session is open; the agent's heartbeats go on. */
async function attachedFigures(guest: Guest, subjects: Subjects, progress: Progress): Promise<Figure[]> {
  const agent = await AgentLink.open(subjects.agent.path);
  const qemuGa = await LineLink.open(subjects.qemuGa.path);
  try {
    await agent.roundTripMs("ping", {});
    await guestPing(qemuGa)();
    progress(`a host attached, for ${WINDOW_MS / 1000} s`);
    const cpu = await cpuPercent(guest, subjects);
    return [
      { name: "idle.attached_cpu_pct", unit: "%", ...cpu, peerName, goal: "ours < 0.5" },
      ...(await memoryFigures(guest, subjects)),
    ];
  } finally {
    await agent.close();
    await qemuGa.close();
  }
}

async function absentFigure(guest: Guest, subjects: Subjects, progress: Progress): Promise<Figure> {
  progress(`no host, for ${WINDOW_MS / 1000} s`);
  const cpu = await cpuPercent(guest, subjects);
  return { name: "idle.absent_cpu_pct", unit: "%", ...cpu, peerName, goal: "ours < 1.5" };
}

interface Compared {
  ours: number;
  peer: number;
}

async function cpuPercent(guest: Guest, subjects: Subjects): Promise<Compared> {
  await sleep(SETTLE_MS);
  const before = await cpuTimes(guest, subjects);
  await sleep(WINDOW_MS);
  const after = await cpuTimes(guest, subjects);
  const percentOfWindow = (ticks: number): number =>
    (100 * ticks) / TICKS_PER_SECOND / (after.uptimeSeconds - before.uptimeSeconds);
  return { ours: percentOfWindow(after.ours - before.ours), peer: percentOfWindow(after.peer - before.peer) };
}

/** User and system time in ticks, at the guest's uptime. */
async function cpuTimes(guest: Guest, { agent, qemuGa }: Subjects): Promise<Compared & { uptimeSeconds: number }> {
  const [uptime = "", ours = "", peer = ""] = (
    await guest.shell(`cat /proc/uptime /proc/${agent.pid}/stat /proc/${qemuGa.pid}/stat`)
  ).split("\n");
  return { uptimeSeconds: Number(uptime.split(" ")[0]), ours: ticksOf(ours), peer: ticksOf(peer) };
}

/** proc(5): utime and stime are fields 14 and 15; the name before field 3 may hold anything but ends with `)`. */
function ticksOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[14 - 3]) + Number(fields[15 - 3]);
}

/**
 * Memory that only this process has. The clean part of it is mostly the program's own file, which a second Node in the
 * guest would share; the dirty part is what the process itself has made.
 */
async function memoryFigures(guest: Guest, { agent, qemuGa }: Subjects): Promise<Figure[]> {
  const ours = await privateMemory(guest, agent.pid);
  const peer = await privateMemory(guest, qemuGa.pid);
  const figure = (name: string, kibOf: (memory: PrivateMemory) => number): Figure => {
    return { name, unit: "KiB", ours: kibOf(ours), peer: kibOf(peer), peerName };
  };
  return [
    figure("idle.private_kib", ({ cleanKib, dirtyKib }) => cleanKib + dirtyKib),
    figure("idle.private_dirty_kib", ({ dirtyKib }) => dirtyKib),
  ];
}

interface PrivateMemory {
  cleanKib: number;
  dirtyKib: number;
}

async function privateMemory(guest: Guest, pid: number): Promise<PrivateMemory> {
  const rollup = await guest.readText(`/proc/${pid}/smaps_rollup`);
  const kib = (field: string): number => Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(rollup)?.[1]);
  return { cleanKib: kib("Private_Clean"), dirtyKib: kib("Private_Dirty") };
}

/** From the host's connect to the answer to its first request, which follows the greeting. */
async function reconnectFigure({ agent, qemuGa }: Subjects, progress: Progress): Promise<Figure> {
  const ours: number[] = [];
  const peer: number[] = [];
  for (let count = 0; count < RECONNECTIONS; count++) {
    progress(`${count} of ${RECONNECTIONS} reconnections`);
    ours.push(await firstAnswerMs(() => greetAgent(agent.path)));
    peer.push(await firstAnswerMs(() => greetQemuGa(qemuGa.path)));
  }
  const values = { ours: median(ours), peer: median(peer) };
  return { name: "reconnect_ms", unit: "ms", ...values, peerName, goal: "ours < 150" };
}

async function firstAnswerMs(greet: () => Promise<{ close(): Promise<void> }>): Promise<number> {
  await sleep(ABSENCE_MS);
  const start = performance.now();
  const link = await greet();
  const elapsedMs = performance.now() - start;
  await link.close();
  return elapsedMs;
}

async function greetAgent(path: string): Promise<AgentLink> {
  const link = await AgentLink.open(path);
  await link.roundTripMs("ping", {});
  return link;
}

async function greetQemuGa(path: string): Promise<LineLink> {
  const link = await LineLink.open(path);
  await guestSync(link)();
  await guestPing(link)();
  return link;
}
