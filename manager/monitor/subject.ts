/** One thing that the monitor watches, in one of the table's states. Without a clock. */
import {
  type MonitorInput,
  type MonitorNews,
  type MonitorState,
  type MonitorStep,
  monitorTable,
} from "../../shared/monitor-table.ts";

/** What a round says of a subject. `silent`: nothing that counts as a miss, and no answer either. */
export type Evidence = "answered" | "missed" | "silent";

/** How many rounds it takes. */
export interface Patience {
  /** Misses in a row. */
  threshold: number;
  /** Rounds without an answer until it is overdue; Infinity for what may be silent for ever. */
  bootRounds: number;
}

/** What outlives the manager. `since`: milliseconds since 1970. */
export interface SubjectState {
  state: MonitorState;
  since: number;
}

export class Subject {
  #state: SubjectState;
  #misses = 0;
  #roundsWithoutAnswer = 0;
  /** Its failure was told in this life: that it is overdue too is no news. */
  #isTold: boolean;

  constructor(stored: SubjectState) {
    this.#state = stored;
    this.#isTold = stored.state === "reported";
  }

  get state(): MonitorState {
    return this.#state.state;
  }

  get stored(): SubjectState {
    return this.#state;
  }

  /** In a row. */
  get misses(): number {
    return this.#misses;
  }

  /** What is to be told of it. */
  round(evidence: Evidence, { threshold, bootRounds }: Patience, now: number): MonitorNews[] {
    if (evidence === "answered") {
      this.#countAnew();
      return this.#step("answered", now);
    }
    const told: MonitorNews[] = [];
    if (evidence === "missed") {
      this.#misses += 1;
      told.push(...this.#step(this.#misses >= threshold ? "lost" : "missed", now));
    }
    this.#isTold ||= told.length > 0;
    this.#roundsWithoutAnswer += 1;
    if (this.#roundsWithoutAnswer >= bootRounds && !this.#isTold) {
      this.#isTold = true;
      told.push(...this.#step("overdue", now));
    }
    return told;
  }

  /** Nobody looked for a while: what was missed before says nothing of now. */
  rest(): void {
    this.#misses = 0;
  }

  /** The machine started, was reset or was stopped: all that was counted is of another life. */
  begin(now: number): void {
    this.#countAnew();
    this.#step("begun", now);
  }

  #countAnew(): void {
    this.#misses = 0;
    this.#roundsWithoutAnswer = 0;
    this.#isTold = false;
  }

  #step(input: MonitorInput, now: number): MonitorNews[] {
    const step: MonitorStep = monitorTable[this.#state.state][input];
    if (step.to !== this.#state.state) this.#state = { state: step.to, since: now };
    return step.tells === undefined ? [] : [step.tells];
  }
}
