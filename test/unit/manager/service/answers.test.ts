import { describe, expect, test } from "vitest";
import { maySeeReceipt, receiptFor, receivedKey } from "../../../../manager/service/answers.ts";
import type { Receipt } from "../../../../shared/api/schemas.ts";

const ref = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };

describe("a key that a guest set", () => {
  const entry = { key: "k", value: "v", revision: 1, setBy: "guest" as const, setAt: "2026-11-21T11:59:00Z" };

  test("was received when its age says", () => {
    const now = Date.parse("2026-11-21T12:00:00Z");
    expect(receivedKey({ ref }, { ...entry, ageMs: 60_000 }, now).receivedAt).toBe("2026-11-21T11:59:00.000Z");
  });

  test("and that claims to be older than time was received when time began", () => {
    const received = receivedKey({ ref }, { ...entry, ageMs: Number.MAX_SAFE_INTEGER }, Date.now());
    expect(received).toMatchObject({ key: "k", receivedAt: "1970-01-01T00:00:00.000Z" });
  });
});

describe("a receipt", () => {
  const head = { messageId: "m", vm: ref, state: "delivered", by: "alice", queuedAt: "2026-11-21T12:00:00Z" } as const;
  const result = { epoch: "0123456789abcdef", revision: 4 };
  const app = { keys: ["app."] };

  test.each([
    [["app.a", "app.b"], true],
    [["app.a", "other"], false],
  ])("of a change of %j is for who may use them all", (keys, isSeen) => {
    expect(maySeeReceipt(app, { ...head, method: "delete", keys })).toBe(isSeen);
  });

  test("of a clear is for everybody, and names only the keys that they may use", () => {
    const cleared: Receipt = { ...head, method: "clear", keys: [], result: { ...result, deleted: ["app.a", "other"] } };
    expect(maySeeReceipt(app, cleared)).toBe(true);
    expect(receiptFor(app, cleared)).toEqual({ ...cleared, result: { ...result, deleted: ["app.a"] } });
    expect(receiptFor({ keys: [""] }, cleared)).toEqual(cleared);
  });

  test("of a clear that still waits is shown as it is", () => {
    const queued: Receipt = { ...head, state: "queued", method: "clear", keys: [] };
    expect(receiptFor(app, queued)).toEqual(queued);
  });
});
