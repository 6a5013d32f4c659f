/**
 * What a guest shows of its run by a commit, out of what its report's key is set to. Sans I/O: changes of keys and times go
 * in, what is to be shown comes out. The guest is not believed: whatever is no report is passed over.
 */
import { type BootstrapReport, bootstrapReport, MAX_MODULES, REPORT_KEY } from "../../shared/bootstrap.ts";
import type { Cursor, WireChange, WireEntry } from "../../shared/protocol/message.ts";
import { fromWireValue } from "../../shared/protocol/value.ts";
import type { Changed } from "../guest.ts";

export type ModuleReport = BootstrapReport["modules"][number];

/** A run as it was last reported. */
export interface RunView {
  report: BootstrapReport;
  /** It is another run than the one before, as after a reboot in the middle of that. */
  isNew: boolean;
  /** All that are known of the run, in their order. */
  modules: readonly ModuleReport[];
  /** Those of them that ended since the last view. */
  ended: readonly ModuleReport[];
}

export type Seen =
  | { type: "run"; view: RunView }
  /** A later set of keys is what the guest configures itself by. */
  | { type: "superseded"; commit: string | null; hadBegun: boolean }
  /** Said once: it is no report, and is passed over. */
  | { type: "unreadable" }
  /** Said once: of further runs the end alone is seen. */
  | { type: "too-many-runs" };

/** How far it came. */
export type Progress =
  | { type: "not-delivered" }
  /** @property otherCommit that of the run that the guest shows instead */
  | { type: "no-run"; otherCommit: string | undefined }
  | { type: "running"; module: { name: string; forMs: number } | undefined };

/** One is begun anew three times after reboots; a guest that makes up another with each report does not flood a terminal. */
export const MAX_SEEN_RUNS = 20;

/** A change that set the report's key together with a commit: ours, or another host's. */
interface HostSet {
  messageId: string;
  at: Cursor;
}

export class FollowedRun {
  /** Of the change that set the commit: the run is ours that carries it. */
  readonly #messageId: string;
  /** Where in the guest's history that stands; unknown while it is not delivered. */
  #setAt: Cursor | undefined;
  /** A run that began later on the guest's clock, and is not ours, is of a later commit. */
  #lastOfOurs: string | undefined;
  #otherSet: HostSet | undefined;
  /** What the guest shows, where it is not ours. */
  #other: BootstrapReport | undefined;
  #isToldUnreadable = false;
  #run: string | undefined;
  #seenRuns = 0;
  #modules: ModuleReport[] = [];
  /** Modules of this run whose end was seen. */
  #ended = new Set<string>();
  #running: { name: string; sinceMs: number } | undefined;

  constructor(messageId: string) {
    this.#messageId = messageId;
  }

  /** The guest has set the keys. */
  delivered(at: Cursor): Seen[] {
    this.#setAt = at;
    return this.#other === undefined ? [] : this.#superseded(this.#other);
  }

