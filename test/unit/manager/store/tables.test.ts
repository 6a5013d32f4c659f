import { describe, expect, test } from "vitest";
import { commitTogether } from "../../../../manager/store/commit-together.ts";
import type { Request } from "../../../../manager/store/operations.ts";
import { migrate } from "../../../../manager/store/schema.ts";
import type { StoredToken, StoredUser } from "../../../../manager/store/store.ts";
import type { WireEntry } from "../../../../shared/protocol/message.ts";
import { agent, DAY, entry, message, mirrorChange, NOW, openTables, SECOND, web1, web2 } from "./tables.ts";

const event = (messageId: string, data: Record<string, unknown> = {}, vm = web1) =>
  ({ vm, receivedAt: NOW, messageId, kind: "event", params: { messageId, event: "BOOTED", data } }) as const;

describe("messages from guests", () => {
  test("are kept once for each id of a VM, and told the newest first", () => {
    const { tables } = openTables();
    expect(tables.keepReceived(event("g1", { n: 1 })).isNew).toBe(true);
    expect(tables.keepReceived(event("g1", { n: 2 })).isNew).toBe(false);
    expect(tables.keepReceived(event("g1", {}, web2)).isNew).toBe(true);
    const report = { messageId: "g2", name: "load", data: { average: 0.5 } };
    tables.keepReceived({ vm: web1, receivedAt: NOW + SECOND, messageId: "g2", kind: "report", params: report });
    const acknowledge = { messageId: "g3", of: "m", key: "k", result: "ok" };
    tables.keepReceived({ vm: web1, receivedAt: NOW, messageId: "g3", kind: "acknowledge", params: acknowledge });
    const at = "2026-01-15T12:00:00.000Z";
    expect(tables.receivedFrom(web1.id, 10)).toEqual([
      { vm: web1, kind: "acknowledge", receivedAt: at, ...acknowledge },
      { vm: web1, kind: "report", receivedAt: "2026-01-15T12:00:01.000Z", ...report },
      { vm: web1, kind: "event", receivedAt: at, messageId: "g1", name: "BOOTED", data: { n: 1 } },
    ]);
    expect(tables.receivedFrom(web1.id, 1)).toHaveLength(1);
  });

  test("stay only the newest of a VM, in number and in bytes", () => {
    const ids = Array.from({ length: 10 }, (_, index) => `g${index}`);
    const bytes = Buffer.byteLength(JSON.stringify({ event: "BOOTED", data: {} }));
    for (const limits of [{ receivedPerVm: 3 }, { receivedBytesPerVm: 3 * bytes }]) {
      const { tables } = openTables(limits);
      for (const id of ids) tables.keepReceived(event(id));
      tables.keepReceived(event("other", {}, web2));
      tables.pruneVmAfter("", NOW);
      expect(tables.receivedFrom(web1.id, 100).map(({ messageId }) => messageId)).toEqual(["g9", "g8", "g7"]);
      expect(tables.receivedFrom(web2.id, 100)).toHaveLength(1);
    }
  });

  test("of a guest that floods are dropped while they come", () => {
    const { tables } = openTables({ receivedPerVm: 10 });
    for (let index = 0; index < 200; index += 1) tables.keepReceived(event(`g${index}`));
    expect(tables.receivedFrom(web1.id, 1000).length).toBeLessThan(50);
    expect(tables.receivedFrom(web1.id, 1)[0]?.messageId).toBe("g199");
  });
});

