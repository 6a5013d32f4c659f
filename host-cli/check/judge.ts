/** Judges what a guest says of itself. A number that cannot be is judged `UNKNOWN`: guests can say what they like. */
import type { VmHealth } from "../../shared/api/monitor-schemas.ts";
import type { MonitorState } from "../../shared/monitor-table.ts";
import type { ApplicationState, Result } from "../../shared/protocol/message.ts";
import { ageInWords } from "../../shared/terminal-text.ts";
import { agoInWords } from "../origin.ts";
import type { CheckRequest, DiskThresholds, Thresholds } from "./thresholds.ts";
import type { CheckState, Measurement, Verdict } from "./verdict.ts";

type Stats = Result<"stats">;

/** No machine has as many processes: what is over it is no load. */
const MAX_LOAD = 10_000_000;

/**
 * The kernel may take back some of the wait for disks, which is idle time (proc_stat(5), iowait): so much of what the
 * processors worked meanwhile is no sign of another machine. Not measured.
 */
const MAX_SHARE_TAKEN_BACK = 0.1;

/** What was asked of a guest. */
export interface Findings {
  /** Two answers with some time between them where processors are judged, else one twice; none when nothing needs them. */
  stats: { first: Stats; last: Stats } | undefined;
  /** Of a ping's answer; undefined when nobody asked, or the agent watches none. */
  applications: readonly ApplicationState[] | undefined;
}

/** A verdict on each thing that is asked for. */
export function judge(request: CheckRequest, { stats, applications }: Findings): Verdict[] {
  const { cpu, memory, disks, load } = request;
  const verdicts: Verdict[] = [];
  if (stats !== undefined) {
    const { first, last } = stats;
    if (cpu !== undefined) verdicts.push(judgeCpu(first, last, cpu));
    if (memory !== undefined) verdicts.push(judgeMemory(last, memory));
    if (disks.length > 0) verdicts.push(...judgeDisks(last.disks, disks));
    if (load !== undefined) verdicts.push(judgeLoad(last, load));
  }
  if (request.applications) verdicts.push(...judgeApplications(applications ?? []));
  return verdicts;
}

export function judgeRoundTrip(roundTripMs: number): Verdict {
  const measured = { label: "rtt", value: rounded(roundTripMs, 1_000), unit: "ms", min: 0 } as const;
  return { name: "ping", state: "OK", text: `it answers in ${measured.value} ms`, measured };
}

/** What a manager's monitor has of a guest; nothing of one that it does not watch. */
export function judgeHealth({ isMonitored, state, since, misses, expectedAgent }: VmHealth): Verdict[] {
  if (!isMonitored) return [];
  const verdicts = [healthVerdict("monitor", state, guestInWords(state, agoInWords(since), misses))];
  if (expectedAgent?.state !== "reported") return verdicts;
  const text = `the manager reported its agent as missing ${agoInWords(expectedAgent.since)}`;
  return [...verdicts, healthVerdict("agent", expectedAgent.state, text)];
}

function guestInWords(state: MonitorState, ago: string, misses: number): string {
  switch (state) {
    case "reported":
      return `the manager reported it as hung ${ago}`;
    case "error":
      return `the manager misses its answers (${misses} in a row)`;
    case "healthy":
    case "discovery":
      return `the manager has it in state ${state}`;
  }
}

const stateOf: Record<MonitorState, CheckState> = {
  discovery: "OK",
  healthy: "OK",
  error: "WARNING",
  reported: "CRITICAL",
};

function healthVerdict(name: string, state: MonitorState, text: string): Verdict {
  return { name, state: stateOf[state], text };
}

/** Of the time between two answers, by the guest's own count. */
function judgeCpu(before: Stats, after: Stats, thresholds: Thresholds): Verdict {
  const busyMs = after.cpuBusyMs - before.cpuBusyMs;
  const countedMs = after.cpuIdleMs - before.cpuIdleMs;
  const isTakenBack = countedMs < 0 && -countedMs <= busyMs * MAX_SHARE_TAKEN_BACK;
  const idleMs = isTakenBack ? 0 : countedMs;
  if (busyMs < 0 || idleMs < 0) return unknown("cpu", "the time of its processors went back; was it started anew?");
  if (busyMs + idleMs === 0) return unknown("cpu", "the time of its processors stands still");
  return judgePercent({ name: "cpu", label: "cpu", what: "busy" }, busyMs / (busyMs + idleMs), thresholds);
}