  /** Keys with the report's key as their prefix were changed. */
  take({ epoch, changes, resync }: Pick<Changed, "epoch" | "changes" | "resync">, nowMs: number): Seen[] {
    if (resync) this.#other = undefined;
    return changes.filter(({ key }) => key === REPORT_KEY).flatMap((change) => this.#see(change, epoch, nowMs));
  }

  progress(nowMs: number): Progress {
    if (this.#run !== undefined) return { type: "running", module: this.#runningFor(nowMs) };
    if (this.#setAt === undefined) return { type: "not-delivered" };
    return { type: "no-run", otherCommit: this.#other?.commit ?? undefined };
  }

  #runningFor(nowMs: number): { name: string; forMs: number } | undefined {
    return this.#running && { name: this.#running.name, forMs: nowMs - this.#running.sinceMs };
  }

  #see(change: WireChange, epoch: string, nowMs: number): Seen[] {
    this.#other = undefined;
    if ("deleted" in change) return [];
    if (change.setBy === "host") {
      this.#takeHostSet(change, epoch);
      return [];
    }
    const report = reportIn(change);
    if (report === undefined) return this.#unreadable();
    if (report.messageId === this.#messageId) return this.#seeOurs(report, nowMs);
    this.#other = report;
    return this.#superseded(report);
  }

  #takeHostSet({ messageId, setAt, revision }: WireEntry, epoch: string): void {
    const at = { epoch, revision };
    if (messageId === this.#messageId) {
      this.#setAt ??= at;
      this.#lastOfOurs ??= setAt;
    } else if (messageId !== undefined) this.#otherSet = { messageId, at };
  }

  #unreadable(): Seen[] {
    if (this.#isToldUnreadable) return [];
    this.#isToldUnreadable = true;
    return [{ type: "unreadable" }];
  }

  #seeOurs(report: BootstrapReport, nowMs: number): Seen[] {
    this.#lastOfOurs = report.startedAt;
    const view = this.#view(report, nowMs);
    if (view.isNew) this.#seenRuns += 1;
    if (this.#seenRuns <= MAX_SEEN_RUNS || isEnd(report)) return [{ type: "run", view }];
    return view.isNew && this.#seenRuns === MAX_SEEN_RUNS + 1 ? [{ type: "too-many-runs" }] : [];
  }

  /** A run by an earlier commit may still be under way, and a manager may show what was before. */
  #superseded({ messageId, commit, startedAt }: BootstrapReport): Seen[] {
    if (messageId === null || this.#setAt === undefined) return [];
    const isOfLaterSet = this.#otherSet?.messageId === messageId && isAfter(this.#otherSet.at, this.#setAt);
    const isLater = this.#lastOfOurs !== undefined && Date.parse(startedAt) > Date.parse(this.#lastOfOurs);
    return isOfLaterSet || isLater ? [{ type: "superseded", commit, hadBegun: this.#run !== undefined }] : [];
  }

  #view(report: BootstrapReport, nowMs: number): RunView {
    const isNew = report.run !== this.#run;
    const before = isNew ? [] : this.#modules;
    const modules = report.shortened === true ? completed(report.modules, before) : distinct(report.modules);
    if (isNew) this.#ended = new Set();
    this.#run = report.run;
    this.#modules = modules;
    this.#takeRunning(modules, isNew, nowMs);
    return { report, isNew, modules, ended: this.#newlyEnded(modules) };
  }

  /** Each once, and no more than a run can have, whatever a guest calls them from one report to the next. */
  #newlyEnded(modules: readonly ModuleReport[]): ModuleReport[] {
    const ended = modules.filter((one) => hasEnded(one) && !this.#ended.has(one.name));
    const told = ended.slice(0, MAX_MODULES - this.#ended.size);
    for (const { name } of told) this.#ended.add(name);
    return told;
  }

  #takeRunning(modules: readonly ModuleReport[], isNew: boolean, nowMs: number): void {
    const name = modules.find(({ state }) => state === "running")?.name;
    if (name === undefined) this.#running = undefined;
    else if (isNew || name !== this.#running?.name) this.#running = { name, sinceMs: nowMs };
  }
}

/** Where revisions can be compared. */
function isAfter(one: Cursor, other: Cursor): boolean {
  return one.epoch === other.epoch && one.revision > other.revision;
}

/** Final: nothing comes after it. */
export function isEnd({ state }: BootstrapReport): boolean {
  return state === "ok" || state === "error";
}

/** Every module ended well or had nothing to do; a guest's word alone does not make it so. */
export function isSuccess({ report, modules }: RunView): boolean {
  return report.state === "ok" && modules.every(({ state }) => state === "ok" || state === "skipped");
}

export function hasEnded({ state }: ModuleReport): boolean {
  return state !== "pending" && state !== "running";
}

function reportIn(entry: WireEntry): BootstrapReport | undefined {
  const value = fromWireValue(entry);
  if (typeof value !== "string") return undefined;
  let json: unknown;
  try {
    json = JSON.parse(value);
  } catch {
    return undefined;
  }
  return bootstrapReport.safeParse(json).data;
}

/** A report that had no room leaves out those that ended well. */
function completed(reported: readonly ModuleReport[], before: readonly ModuleReport[]): ModuleReport[] {
  const news = new Map(reported.map((one) => [one.name, one]));
  const known = before.map(
    (one): ModuleReport => news.get(one.name) ?? (hasEnded(one) ? one : { ...one, state: "ok" }),
  );
  return distinct([...known, ...reported]);
}

/** A name that stands there twice is the first of them. */
function distinct(modules: readonly ModuleReport[]): ModuleReport[] {
  const names = new Set<string>();
  return modules.filter(({ name }) => !names.has(name) && names.add(name));
}