describe("mirrors", () => {
  test("are loaded as their changes made them", () => {
    const { tables } = openTables();
    const seen = (key: string, more?: Partial<WireEntry>) => ({ entry: entry(key, more), seenAt: NOW });
    tables.saveMirrors([
      mirrorChange({ set: [seen("a"), seen("b"), seen("c")] }),
      mirrorChange({ vmId: web2.id, set: [seen("x")] }),
      mirrorChange({ revision: 4, deleted: ["a", "unknown"], set: [seen("b", { value: "new" })] }),
    ]);
    const [first, second] = tables.loadMirrors();
    expect(first).toEqual({
      vmId: web1.id,
      epoch: "e",
      revision: 4,
      limitBytes: 8192,
      asOf: NOW,
      agent: { ...agent, clonedFrom: undefined },
      entries: [seen("b", { value: "new" }), seen("c")],
    });
    expect(second?.entries).toEqual([seen("x")]);
  });

  test("that are reset forget what was before", () => {
    const { tables } = openTables();
    tables.saveMirrors([mirrorChange({ set: [{ entry: entry("old"), seenAt: NOW }] })]);
    tables.saveMirrors([mirrorChange({ isReset: true, epoch: "f", set: [{ entry: entry("new"), seenAt: NOW }] })]);
    expect(tables.loadMirrors().map(({ epoch, entries }) => [epoch, entries.map((kept) => kept.entry.key)])).toEqual([
      ["f", ["new"]],
    ]);
  });

  test("hold no value of a secret, even if one comes", () => {
    const { tables } = openTables();
    tables.saveMirrors([
      mirrorChange({ set: [{ entry: entry("k", { secret: true, value: "hunter2" }), seenAt: NOW }] }),
    ]);
    const kept = tables.loadMirrors()[0]?.entries[0]?.entry;
    expect(kept).toMatchObject({ key: "k", secret: true });
    expect(kept).not.toHaveProperty("value");
  });
});

describe("VMs", () => {
  const stored = (vm: typeof web1) => {
    const running = { ...vm, status: "Running", host: "h1", channelPath: undefined } as const;
    return { vm: running, inventory: "file vms.json", statusSince: NOW };
  };

  test("are loaded as they were saved last", () => {
    const { tables } = openTables();
    tables.saveVms([stored(web1), stored(web2)]);
    const renamed = { ...stored(web1), vm: { ...stored(web1).vm, name: "web1-old" } };
    tables.saveVms([renamed]);
    expect(tables.loadVms()).toEqual([renamed, stored(web2)]);
  });

  test("are forgotten with everything that belongs to them", () => {
    const { tables, database } = openTables();
    for (const vm of [web1, web2]) {
      tables.saveVms([stored(vm)]);
      tables.appendEvents([], [{ vmId: vm.id, lifecycle: { status: "Running" } }]);
      tables.saveMirrors([mirrorChange({ vmId: vm.id, set: [{ entry: entry("k"), seenAt: NOW }] })]);
      tables.keepMessages([message(`to-${vm.name}`, { vm })]);
      tables.keepReceived(event("g", {}, vm));
    }
    tables.forgetVm(web1.id);
    for (const table of ["lifecycles", "mirrors", "mirrored_entries", "messages", "received", "pending"]) {
      expect(database.prepare(`SELECT DISTINCT vm_id FROM ${table}`).all()).toEqual([{ vm_id: web2.id }]);
    }
    expect(tables.loadVms()).toEqual([stored(web2)]);
  });
});

const alice: StoredUser = {
  name: "alice",
  role: "write",
  vms: ["web*"],
  keys: ["app."],
  passwordHash: undefined,
  publicKeys: ["ssh-ed25519 AAAA"],
  createdAt: NOW,
};

const token: StoredToken = {
  id: "t1",
  user: "alice",
  label: "ci",
  digest: "d",
  createdAt: NOW,
  expiresAt: undefined,
  lastUsedAt: undefined,
};

describe("users and tokens", () => {
  test("are kept as they were saved last", () => {
    const { tables } = openTables();
    tables.saveUser(alice);
    tables.saveUser({ ...alice, role: "admin", passwordHash: "scrypt$..." });
    tables.saveToken(token);
    expect(tables.touchToken("t1", NOW + 1)).toBe(true);
    expect(tables.users()).toEqual([{ ...alice, role: "admin", passwordHash: "scrypt$..." }]);
    expect(tables.tokens()).toEqual([{ ...token, lastUsedAt: NOW + 1 }]);
  });

  test("are removed, a user with the tokens", () => {
    const { tables } = openTables();
    tables.saveUser(alice);
    tables.saveToken(token);
    tables.saveToken({ ...token, id: "t2" });
    expect([tables.removeToken("t1"), tables.removeToken("t1")]).toEqual([true, false]);
    expect([tables.removeUser("alice"), tables.removeUser("alice")]).toEqual([true, false]);
    expect(tables.tokens()).toEqual([]);
  });

  test("that are not there do not come back by being used, nor get a token", () => {
    const { tables } = openTables();
    expect(tables.touchToken("t1", NOW)).toBe(false);
    expect(() => {
      tables.saveToken(token);
    }).toThrow("FOREIGN KEY");
    expect(tables.tokens()).toEqual([]);
  });
});

