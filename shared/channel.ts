/** A stream of bytes to the other side, whatever carries it. */
export interface Channel {
  /** For messages and logs: a path, a port's name. */
  readonly name: string;
  /** Bytes as they arrive; ends when the other side leaves, throws when the channel breaks. May be read once. */
  readonly incoming: AsyncIterable<Uint8Array>;
  /** Settles when the channel can take more, which is not delivery. Rejects when the channel is closed or broken. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends `incoming`. May be called twice; settles when nothing is open any more. */
  close(): Promise<void>;
}

/** Where the guest waits for the other side: every arrival is a channel of its own. */
export interface ChannelSource {
  readonly name: string;
  /** Ends when `signal` is aborted. */
  arrivals(signal: AbortSignal): AsyncIterable<Channel>;
}

/** The channel is closed: nothing was written. */
export class ChannelClosedError extends Error {
  override readonly name = "ChannelClosedError";
}
