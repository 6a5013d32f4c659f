import { describe, expect, test, vi } from "vitest";
import { AuditLog } from "../../../../manager/access/audit-log.ts";
import type { Store } from "../../../../manager/store/store.ts";
import { NOW, web1 } from "../store/tables.ts";

const who = { name: "alice", via: "unix:/run/s" };
const at = "2026-01-15T12:00:00.000Z";

function openAudit(addAudit = vi.fn<Store["addAudit"]>(() => Promise.resolve())) {
  const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  return { audit: new AuditLog({ store: { addAudit }, log, clock: () => NOW }), addAudit, log };
}

describe("the audit log", () => {
  test("writes who did what, from where and how it ended", async () => {
    const { audit, addAudit } = openAudit();
    await audit.record({
      who,
      action: "set",
      vm: web1,
      keys: ["a"],
      messageId: "m",
      outcome: "ok",
      values: { a: "1" },
    });
    await audit.recordAll([
      { who, action: "list", outcome: "not-permitted" },
      { who, action: "login", outcome: "ok" },
    ]);
    const head = { time: at, who: "alice", via: "unix:/run/s" };
    expect(addAudit.mock.calls).toEqual([
      [[{ ...head, action: "set", vm: web1, keys: ["a"], messageId: "m", outcome: "ok", values: { a: "1" } }]],
      [
        [
          { ...head, action: "list", keys: [], outcome: "not-permitted" },
          { ...head, action: "login", keys: [], outcome: "ok" },
        ],
      ],
    ]);
  });

  test("cuts values at 1,024 bytes, not inside a character, and long lists of keys", async () => {
    const { audit, addAudit } = openAudit();
    const keys = Array.from({ length: 100 }, (_, index) => `k${index}`);
    const values = { k0: "a".repeat(1024), k1: "a".repeat(1025), k2: "\u20ac".repeat(1000) };
    await audit.record({ who: { ...who, name: "x".repeat(1000) }, action: "set", keys, outcome: "ok", values });
    const [record] = addAudit.mock.calls[0]?.[0] ?? [];
    expect(record?.values).toEqual({
      k0: "a".repeat(1024),
      k1: `${"a".repeat(1024)}...`,
      k2: `${"\u20ac".repeat(341)}...`,
    });
    expect(record?.keys).toHaveLength(65);
    expect(record?.keys.at(-1)).toBe("... and 36 more");
    expect(record?.who).toHaveLength(256);
  });

  test("that cannot be written fails what it is of, and the log has the record without its values", async () => {
    const { audit, log } = openAudit(vi.fn(() => Promise.reject(new Error("disk full"))));
    const record = audit.record({ who, action: "set", vm: web1, keys: ["k"], outcome: "ok", values: { k: "v" } });
    await expect(record).rejects.toMatchObject({
      code: "failed",
      message: "the audit log cannot be written (disk full)",
    });
    const written = { time: at, who: "alice", via: "unix:/run/s", action: "set", vm: web1, keys: ["k"], outcome: "ok" };
    expect(log.error.mock.calls).toEqual([["audit-not-written", { ...written, error: new Error("disk full") }]]);
  });
});
