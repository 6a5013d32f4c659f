/** One run of a target, from its record on the disk to its last word: what first boot, the watch and `agent config` share. */
import type { BootstrapReport, Target } from "../../shared/bootstrap.ts";
import type { AgentDoor } from "./agent-door.ts";
import { declaredBy, namesOf, parametersIn } from "./declared.ts";
import { type Commit, fingerprint, identityOf, type KeySnapshot } from "./key-snapshot.ts";
import type { ConfigModule, Values } from "./module.ts";
import { PATIENCE_MS, patiently } from "./patiently.ts";
import { type Audience, Reporter, tellEnd } from "./reporter.ts";
import { withRunLock } from "./run-lock.ts";
import { type ModuleEnd, runModules } from "./runner.ts";
import { type RunState, RunStateFile } from "./run-state.ts";

/** Times that a run may be cut short, by a module that reboots for instance, before it counts as failed. */
export const MAX_ATTEMPTS = 3;

/** For all modules together: a boot that waits for them comes to its end. vmmessage-bootstrap.service has longer. Not measured. */
export const RUN_LIMIT_MS = 3_600_000;

const nobody: Audience = { show: () => Promise.resolve(), tell: () => Promise.resolve() };

export interface RunEnvironment {
  door: AgentDoor;
  stateDirectory: string;
  runDirectory: string;
  /** What tells this machine from its clones. */
  instance: string | null;
  /** The modules that are enabled for a target, in their order. */
  modulesOf: (target: Target) => Promise<ConfigModule[]>;
  /** Something to know beside the answer. */
  note: (text: string) => void;
  /** How a module ended, for whoever looks on. */
  ended: (end: ModuleEnd) => void;
  signal: AbortSignal;
}

export interface Work {
  target: Target;
  modules: readonly ConfigModule[];
  values: Values;
  /** The keys that the values are from; none when they were given by hand. */
  snapshot: KeySnapshot | undefined;
  commit: Commit | undefined;
  /** Not all of the target's modules: what is on record stays as it is. */
  isPart?: boolean;
  /** Nobody is told, and how the last run went stays on record. */
  isSilent?: boolean;
}

export interface RunEnd {
  report: BootstrapReport;
  ends: readonly ModuleEnd[];
}

export class Runs {
  readonly #environment: RunEnvironment;
  readonly #file: RunStateFile;

  constructor(environment: RunEnvironment) {
    this.#environment = environment;
    this.#file = new RunStateFile(environment.stateDirectory);
  }

  state(): Promise<RunState> {
    return this.#file.load(this.#environment.instance);
  }

  reporter(target: Target): Reporter {
    const { door, instance, note } = this.#environment;
    return new Reporter(door, { target, instance }, note);
  }

  /** For a run that is nobody else's news. */
  silentReporter(target: Target): Reporter {
    const { instance, note } = this.#environment;
    return new Reporter(nobody, { target, instance }, note);
  }

