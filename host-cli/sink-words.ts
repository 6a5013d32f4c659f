/** The state of a place where events go, for people. */
import type { SinkSummary } from "../shared/api/event-schemas.ts";

/** `disconnected: connect ECONNREFUSED` */
export function sinkStateInWords({ state, reason }: { state: string; reason?: string | undefined }): string {
  return reason === undefined ? state : `${state}: ${reason}`;
}

/** `12 waiting, 2 dead letters`; empty when it has delivered all. */
export function behindInWords({ backlog, deadLetters }: Pick<SinkSummary, "backlog" | "deadLetters">): string {
  const dead = `${deadLetters} dead ${deadLetters === 1 ? "letter" : "letters"}`;
  return [backlog === 0 ? "" : `${backlog} waiting`, deadLetters === 0 ? "" : dead]
    .filter((part) => part !== "")
    .join(", ");
}
