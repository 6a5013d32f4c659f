/** What a manager asks of others, seen from those who ask. */
import type { StreamEvent } from "../api/event-stream.ts";
import type { Addressee } from "./transport.ts";
import type { AskedEndpoint, Peer, peerRequests, PeerRequestName } from "./wire.ts";
import type * as z from "zod/mini";

/** Who is to answer, and by which queue it is reached: the VM's, so that the broker says when nobody has it, or its own. */
export interface Callee {
  peer: Peer;
  by: Exclude<Addressee, { type: "everyone" }>;
}

export interface CallOptions {
  signal: AbortSignal;
  /** For an answer, or for word that a stream is served; later than this it is not executed. */
  timeoutMs: number;
  /** Whether something is changed by it: without an answer it is `unconfirmed` instead of `unreachable`. */
  isChange: boolean;
}

/**
 * It did not reach who should answer, and nothing was done: somebody else has the VM, or nobody. `now`: who has it, where it
 * is known.
 */
export class MisdirectedError extends Error {
  override readonly name = "MisdirectedError";
  readonly now: Peer | undefined;

  constructor(now: Peer | undefined) {
    super("another manager was meant");
    this.now = now;
  }
}

/**
 * Rejects with what the other manager answered (CommandError), with MisdirectedError, or with CommandError of our own, whose
 * detail `host` names the manager: `unreachable` when nothing was done or only asked, `unconfirmed` when nobody knows.
 */
export interface Caller {
  /** The answer's JSON, before the row's schema. */
  ask(callee: Callee, asked: AskedEndpoint, options: CallOptions): Promise<unknown>;
  /**
   * Throws CommandError `unreachable` with the detail `isLost: true` when the other manager is lost in the middle: what it
   * was asked for may have been begun, and may go on.
   */
  stream(callee: Callee, asked: AskedEndpoint, options: Omit<CallOptions, "isChange">): AsyncIterable<StreamEvent>;
  askPeer<N extends PeerRequestName>(
    callee: Callee,
    name: N,
    params: z.infer<(typeof peerRequests)[N]["params"]>,
    options: Omit<CallOptions, "isChange">,
  ): Promise<z.infer<(typeof peerRequests)[N]["answer"]>>;
}
