/** What was asked of another manager and has not come to its end. */
import type { Callee } from "../caller.ts";
import type { ForCaller, Peer } from "../wire.ts";

/** What the asked manager says of a call. */
export type Reply = Extract<ForCaller, { type: "answer" | "problem" | "begun" | "event" | "end" }>;

export interface OutgoingCall {
  readonly callee: Callee;
  /** The asked manager does nothing more for it, or cannot be told not to. */
  readonly isOverThere: boolean;
  /** The asked manager itself says so. */
  take(reply: Reply): void;
  /** The asked manager shows that it is there. */
  heard(): void;
  /** It reached another manager, which did nothing: `now`, if that one has the VM. */
  misdirected(now: Peer | undefined): void;
  /** Nothing was sent, so nothing was done. */
  notSent(error: Error): void;
  /** The asked manager is gone, and says nothing more. */
  vanished(): void;
  /** What the asked manager says does not reach us any more. */
  disconnected(reason: string): void;
  /** The time is up in which it was to be answered. */
  late(timeoutMs: number): void;
}