describe("the audit log", () => {
  const record = (who: string, vm?: typeof web1, at = NOW) => {
    const time = new Date(at).toISOString();
    return { time, who, via: "unix:/run/s", action: "set", ...(vm && { vm }), keys: ["k"], outcome: "ok" };
  };

  test("is told the newest first, for a VM, for somebody, and page by page", () => {
    const { tables } = openTables();
    tables.addAudit([record("alice", web1), record("bob", web1), record("alice", web2), record("alice")]);
    const ids = (query: Partial<Parameters<typeof tables.audit>[0]>) => {
      return tables.audit({ limit: 10, ...query }).map(({ id }) => id);
    };
    expect(tables.audit({ limit: 1 })).toEqual([{ id: 4, ...record("alice") }]);
    expect(ids({})).toEqual([4, 3, 2, 1]);
    expect(ids({ vmId: web1.id })).toEqual([2, 1]);
    expect(ids({ who: "alice" })).toEqual([4, 3, 1]);
    expect(ids({ who: "alice", vmId: web1.id })).toEqual([1]);
    expect(ids({ before: 3, limit: 1 })).toEqual([2]);
  });

  test("loses what is too old, and the oldest of what is too much", () => {
    const { tables } = openTables({ auditRecords: 2 });
    tables.addAudit([record("old", web1, NOW), record("a", web1, NOW + DAY)]);
    tables.pruneSomeAudit(NOW + 90 * DAY + 1);
    expect(tables.audit({ limit: 10 }).map(({ who }) => who)).toEqual(["a"]);
    tables.addAudit([record("b", web1, NOW + DAY), record("c", web1, NOW + DAY)]);
    expect(tables.pruneSomeAudit(NOW)).toEqual({ more: false });
    expect(tables.audit({ limit: 10 }).map(({ who }) => who)).toEqual(["c", "b"]);
  });
});

describe("requests that are committed together", () => {
  test("are answered one by one, and one that fails leaves the others' work", () => {
    const { tables, ...transacting } = openTables();
    const { answers } = commitTogether(transacting, [
      { operation: "keepMessages", args: [[message("a")]] },
      { operation: "saveToken", args: [token] },
      { operation: "redeliver", args: ["unknown", undefined, NOW] },
      { operation: "keepMessages", args: [[message("b")]] },
    ]);
    expect(answers.map(({ type }) => type)).toEqual(["done", "failed", "failed", "done"]);
    expect(answers[1]).toMatchObject({ code: "failed", message: expect.stringContaining("at saveToken") as string });
    expect(answers[2]).toMatchObject({
      code: "failed",
      message: "nothing is kept for a sink unknown; was it removed?",
    });
    expect(tables.receiptsOf(web1.id, 10).map(({ messageId }) => messageId)).toEqual(["b", "a"]);
  });

  test("that fail half-way undo what they did themselves", () => {
    const { tables, ...transacting } = openTables();
    const broken = { ...message("b"), queuedAt: Number.NaN };
    const { answers } = commitTogether(transacting, [{ operation: "keepMessages", args: [[message("a"), broken]] }]);
    expect(answers[0]?.type).toBe("failed");
    expect(tables.receipt("a")).toBeUndefined();
    expect(tables.pendingCounts()).toEqual({});
  });

  test("are all undone when the commit fails", () => {
    const { tables, ...transacting } = openTables();
    const { database } = transacting;
    // Checked only at the commit, as a full disk is.
    database.exec("CREATE TABLE late (user TEXT REFERENCES users (name) DEFERRABLE INITIALLY DEFERRED)");
    const keepMessages: typeof tables.keepMessages = (messages) => {
      database.exec("INSERT INTO late VALUES ('nobody')");
      return tables.keepMessages(messages);
    };
    const operations = { ...tables, keepMessages };
    const keepA: Request = { operation: "keepMessages", args: [[message("a")]] };
    expect(() => commitTogether({ ...transacting, operations }, [keepA])).toThrow();
    expect(database.isTransaction).toBe(false);
    expect(tables.receipt("a")).toBeUndefined();
  });
});

describe("the schema", () => {
  test("is not made twice, and a newer one is refused", () => {
    const { tables, database } = openTables();
    tables.saveUser(alice);
    migrate(database);
    expect(tables.users()).toEqual([alice]);
    database.exec("PRAGMA user_version = 99");
    expect(() => {
      migrate(database);
    }).toThrow("version 99");
  });
});
