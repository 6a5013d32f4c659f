import { expect, test } from "vitest";
import { TokenBucket } from "../../../../manager/links/throttle.ts";

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
