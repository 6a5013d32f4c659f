/** `agent bootstrap`: configures this machine once, when its keys are complete. Always comes to an end. */
import { pause, within } from "../../shared/abort.ts";
import { type BootstrapReport, REPORT_KEY } from "../../shared/bootstrap.ts";
import { durationInWords } from "../../shared/cli/duration.ts";
import { CommandError, systemCode } from "../../shared/cli/failure.ts";
import { ConfigError } from "../../shared/config-file.ts";
import type { KeyBatch } from "../../shared/key-watcher.ts";
import type { BootstrapConfig } from "./config.ts";
import { declaredBy, namesOf, parametersIn } from "./declared.ts";
import { type Commit, commitOf, type KeySnapshot } from "./key-snapshot.ts";
import type { ConfigModule } from "./module.ts";
import { News } from "./news.ts";
import { type RunEnvironment, Runs } from "./one-run.ts";

export type FirstBootConfig = Pick<BootstrapConfig, "commitKeys" | "wait" | "otherwise">;

/** After a look at the keys that failed. */
const AGAIN_MS = 500;

/** An agent that answers does so by then. */
const LOOK_MS = 12_000;

export type FirstBootEnd =
  | { type: "already" }
  | { type: "ran"; report: BootstrapReport }
  /** No commit came in time. */
  | { type: "late"; report: BootstrapReport };

interface Found {
  snapshot: KeySnapshot | undefined;
  commit: Commit | undefined;
  /** Secrets that modules name, and whose values did not survive a boot. */
  gone: readonly string[];
}

/**
 * @param configured reads the configuration: what is wrong with it is told to the host too
 *
 * Throws CommandError (held), and the signal's reason when it is aborted.
 */
export async function firstBoot(environment: RunEnvironment, configured: () => FirstBootConfig): Promise<FirstBootEnd> {
  const runs = new Runs(environment);
  return runs.alone(async () => {
    const reporter = runs.reporter("configure");
    try {
      if ((await runs.state()).isConfigured) return { type: "already" };
      const config = configured();
      const modules = await environment.modulesOf("configure");
      await reporter.waiting();
      const found = await waitForCommit(environment, modules, config);
      environment.signal.throwIfAborted();
      const late = config.otherwise === "fail" ? whyLate(found) : undefined;
      if (late !== undefined) {
        const report = await runs.fail(`${late} within ${durationInWords(config.wait)}`, reporter);
        return { type: "late", report };
      }
      const { snapshot, commit } = found;
      if (commit !== undefined) await environment.door.noteRead(commit.key).catch(() => undefined);
      const values = snapshot?.values ?? new Map();
      const { report } = await runs.run({ target: "configure", modules, values, snapshot, commit }, reporter);
      return { type: "ran", report };
    } catch (error) {
      // Nothing was begun, nothing is on record, and the host hears why.
      if (environment.signal.aborted || !isForeseen(error)) throw error;
      const report = reporter.conclude("error", error.message);
      await reporter.ended();
      return { type: "ran", report };
    }
  });
}

/** A file that is wrong, or a disk that cannot be read or written. */
function isForeseen(error: unknown): error is Error {
  return error instanceof CommandError || error instanceof ConfigError || systemCode(error) !== undefined;
}

function whyLate({ snapshot, commit, gone }: Found): string | undefined {
  if (snapshot === undefined) return "no agent answered";
  if (commit === undefined) return "no commit came";
  return gone.length === 0 ? undefined : `${gone.join(", ")}, which a boot took away, did not come again`;
}

/** The keys as soon as they are complete, or as they are when the time is up. */
async function waitForCommit(
  environment: RunEnvironment,
  modules: readonly ConfigModule[],
  { commitKeys, wait }: FirstBootConfig,
): Promise<Found> {
  const { door, signal } = environment;
  const declared = namesOf(parametersIn(await declaredBy(modules, "configure", signal)));
  const read = async (): Promise<Found> => {
    const snapshot = await door.readKeys();
    const gone = snapshot.gone.filter((key) => declared.has(key));
    return { snapshot, commit: commitOf(snapshot.entries, commitKeys), gone };
  };
  const look = (until: AbortSignal): Promise<Found | undefined> => {
    const reading = read().catch(() => undefined);
    return within(LOOK_MS, reading, until);
  };
  const done = new AbortController();
  const ends = AbortSignal.any([signal, done.signal, AbortSignal.timeout(wait)]);
  const news = new News();
  const following = door.follow((batch) => {
    if (!isOurOwn(batch)) news.arrived();
  }, ends);
  try {
    let found: Found = { snapshot: undefined, commit: undefined, gone: [] };
    while (!ends.aborted) {
      await news.settled(0, ends);
      const seen = await look(ends);
      // A secret that a boot took away is waited for as long as there is time: the host is told that it is gone.
      if (seen?.commit !== undefined && seen.gone.length === 0) return seen;
      if (seen === undefined) {
        await pause(AGAIN_MS, ends);
        news.arrived();
      } else found = seen;
    }
    // What came while the last look was under way.
    return (await look(signal)) ?? found;
  } finally {
    done.abort();
    await following;
  }
}

/** Our own report is no news. */
export function isOurOwn({ changes, resync }: KeyBatch): boolean {
  return !resync && changes.length > 0 && changes.every(({ key }) => key === REPORT_KEY);
}
