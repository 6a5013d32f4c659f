import { expect, test } from "vitest";
import { StreamQuota } from "../../../../manager/api/stream-quota.ts";

test("a principal has so many streams open at once, and others have their own", () => {
  const quota = new StreamQuota(1);
  const first = new AbortController();
  quota.take("alice", first.signal);
  expect(() => {
    quota.take("alice", new AbortController().signal);
  }).toThrow("alice has 1 streams open");
  quota.take("bob", new AbortController().signal);
  first.abort();
  quota.take("alice", new AbortController().signal);
});

test("a stream whose client is gone already does not count", () => {
  const quota = new StreamQuota(1);
  expect(() => {
    quota.take("alice", AbortSignal.abort(new Error("gone")));
  }).toThrow("gone");
  quota.take("alice", new AbortController().signal);
});