  /** Lets no other run begin until `work` is done, and first does what an earlier one left to do. Throws CommandError (held). */
  async alone<R>(work: () => Promise<R>): Promise<R> {
    return withRunLock(this.#environment.runDirectory, async () => {
      await this.#finishEarlier();
      return work();
    });
  }

  /** Runs the modules. What is acknowledged on the host's side is on the disk before. Throws when interrupted. */
  async run(work: Work, reporter: Reporter): Promise<RunEnd> {
    const { signal } = this.#environment;
    const { target, modules, values, commit, isPart = false } = work;
    reporter.isFor(commit);
    const state = await this.state();
    const attempts = state.underway?.commit === (commit?.identity ?? null) ? state.underway.attempts : 0;
    if (attempts >= MAX_ATTEMPTS) {
      return this.#giveUp(`it was interrupted ${attempts} times, and is tried again with a new commit`, work, reporter);
    }
    const underway = { target, commit: commit?.identity ?? null, attempts: attempts + 1 };
    try {
      await this.#file.save({ ...state, underway: isPart ? state.underway : underway });
    } catch (error) {
      return this.#giveUp(`nothing was done: ${(error as Error).message}`, work, reporter);
    }
    await reporter.begun(modules);
    const { ends, usedSecrets } = await runModules({
      target,
      modules,
      values,
      limitMs: RUN_LIMIT_MS,
      signal,
      started: (module) => reporter.moduleBegun(module),
      ended: async (end) => {
        this.#environment.ended(end);
        await reporter.moduleEnded(end);
      },
    }).catch(async (error: unknown) => {
      if (signal.aborted) await reporter.interrupted();
      throw error;
    });
    const toErase = [...state.toErase, ...(await this.#identitiesToErase(usedSecrets, work))];
    const isOk = ends.every(({ outcome }) => outcome !== "error");
    const report = reporter.conclude(isOk ? "ok" : "error");
    const left = (await this.#erase(toErase)) ? [] : toErase;
    const ended = { ...consequences(work, isOk, usedSecrets), toErase: left };
    const next = { ...state, ...ended, underway: isPart ? state.underway : null };
    await this.#conclude(next, report, reporter, work.isSilent);
    return { report, ends };
  }

  /** A run that comes to its end before any module has begun. Interruptions stay counted: only another commit is another run. */
  async #giveUp(reason: string, work: Work, reporter: Reporter): Promise<RunEnd> {
    const report = reporter.conclude("error", reason);
    const state = await this.state();
    await this.#conclude({ ...state, ...consequences(work, false, []) }, report, reporter, work.isSilent);
    return { report, ends: [] };
  }

  /** A run that has nothing to begin with. */
  async fail(reason: string, reporter: Reporter): Promise<BootstrapReport> {
    const report = reporter.conclude("error", reason);
    await this.#conclude(await this.state(), report, reporter);
    return report;
  }

  /** Whether all that the last run had to do and to tell is done and told. */
  async isFinished(): Promise<boolean> {
    const { isTold, toErase } = await this.state();
    return isTold && toErase.length === 0;
  }

  /** What the power or an agent that was away kept an earlier run from: its last word, and the end of its secrets. */
  async #finishEarlier(): Promise<void> {
    const { door, note } = this.#environment;
    const state = await this.state().catch(() => undefined);
    if (state === undefined || (state.isTold && state.toErase.length === 0)) return;
    const isTold = state.isTold || state.last === null || (await tellEnd(door, state.last, note));
    const isErased = state.toErase.length === 0 || (await this.#erase(state.toErase));
    await this.#save({ ...state, isTold, toErase: isErased ? [] : state.toErase });
  }

  /** First on the disk, so that it will be told whatever happens. */
  async #conclude(state: RunState, report: BootstrapReport, reporter: Reporter, isSilent = false): Promise<void> {
    if (isSilent) {
      await this.#save(state);
      return;
    }
    await this.#save({ ...state, last: report, isTold: false });
    if (await reporter.ended()) await this.#save({ ...state, last: report, isTold: true });
  }

  /** A disk that is full now does not undo what was done: the worst is that it is done again. */
  async #save(state: RunState): Promise<void> {
    await this.#file.save(state).catch((error: unknown) => {
      this.#environment.note(`what was done is not recorded, and may be done again: ${(error as Error).message}`);
    });
  }

  /** The secrets that a whole run has used, but for those that a module of any target wants to be kept. */
  async #identitiesToErase(used: readonly string[], { snapshot, isPart = false }: Work): Promise<string[]> {
    if (snapshot === undefined || isPart || used.length === 0) return [];
    const { modulesOf, signal } = this.#environment;
    const kept = new Set<string>();
    for (const target of ["configure", "reconfigure"] as const) {
      const parameters = parametersIn(await declaredBy(await modulesOf(target), target, signal));
      for (const name of namesOf(parameters.filter(({ keep }) => keep))) kept.add(name);
    }
    return snapshot.entries.filter(({ key }) => used.includes(key) && !kept.has(key)).map(identityOf);
  }

  /** False when it has to be done later. */
  async #erase(identities: readonly string[]): Promise<boolean> {
    if (identities.length === 0) return true;
    const { door, note } = this.#environment;
    return patiently(
      PATIENCE_MS,
      () => door.erase(identities),
      ({ message }) => {
        note(`secrets that were used are still in the cache: ${message}`);
      },
    );
  }
}

/** What a run that ended makes of the state. A machine that was cleaned up is configured anew at its next boot. */
function consequences(work: Work, isOk: boolean, erased: readonly string[]): Partial<RunState> {
  const { target, commit, snapshot, isPart = false } = work;
  if (isPart) return {};
  const handled = {
    ...(commit && { handledCommit: commit.identity }),
    ...(snapshot && { handledKeys: fingerprint(snapshot, erased) }),
  };
  if (target === "configure" && isOk) return { ...handled, isConfigured: true, isCommitted: commit !== undefined };
  // What is committed now is not what it will be configured by.
  if ((target === "cleanup" || target === "unconfigure") && isOk) return { ...handled, isConfigured: false };
  return target === "configure" || target === "reconfigure" ? handled : {};
}
