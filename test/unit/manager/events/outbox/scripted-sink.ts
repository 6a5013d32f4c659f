import type { ConnectionState } from "../../../../../manager/connection-state.ts";
import type { Event } from "../../../../../manager/events/event.ts";
import type { Attempted, Outcome, Sink } from "../../../../../manager/sinks/sink.ts";

export function letsOthersGoOn(outcome: Outcome): boolean {
  return outcome.type === "postponed" && outcome.holdsOthers === false;
}

/** Answers as it is told, and remembers what it delivered. */
export class ScriptedSink implements Sink {
  readonly type = "webhook";
  readonly target = "https://receiver.example/";
  batchSize = 4;
  retryScheduleMs: readonly number[] = [1_000, 10_000];
  disableAfter: Sink["disableAfter"];
  keepsAttempts = true;
  answer: (event: Event) => Outcome = () => ({ type: "delivered" });
  readonly tried: Event[] = [];
  readonly delivered: Event[] = [];
  isClosed = false;

  /** What of one resource comes after one that is not delivered is held, as the contract has it. */
  deliver(events: readonly Event[]): Promise<Attempted[]> {
    const stuck = new Set<string>();
    const attempted = events.map((event): Attempted => {
      if (stuck.has(event.resourceUUID)) return { outcome: { type: "held" }, durationMs: 0 };
      this.tried.push(event);
      const outcome = this.answer(event);
      if (outcome.type === "delivered") this.delivered.push(event);
      else if (outcome.type !== "obsolete" && !letsOthersGoOn(outcome)) stuck.add(event.resourceUUID);
      return { outcome, durationMs: 1 };
    });
    return Promise.resolve(attempted);
  }

  get deliveredPositions(): number[] {
    return this.delivered.map(({ position }) => position);
  }

  connection(): ConnectionState {
    return { state: "idle" };
  }

  start(): void {
    // Nothing to connect.
  }

  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}
