/**
 * Slows a guest that says too much by not reading it: QEMU stops taking its bytes and its writes block, while the others
 * are read as before.
 */
import { setImmediate as othersTurn } from "node:timers/promises";
import { pause } from "../../shared/abort.ts";
import type { Channel } from "../../shared/channel.ts";

/**
 * Bytes worked on at a time. Node reads 64 KiB at once; full of small frames they took 20 ms, in which nobody else was
 * answered. A slice takes a millisecond or so.
 */
const SLICE_BYTES = 4 * 1024;

/** A token bucket: so much at once, so much a second after that. */
export interface Allowance {
  perSecond: number;
  burst: number;
}

export class TokenBucket {
  readonly #allowance: Allowance;
  readonly #now: () => number;
  #tokens: number;
  #filledAt: number;

  constructor(allowance: Allowance, now: () => number = () => performance.now()) {
    this.#allowance = allowance;
    this.#now = now;
    this.#tokens = allowance.burst;
    this.#filledAt = now();
  }

  /** Takes what was used and says for how many milliseconds nothing more should be. */
  take(count: number): number {
    const { perSecond, burst } = this.#allowance;
    const now = this.#now();
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) * perSecond) / 1000) - count;
    this.#filledAt = now;
    return this.#tokens >= 0 ? 0 : (-this.#tokens * 1000) / perSecond;
  }
}

export interface Meter {
  received(bytes: number): void;
  sent(bytes: number): void;
  throttled(ms: number): void;
}

/** The channel, counted both ways and read no faster than allowed. */
export function meteredChannel(channel: Channel, bucket: TokenBucket, meter: Meter, signal: AbortSignal): Channel {
  return {
    name: channel.name,
    incoming: metered(channel.incoming, bucket, meter, signal),
    write: (bytes) => {
      meter.sent(bytes.length);
      return channel.write(bytes);
    },
    close: () => channel.close(),
  };
}

async function* metered(
  incoming: AsyncIterable<Uint8Array>,
  bucket: TokenBucket,
  meter: Meter,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of incoming) {
    meter.received(chunk.length);
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      if (at > 0) await othersTurn();
      const slice = chunk.subarray(at, at + SLICE_BYTES);
      yield slice;
      await throttled(bucket.take(slice.length), meter, signal);
    }
  }
}

async function throttled(pauseMs: number, meter: Meter, signal: AbortSignal): Promise<void> {
  if (pauseMs === 0) return;
  meter.throttled(pauseMs);
  await pause(pauseMs, signal);
}
