/** `agent bootstrap --watch`: configures this machine again whenever the host has completed another set of keys. */
import { aborted, pause } from "../../shared/abort.ts";
import type { BootstrapReport } from "../../shared/bootstrap.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { BootstrapConfig } from "./config.ts";
import { isOurOwn } from "./first-boot.ts";
import { type Commit, commitOf, fingerprint, type KeySnapshot } from "./key-snapshot.ts";
import { type RunEnvironment, Runs } from "./one-run.ts";
import type { RunState } from "./run-state.ts";

export type WatchConfig = Pick<BootstrapConfig, "commitKeys" | "reconfigureOn" | "debounce">;

export interface Watcher {
  environment: RunEnvironment;
  config: WatchConfig;
  /** A run has ended, and another one may begin. */
  ran: (report: BootstrapReport) => Promise<void>;
}

/** A host that never stops setting keys is not waited for longer than so many times the debounce. */
const MAX_DEBOUNCES = 10;

/** While another run is under way, or the agent does not answer. */
const AGAIN_MS = 2_000;

/** Settles when the signal is aborted. */
export async function watch({ environment, config, ran }: Watcher): Promise<void> {
  const { signal, door } = environment;
  await new Runs(environment).tellEarlierEnd();
  const news = new News();
  const following = door.follow((batch) => {
    if (!isOurOwn(batch)) news.arrived();
  }, signal);
  while (!signal.aborted) {
    await news.settled(config.debounce, signal);
    const outcome = await consider(environment, config);
    if (typeof outcome === "object") await ran(outcome);
    if (outcome !== "again") continue;
    await pause(AGAIN_MS, signal);
    news.arrived();
  }
  await following;
}

/** Whether anything has changed since it was looked at. At first it has: what came before we did is looked at too. */
class News {
  #isThere = true;
  #wake: () => void = () => undefined;

  arrived(): void {
    this.#isThere = true;
    this.#wake();
  }

  /** Waits until there are news, and then until nothing more has come for so long, or too much has. */
  async settled(quietMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#isThere) await Promise.race([this.#next(), aborted(signal)]);
    for (let round = 0; round < MAX_DEBOUNCES && this.#isThere && !signal.aborted; round += 1) {
      this.#isThere = false;
      await pause(quietMs, signal);
    }
    this.#isThere = false;
  }

  #next(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** Runs what there is to run; `again` when it has to be looked at once more. */
async function consider(
  environment: RunEnvironment,
  config: WatchConfig,
): Promise<BootstrapReport | "nothing" | "again"> {
  const runs = new Runs(environment);
  try {
    return await runs.alone(async () => {
      const snapshot = await environment.door.readKeys();
      const commit = commitOf(snapshot.entries, config.commitKeys);
      const state = await runs.state();
      if (!isNews(state, snapshot, commit, config)) return "nothing";
      const target = state.isConfigured ? "reconfigure" : "configure";
      const modules = await environment.modulesOf(target);
      if (commit !== undefined) await environment.door.noteRead(commit.key);
      const work = { target, modules, values: snapshot.values, snapshot, commit } as const;
      const { report } = await runs.run(work, runs.reporter(target));
      return report;
    });
  } catch (error) {
    if (environment.signal.aborted) return "nothing";
    environment.note(`the keys are looked at again soon: ${(error as Error).message}`);
    if (error instanceof CommandError && error.code !== "held" && error.code !== "unreachable") throw error;
    return "again";
  }
}

/** A first configuration is always begun by a commit. */
function isNews(
  state: RunState,
  snapshot: KeySnapshot,
  commit: Commit | undefined,
  { reconfigureOn }: WatchConfig,
): boolean {
  if (commit !== undefined && commit.identity !== state.handledCommit) return true;
  return reconfigureOn === "change" && state.isConfigured && fingerprint(snapshot) !== state.handledKeys;
}
