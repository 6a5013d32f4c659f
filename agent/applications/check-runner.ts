/** Runs the commands of the checks, each again and again, a few at a time. */
import { isDeepStrictEqual } from "node:util";
import { pause, within } from "../../shared/abort.ts";
import type { Check, CheckOutcome, Checks } from "./applications.ts";
import { type CheckRun, startCheck } from "./check-run.ts";

/** Commands at a time: a machine whose checks all hang must not be full of them. Not measured. */
const MAX_AT_A_TIME = 4;

/** All are killed when the agent ends; one that sleeps in the kernel is not waited for any longer. */
const CLOSE_MS = 300;

/** A command that sleeps in the kernel, on a disk that hangs, outlives its check; the next one says why it does not run. */
const NOT_ENDED: CheckOutcome = { isOk: false, reason: "an earlier run has not ended" };

export interface CheckRunnerOptions {
  onOutcome: (name: string, outcome: CheckOutcome) => void;
  start?: (check: Check, stop: AbortSignal) => CheckRun;
  /** Milliseconds of CLOCK_MONOTONIC. */
  nowMs?: () => number;
}

interface Repeated {
  check: Check;
  stop: AbortController;
  /** Settles when its command runs no more. */
  done: Promise<void>;
}

export class CheckRunner {
  readonly #onOutcome: (name: string, outcome: CheckOutcome) => void;
  readonly #start: (check: Check, stop: AbortSignal) => CheckRun;
  readonly #nowMs: () => number;
  readonly #repeated = new Map<string, Repeated>();
  /** Removed ones whose command has still to end, by name. */
  readonly #ending = new Map<string, Promise<void>>();
  #free = MAX_AT_A_TIME;
  readonly #waiting: (() => void)[] = [];
  #isClosed = false;

  constructor({ onOutcome, start = startCheck, nowMs = () => performance.now() }: CheckRunnerOptions) {
    this.#onOutcome = onOutcome;
    this.#start = start;
    this.#nowMs = nowMs;
  }

  /** Runs these and no others; a new one at once, and one that is as it was goes on. */
  keep(checks: Checks): void {
    if (this.#isClosed) return;
    for (const [name, { check }] of this.#repeated) {
      if (!isDeepStrictEqual(checks.get(name), check)) this.#remove(name);
    }
    for (const [name, check] of checks) {
      if (!this.#repeated.has(name)) this.#add(name, check);
    }
  }

  /** Kills what runs. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const name of this.#repeated.keys()) this.#remove(name);
    await within(CLOSE_MS, Promise.all(this.#ending.values()));
  }

  #add(name: string, check: Check): void {
    const stop = new AbortController();
    // Never two of one application, also not of what it was and what it is now.
    const earlier = this.#ending.get(name);
    const isFree = earlier === undefined ? Promise.resolve() : this.#outlast(earlier, name, check, stop.signal);
    this.#repeated.set(name, { check, stop, done: isFree.then(() => this.#repeat(name, check, stop.signal)) });
  }

  #remove(name: string): void {
    const repeated = this.#repeated.get(name);
    if (repeated === undefined) return;
    this.#repeated.delete(name);
    repeated.stop.abort();
    const { done } = repeated;
    this.#ending.set(name, done);
    void done.then(() => {
      if (this.#ending.get(name) === done) this.#ending.delete(name);
    });
  }

  /** Settles when the earlier run has ended; a check that waits for it longer than for its own is failing. */
  async #outlast(earlier: Promise<void>, name: string, check: Check, stop: AbortSignal): Promise<void> {
    const ended = new AbortController();
    void earlier.then(() => {
      ended.abort();
    });
    const either = AbortSignal.any([stop, ended.signal]);
    for (let waitMs = check.timeoutMs; ; waitMs = check.everyMs) {
      await pause(waitMs, either);
      if (either.aborted) break;
      this.#onOutcome(name, NOT_ENDED);
    }
    await earlier;
  }

  async #repeat(name: string, check: Check, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await this.#enter();
      const nextMs = this.#nowMs() + check.everyMs;
      await this.#run(name, check, stop);
      await pause(nextMs - this.#nowMs(), stop);
    }
  }

  /** Once, in the place that was entered. */
  async #run(name: string, check: Check, stop: AbortSignal): Promise<void> {
    if (stop.aborted) {
      this.#leave();
      return;
    }
    const { outcome, ended } = this.#start(check, stop);
    const how = await outcome;
    this.#leave();
    if (this.#repeated.get(name)?.check === check) this.#onOutcome(name, how);
    // One that no signal ends keeps no other from its turn, and is not started a second time.
    await ended;
  }

  async #enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** To who waits longest. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}
