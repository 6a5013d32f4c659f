/** One run of a target, from its record on the disk to its last word: what first boot, the watch and `agent config` share. */
import { join } from "node:path";
import type { BootstrapReport, Target } from "../../shared/bootstrap.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { listenUnixSocket, SocketInUseError } from "../channel/unix-listener.ts";
import type { AgentDoor } from "./agent-door.ts";
import { type Commit, fingerprint, type KeySnapshot } from "./key-snapshot.ts";
import type { ConfigModule, Values } from "./module.ts";
import { type Audience, Reporter, tellEnd } from "./reporter.ts";
import { type ModuleEnd, runModules } from "./runner.ts";
import { type RunState, RunStateFile } from "./run-state.ts";

/** Times that a run may be cut short, by a module that reboots for instance, before it counts as failed. */
export const MAX_ATTEMPTS = 3;

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
    return new Reporter(door, { target, instance, commit: null }, note);
  }

  /** For a run that is nobody else's news. */
  silentReporter(target: Target): Reporter {
    const { instance, note } = this.#environment;
    return new Reporter(nobody, { target, instance, commit: null }, note);
  }

  /** Lets no other run begin until `work` is done. Throws CommandError (held). */
  async alone<R>(work: () => Promise<R>): Promise<R> {
    const path = join(this.#environment.runDirectory, "bootstrap.lock");
    const lock = await listenUnixSocket(path, { mode: 0o600 }).catch((error: unknown) => {
      if (!(error instanceof SocketInUseError)) throw error;
      throw new CommandError("held", "this machine is being configured already; try again when that is done");
    });
    try {
      return await work();
    } finally {
      lock.close();
    }
  }

  /** Runs the modules. What is acknowledged on the host's side is on the disk before. Throws when interrupted. */
  async run(work: Work, reporter: Reporter): Promise<RunEnd> {
    const { signal, ended } = this.#environment;
    const { target, modules, values, commit } = work;
    reporter.isFor(commit?.value ?? null);
    const state = await this.state();
    const attempts = state.underway?.commit === (commit?.identity ?? null) ? state.underway.attempts : 0;
    if (attempts >= MAX_ATTEMPTS) {
      return this.#giveUp(`it was interrupted ${attempts} times, and is tried again with a new commit`, work, reporter);
    }
    try {
      await this.#file.save({
        ...state,
        underway: { target, commit: commit?.identity ?? null, attempts: attempts + 1 },
      });
    } catch (error) {
      return this.#giveUp(`nothing was done: ${(error as Error).message}`, work, reporter);
    }
    await reporter.begun(modules);
    const { ends, usedSecrets } = await runModules({
      target,
      modules,
      values,
      signal,
      started: (module) => reporter.moduleBegun(module),
      ended: async (end) => {
        ended(end);
        await reporter.moduleEnded(end);
      },
    });
    await this.#erase(usedSecrets, work);
    const isOk = ends.every(({ outcome }) => outcome !== "error");
    const report = reporter.conclude(isOk ? "ok" : "error");
    await this.#conclude({ ...state, ...consequences(work, isOk, usedSecrets), underway: null }, report, reporter);
    return { report, ends };
  }

  /** A run that comes to its end before any module has begun. */
  async #giveUp(reason: string, work: Work, reporter: Reporter): Promise<RunEnd> {
    const report = reporter.conclude("error", reason);
    const state = await this.state();
    await this.#conclude({ ...state, ...consequences(work, false, []), underway: null }, report, reporter);
    return { report, ends: [] };
  }

  /** A run that has nothing to begin with. */
  async fail(reason: string, reporter: Reporter): Promise<BootstrapReport> {
    const report = reporter.conclude("error", reason);
    await this.#conclude(await this.state(), report, reporter);
    return report;
  }

  /** The end of an earlier run, told when its last word may have been lost with the power. */
  async tellEarlierEnd(): Promise<void> {
    const { door, note } = this.#environment;
    const state = await this.state();
    if (state.isTold || state.last === null) return;
    if (await tellEnd(door, state.last, note)) await this.#save({ ...state, isTold: true });
  }

  /** First on the disk, so that it will be told whatever happens. */
  async #conclude(state: RunState, report: BootstrapReport, reporter: Reporter): Promise<void> {
    await this.#save({ ...state, last: report, isTold: false });
    if (await reporter.ended()) await this.#save({ ...state, last: report, isTold: true });
  }

  /** A disk that is full now does not undo what was done: the worst is that it is done again. */
  async #save(state: RunState): Promise<void> {
    await this.#file.save(state).catch((error: unknown) => {
      this.#environment.note(`what was done is not recorded, and may be done again: ${(error as Error).message}`);
    });
  }

  async #erase(keys: readonly string[], { snapshot }: Work): Promise<void> {
    if (snapshot === undefined) return;
    await this.#environment.door.erase(keys, snapshot).catch((error: unknown) => {
      this.#environment.note(`secrets were not erased from the cache: ${(error as Error).message}`);
    });
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
  if (target === "configure" && isOk) return { ...handled, isConfigured: true };
  if ((target === "cleanup" || target === "unconfigure") && isOk) {
    return { isConfigured: false, handledCommit: null, handledKeys: null };
  }
  return target === "configure" || target === "reconfigure" ? handled : {};
}
