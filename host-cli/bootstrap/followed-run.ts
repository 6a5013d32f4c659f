/**
 * What a guest shows of its run by a commit, out of what its report's key is set to. Sans I/O: changes of keys and times go
 * in, what is to be shown comes out. The guest is not believed: whatever is no report is passed over.
 */
import { type BootstrapReport, bootstrapReport, REPORT_KEY } from "../../shared/bootstrap.ts";
import type { Cursor, WireChange } from "../../shared/protocol/message.ts";
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
  /** Said once: it is no report, and is passed over. */
  | { type: "unreadable" };

/** How far it came. */
export type Progress =
  | { type: "not-delivered" }
  /** @property otherCommit that of the run that the guest shows instead */
  | { type: "no-run"; otherCommit: string | undefined }
  | { type: "running"; module: { name: string; forMs: number } | undefined };

/** What the report's key was set to, and where in the cache's history that stands. */
interface Sighting {
  report: BootstrapReport;
  at: Cursor;
}

export class FollowedRun {
  readonly #commit: string;
  /** Where in the history the commit was set; unknown while it is not delivered. */
  #setAt: Cursor | undefined;
  /** The last one before that is known: the guest may be faster than the answer. */
  #held: Sighting | undefined;
  /** A run by the same commit that was there before. */
  #earlierRun: string | undefined;
  #otherCommit: string | undefined;
  #isToldUnreadable = false;
  #run: string | undefined;
  #modules: ModuleReport[] = [];
  #running: { name: string; sinceMs: number } | undefined;

  constructor(commit: string) {
    this.#commit = commit;
  }

  /** The guest has set the keys; revisions of one epoch tell what was before. */
  delivered(at: Cursor, nowMs: number): Seen[] {
    this.#setAt = at;
    const held = this.#held;
    this.#held = undefined;
    return held === undefined ? [] : this.#judge(held, at, nowMs);
  }

  /** Keys with the report's key as their prefix were changed. */
  take({ epoch, changes }: Pick<Changed, "epoch" | "changes">, nowMs: number): Seen[] {
    return changes.filter(({ key }) => key === REPORT_KEY).flatMap((change) => this.#see(change, epoch, nowMs));
  }

  progress(nowMs: number): Progress {
    if (this.#setAt === undefined) return { type: "not-delivered" };
    if (this.#run === undefined) return { type: "no-run", otherCommit: this.#otherCommit };
    const running = this.#running;
    if (running === undefined) return { type: "running", module: undefined };
    return { type: "running", module: { name: running.name, forMs: nowMs - running.sinceMs } };
  }

  #see(change: WireChange, epoch: string, nowMs: number): Seen[] {
    if ("deleted" in change) return [];
    const report = reportIn(change);
    if (report === undefined) return this.#unreadable();
    const sighting = { report, at: { epoch, revision: change.revision } };
    if (this.#setAt !== undefined) return this.#judge(sighting, this.#setAt, nowMs);
    this.#held = sighting;
    return [];
  }

  #unreadable(): Seen[] {
    if (this.#isToldUnreadable) return [];
    this.#isToldUnreadable = true;
    return [{ type: "unreadable" }];
  }

  #judge({ report, at }: Sighting, setAt: Cursor, nowMs: number): Seen[] {
    if (at.epoch === setAt.epoch && at.revision < setAt.revision) {
      // It comes again in another epoch, when the agent is restarted before the new run begins.
      this.#earlierRun = report.run;
      return [];
    }
    if (report.run === this.#earlierRun) return [];
    if (report.commit === this.#commit) return [{ type: "run", view: this.#view(report, nowMs) }];
    this.#otherCommit = report.commit ?? undefined;
    return [];
  }

  #view(report: BootstrapReport, nowMs: number): RunView {
    const isNew = report.run !== this.#run;
    const before = isNew ? [] : this.#modules;
    const modules = report.shortened === true ? completed(report.modules, before) : distinct(report.modules);
    const hadEnded = new Set(before.filter(hasEnded).map(({ name }) => name));
    this.#run = report.run;
    this.#modules = modules;
    this.#takeRunning(modules, isNew, nowMs);
    return { report, isNew, modules, ended: modules.filter((one) => hasEnded(one) && !hadEnded.has(one.name)) };
  }

  #takeRunning(modules: readonly ModuleReport[], isNew: boolean, nowMs: number): void {
    const name = modules.find(({ state }) => state === "running")?.name;
    if (name === undefined) this.#running = undefined;
    else if (isNew || name !== this.#running?.name) this.#running = { name, sinceMs: nowMs };
  }
}

export function hasEnded({ state }: ModuleReport): boolean {
  return state !== "pending" && state !== "running";
}

function reportIn(entry: Exclude<WireChange, { deleted: true }>): BootstrapReport | undefined {
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
