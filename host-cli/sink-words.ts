/** The state of a place where events go, for people. */
import type { SinkSummary } from "../shared/api/event-schemas.ts";

/** `disconnected: connect ECONNREFUSED` */
export function sinkStateInWords({ state, reason }: { state: string; reason?: string | undefined }): string {
  return reason === undefined ? state : `${state}: ${reason}`;
}

/** `12 events behind, 2 dead letters`; empty when it has come to the end and delivered all. */
export function behindInWords({ backlog, deadLetters }: Pick<SinkSummary, "backlog" | "deadLetters">): string {
  const dead = `${deadLetters} dead ${deadLetters === 1 ? "letter" : "letters"}`;
  return [backlog === 0 ? "" : backlogInWords(backlog), deadLetters === 0 ? "" : dead]
    .filter((part) => part !== "")
    .join(", ");
}

/** Events of the log that it has not come to. How many of them it wants shows when it gets there. */
export function backlogInWords(backlog: number): string {
  return `${backlog} ${backlog === 1 ? "event" : "events"} behind`;
}
