/** Where events go. A sink sees events and nothing else of the manager; in which order and when they are tried again is the outbox's. */
import type { ConnectionState } from "../connection-state.ts";
import type { Event } from "../events/event.ts";

/** What became of one event. */
export type Outcome =
  /** `note`: what is to be known of it, where the other end did not just take it. */
  | { type: "delivered"; status?: number | undefined; note?: string | undefined }
  /** This event was refused or lost; it is tried again on the sink's schedule, or `retryAfterMs` from now if that is later. */
  | { type: "failed"; reason: string; status?: number | undefined; retryAfterMs?: number | undefined }
  /** No attempt will ever help: a dead letter at once. */
  | { type: "rejected"; reason: string; status?: number | undefined }
  /** Nothing can be delivered to anybody there now, and this event is not to blame: the whole sink waits and tries again. */
  | { type: "unavailable"; reason: string }
  /** Whoever is there wants no more events: the sink is disabled. */
  | { type: "gone"; reason: string; status?: number | undefined }
  /**
   * Not tried: it must not go before so many milliseconds have passed. That is no failure. With `holdsOthers: false` the later
   * ones of its resource go on, and it is asked for again when one comes, which may make it obsolete.
   */
  | { type: "postponed"; reason: string; forMs: number; holdsOthers?: boolean }
  /** Not sent, and never to be: what it tells is over, or told otherwise. */
  | { type: "obsolete"; reason: string }
  /** Not tried, because an earlier one of the same resource was not delivered. */
  | { type: "held" };

export interface Attempted {
  outcome: Outcome;
  durationMs: number;
}

export type SinkType = "amqp" | "notify" | "webhook" | "mail" | "sms" | "command" | "masakari" | "recovery";

export interface Sink {
  readonly type: SinkType;
  /** For people, without passwords. */
  readonly target: string;
  /** How many events it is given at once, at most. */
  readonly batchSize: number;
  /** When an event is tried again after its n-th failure, ms; after the last it is a dead letter. */
  readonly retryScheduleMs: readonly number[];
  /** After so many failed attempts in a row, for at least so long, it is disabled; undefined for never. */
  readonly disableAfter: { failures: number; durationMs: number } | undefined;
  /** Whether each attempt is written down for its owner. */
  readonly keepsAttempts: boolean;
  /**
   * Tries these, which are in the order of the log, and answers for each, in the same order. Events of one resource reach
   * the other end in their order: after one that is not delivered, the later ones of its resource are `held`, unless it is
   * obsolete, or postponed and holds no others. Never rejects.
   */
  deliver(events: readonly Event[], signal: AbortSignal): Promise<Attempted[]>;
  connection(): ConnectionState;
  /** Connects if it keeps a connection, so that trouble is seen before the first event. Never rejects. */
  start(): void;
  close(): Promise<void>;
}
