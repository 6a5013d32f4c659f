/** `node test/fuzz/long-run.ts [--seed N] [--minutes M]`: the fuzz of the tests for as long as it is given. */
import { parseArgs } from "node:util";
import { InvariantError, playEpisode, SEQUENCES_PER_EPISODE } from "./episode.ts";

const REPORT_EVERY_MS = 1000;

const { values } = parseArgs({ options: { seed: { type: "string" }, minutes: { type: "string", default: "10" } } });
const seed = numberOf("seed", values.seed ?? String(Date.now() % 2 ** 31));
const minutes = numberOf("minutes", values.minutes);

process.exitCode = run(seed, minutes * 60_000);

function run(seedOfRun: number, durationMs: number): number {
  const startedAt = performance.now();
  let reportedAt = startedAt;
  console.log(`seed ${seedOfRun}, ${durationMs / 60_000} minutes`);
  for (let episode = 0; ; episode += 1) {
    try {
      playEpisode(seedOfRun, episode);
    } catch (error) {
      if (!(error instanceof InvariantError)) throw error;
      console.error(`\n${error.message}\n`, error.cause);
      return 1;
    }
    const now = performance.now();
    if (now - reportedAt >= REPORT_EVERY_MS) {
      reportedAt = now;
      showProgress(episode, now - startedAt, durationMs);
    }
    if (now - startedAt >= durationMs) {
      console.log(`\n${sequencesUpTo(episode)} sequences, nothing found`);
      return 0;
    }
  }
}

function showProgress(episode: number, passedMs: number, durationMs: number): void {
  if (!process.stdout.isTTY) return;
  const percent = Math.floor((100 * passedMs) / durationMs);
  process.stdout.write(`\r${percent} %, ${sequencesUpTo(episode)} sequences`);
}

function sequencesUpTo(episode: number): string {
  return ((episode + 1) * SEQUENCES_PER_EPISODE).toLocaleString("en");
}

function numberOf(name: string, text: string): number {
  const number = Number(text);
  if (text === "" || !Number.isFinite(number) || number < 0) {
    console.error(`--${name} takes a number, not '${text}'`);
    process.exit(2);
  }
  return number;
}
