/** `agent bootstrap`: configures this machine once, when its keys are complete. Always comes to an end. */
import { aborted } from "../../shared/abort.ts";
import { type BootstrapReport, REPORT_KEY } from "../../shared/bootstrap.ts";
import { durationInWords } from "../../shared/cli/duration.ts";
import type { KeyBatch } from "../../shared/key-watcher.ts";
import type { BootstrapConfig } from "./config.ts";
import { type Commit, commitOf, type KeySnapshot } from "./key-snapshot.ts";
import type { ConfigModule } from "./module.ts";
import { type RunEnvironment, Runs } from "./one-run.ts";
import { declaredParameters } from "./runner.ts";

export type FirstBootConfig = Pick<BootstrapConfig, "commitKeys" | "wait" | "otherwise">;

export type FirstBootEnd =
  | { type: "already" }
  | { type: "ran"; report: BootstrapReport }
  /** No commit came in time. */
  | { type: "late"; report: BootstrapReport };

interface Found {
  snapshot: KeySnapshot | undefined;
  commit: Commit | undefined;
}

/** Throws CommandError, and the signal's reason when it is aborted. */
export async function firstBoot(environment: RunEnvironment, config: FirstBootConfig): Promise<FirstBootEnd> {
  const runs = new Runs(environment);
  return runs.alone(async () => {
    await runs.tellEarlierEnd();
    if ((await runs.state()).isConfigured) return { type: "already" };
    const modules = await environment.modulesOf("configure");
    const reporter = runs.reporter("configure");
    await reporter.waiting();
    const { snapshot, commit } = await waitForCommit(environment, modules, config);
    environment.signal.throwIfAborted();
    if (commit === undefined && config.otherwise === "fail") {
      const who = snapshot === undefined ? "no agent answered" : "no commit came";
      const report = await runs.fail(`${who} within ${durationInWords(config.wait)}`, reporter);
      return { type: "late", report };
    }
    if (commit !== undefined) await environment.door.noteRead(commit.key).catch(() => undefined);
    const values = snapshot?.values ?? new Map();
    const { report } = await runs.run({ target: "configure", modules, values, snapshot, commit }, reporter);
    return { type: "ran", report };
  });
}

/** The keys as soon as they are complete, or as they are when the time is up. */
async function waitForCommit(
  environment: RunEnvironment,
  modules: readonly ConfigModule[],
  { commitKeys, wait }: FirstBootConfig,
): Promise<Found> {
  const { door, signal } = environment;
  const declared = new Set<string>();
  for (const { key, aliases } of await declaredParameters(modules, "configure", signal)) {
    for (const name of [key, ...aliases]) declared.add(name);
  }
  const done = new AbortController();
  const ends = AbortSignal.any([signal, done.signal, AbortSignal.timeout(wait)]);
  const found: Found = { snapshot: undefined, commit: undefined };
  const look = onlyOneAtATime(async () => {
    const snapshot = await door.readKeys();
    const commit = commitOf(snapshot.entries, commitKeys);
    Object.assign(found, { snapshot, commit });
    // A secret that a boot took away is waited for as long as there is time: the host is told that it is gone.
    if (commit !== undefined && !snapshot.gone.some((key) => declared.has(key))) done.abort();
  });
  const following = door.follow((batch) => {
    if (!isOurOwn(batch)) look();
  }, ends);
  await Promise.race([following, aborted(ends)]);
  done.abort();
  await following;
  return found;
}

/** Our own report is no news. */
export function isOurOwn({ changes, resync }: KeyBatch): boolean {
  return !resync && changes.length > 0 && changes.every(({ key }) => key === REPORT_KEY);
}

/** Does the work at each call, but never twice at once: calls that come meanwhile are one more time. What fails is tried at the next. */
function onlyOneAtATime(work: () => Promise<void>): () => void {
  let isWanted = false;
  let isWorking = false;
  const go = async (): Promise<void> => {
    isWorking = true;
    while (isWanted) {
      isWanted = false;
      await work().catch(() => undefined);
    }
    isWorking = false;
  };
  return () => {
    isWanted = true;
    if (!isWorking) void go();
  };
}
