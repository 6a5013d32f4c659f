import { expect, test } from "vitest";
import { meteredChannel, TokenBucket } from "../../../../manager/links/throttle.ts";
import type { Channel } from "../../../../shared/channel.ts";

test("a guest may send its burst at once, and is then paused for as long as its rate needs", () => {
  let now = 0;
  const bucket = new TokenBucket({ perSecond: 100, burst: 500 }, () => now);
  expect(bucket.take(500)).toBe(0);
  expect(bucket.take(50)).toBe(500);
  now += 500;
  expect(bucket.take(0)).toBe(0);
});

test("a guest that was quiet has its burst again and no more", () => {
  let now = 0;
  const bucket = new TokenBucket({ perSecond: 100, burst: 500 }, () => now);
  bucket.take(500);
  now += 1_000_000;
  expect(bucket.take(500)).toBe(0);
  expect(bucket.take(1)).toBe(10);
});

test("what arrives at once is worked on in slices, so that others have their turn between them", async () => {
  const sent = Buffer.alloc(64 * 1024, "frames");
  let turns = 0;
  const turn = (): void => {
    turns += 1;
    others = setImmediate(turn);
  };
  let others = setImmediate(turn);
  const turnsAtSlice: number[] = [];
  const slices: Uint8Array[] = [];
  for await (const slice of metered([sent]).incoming) {
    slices.push(slice);
    turnsAtSlice.push(turns);
  }
  clearImmediate(others);
  expect(Buffer.concat(slices).equals(sent)).toBe(true);
  expect(Math.max(...slices.map(({ length }) => length))).toBeLessThanOrEqual(4096);
  expect(new Set(turnsAtSlice).size).toBe(slices.length);
});

/** A channel on which these chunks arrive, read by nobody's allowance. */
function metered(chunks: readonly Uint8Array[]): Channel {
  const channel: Channel = {
    name: "test",
    incoming: (async function* () {
      await Promise.resolve();
      yield* chunks;
    })(),
    write: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const meter = { received: () => undefined, sent: () => undefined, throttled: () => undefined };
  const bucket = new TokenBucket({ perSecond: 1, burst: Number.MAX_SAFE_INTEGER });
  return meteredChannel(channel, bucket, meter, new AbortController().signal);
}