function judgeMemory({ memoryTotalBytes, memoryAvailableBytes }: Stats, thresholds: Thresholds): Verdict {
  return judgeUsed({ name: "memory", label: "memory" }, memoryTotalBytes, memoryAvailableBytes, thresholds);
}

/** A path that has thresholds of its own has to be there; the general ones are for all others, and need one at least. */
function judgeDisks(disks: Stats["disks"], wanted: readonly DiskThresholds[]): Verdict[] {
  const general = wanted.find(({ path }) => path === undefined);
  const missing = wanted.filter(({ path }) => path !== undefined && !disks.some((disk) => disk.path === path));
  const judged = disks.flatMap(({ path, totalBytes, availableBytes }) => {
    const thresholds = wanted.find((one) => one.path === path) ?? general;
    if (thresholds === undefined) return [];
    return [judgeUsed({ name: `disk ${path}`, label: path }, totalBytes, availableBytes, thresholds)];
  });
  const lacking = missing.map(({ path = "" }) =>
    unknown(`disk ${path}`, "it is not among those that the guest tells of"),
  );
  if (disks.length === 0 && general !== undefined) lacking.push(unknown("disk", "the guest tells of none"));
  return [...judged, ...lacking];
}

function judgeLoad({ loadAverage }: Stats, { warning, critical }: Thresholds): Verdict {
  const [, load = Number.NaN] = loadAverage;
  if (!(load >= 0 && load <= MAX_LOAD)) return unknown("load", `a load of ${load} cannot be`);
  const value = rounded(load, 100);
  const measured: Measurement = { label: "load5", value, unit: "", warning, critical, min: 0 };
  return { name: "load", state: level(value, { warning, critical }), text: `load ${value}`, measured };
}

/** A summary, and each that is failing. Where none is watched there is nothing to judge. */
function judgeApplications(applications: readonly ApplicationState[]): Verdict[] {
  if (applications.length === 0) return [unknown("applications", "its agent watches none")];
  const failing = applications.filter(({ state }) => state === "failing");
  const pending = applications.filter(({ state }) => state === "pending").length;
  const parts = [
    `${failing.length} of ${applications.length} applications failing`,
    pending === 0 ? "" : `${pending} pending`,
  ];
  const max = applications.length;
  return [
    {
      name: "applications",
      state: failing.length === 0 ? "OK" : "CRITICAL",
      text: parts.filter((part) => part !== "").join(", "),
      measured: { label: "failing_applications", value: failing.length, unit: "", critical: 1, min: 0, max },
    },
    ...failing.map(failingApplication),
  ];
}

function failingApplication({ name, forMs, reason }: ApplicationState): Verdict {
  const why = reason === undefined ? "" : `: ${reason}`;
  return { name: `application ${name}`, state: "CRITICAL", text: `${name} failing for ${ageInWords(forMs)}${why}` };
}

interface Subject {
  name: string;
  label: string;
}

function judgeUsed(subject: Subject, totalBytes: number, availableBytes: number, thresholds: Thresholds): Verdict {
  if (totalBytes === 0) return unknown(subject.name, "the guest says that it has 0 bytes");
  if (availableBytes > totalBytes) {
    return unknown(subject.name, `the guest says that ${availableBytes} of ${totalBytes} bytes are available`);
  }
  return judgePercent({ ...subject, what: "used" }, (totalBytes - availableBytes) / totalBytes, thresholds);
}

/** What is shown is what is judged: the share is rounded before. */
function judgePercent(
  { name, label, what }: Subject & { what: string },
  share: number,
  { warning, critical }: Thresholds,
): Verdict {
  const value = rounded(share * 100, 100);
  const measured: Measurement = { label, value, unit: "%", warning, critical, min: 0, max: 100 };
  return { name, state: level(value, { warning, critical }), text: `${name} ${value} % ${what}`, measured };
}

function level(value: number, { warning, critical }: Thresholds): CheckState {
  if (value >= critical) return "CRITICAL";
  return warning !== undefined && value >= warning ? "WARNING" : "OK";
}

function unknown(name: string, why: string): Verdict {
  return { name, state: "UNKNOWN", text: `${name}: ${why}` };
}

function rounded(value: number, precision: number): number {
  return Math.round(value * precision) / precision;
}
