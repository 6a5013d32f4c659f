/** `agent bootstrap --watch`: configures this machine again whenever the host has completed another set of keys. */
import { pause } from "../../shared/abort.ts";
import type { BootstrapReport } from "../../shared/bootstrap.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { BootstrapConfig } from "./config.ts";
import { isOurOwn } from "./first-boot.ts";
import { type Commit, commitOf, fingerprint, type KeySnapshot } from "./key-snapshot.ts";
import { News } from "./news.ts";
import { type RunEnvironment, Runs } from "./one-run.ts";
import type { RunState } from "./run-state.ts";

export type WatchConfig = Pick<BootstrapConfig, "commitKeys" | "reconfigureOn" | "debounce">;

export interface Watcher {
  environment: RunEnvironment;
  config: WatchConfig;
  /** A run has ended, and another one may begin. */
  ran: (report: BootstrapReport) => Promise<void>;
}

/** While another run is under way, the agent does not answer, or the host has not been told of an earlier run. */
const AGAIN_MS = 5_000;

/** Settles when the signal is aborted. */
export async function watch({ environment, config, ran }: Watcher): Promise<void> {
  const { signal, door } = environment;
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
      if (!isNews(state, snapshot, commit, config)) return (await runs.isFinished()) ? "nothing" : "again";
      const target = state.isConfigured && state.isCommitted ? "reconfigure" : "configure";
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
