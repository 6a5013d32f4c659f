import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import type { Receipt } from "../../../../shared/api/schemas.ts";
import type { Operations } from "../../../../manager/store/operations.ts";
import { migrate } from "../../../../manager/store/schema.ts";
import type { MovedMessage, WaitingMessage } from "../../../../manager/store/store.ts";
import {
  REVISION,
  mirrorChange,
  boxWithKey,
  DAY,
  delivered,
  message,
  NOW,
  openTables,
  refused,
  reopen,
  SECOND,
  web1,
  web2,
} from "./tables.ts";

const all = { messages: 100, bytes: 1024 * 1024 };
const secret = [{ key: "k", value: "hunter2", secret: true }];
const pending = (tables: Operations, vm = web1) => tables.pendingOf(vm.id).map(({ messageId }) => messageId);
const ids = (messages: readonly MovedMessage[]) => messages.map(({ change }) => change.params.messageId);
const toMove = (tables: Operations, at = NOW, bounds = all) => tables.messagesToMove(web1.id, bounds, at);
const moved = (messageId: string, more: Partial<MovedMessage> = {}): MovedMessage => {
  const { change, by, queuedAt } = message(messageId);
  return { change, by, queuedAt, ...more };
};
const given = (...messageIds: string[]) => messageIds.map((messageId) => ({ messageId }));
const keep = (tables: Operations, ...messages: MovedMessage[]) => {
  return tables.keepMoved(web1, messages, "host1", NOW + SECOND).map(({ type }) => type);
};

describe("messages to move", () => {
  test("are the VM's own, as they were kept, in order", () => {
    const { tables } = openTables();
    const times = { queuedAt: NOW, expiresAt: NOW + DAY };
    tables.keepMessages([message("b", times), message("other", { vm: web2 }), message("a", { entries: secret })]);
    tables.nextMessage(web1.id, REVISION, NOW + 1);
    const { messages, settled } = toMove(tables);
    expect(messages).toEqual([
      {
        change: message("b").change,
        by: "alice",
        queuedAt: NOW,
        expiresAt: NOW + DAY,
        begunAt: NOW + 1,
        begunAtRevision: 3,
      },
      { change: message("a", { entries: secret }).change, by: "alice", queuedAt: NOW },
    ]);
    expect(settled).toEqual([]);
  });

  test("are no more at once than was asked for, in messages and bytes, but one in any case", () => {
    const { tables } = openTables();
    tables.keepMessages([message("a"), message("b"), message("c")]);
    const bytes = JSON.stringify(message("a").change.params).length;
    expect(ids(toMove(tables, NOW, { ...all, messages: 2 }).messages)).toEqual(["a", "b"]);
    expect(ids(toMove(tables, NOW, { ...all, bytes: 2 * bytes }).messages)).toEqual(["a", "b"]);
    expect(ids(toMove(tables, NOW, { ...all, bytes: 1 }).messages)).toEqual(["a"]);
  });

  test("are none that are over", () => {
    const { tables } = openTables();
    tables.keepMessages([message("a", { expiresAt: NOW })]);
    expect(toMove(tables).messages).toEqual([]);
  });

  test("are settled when a program has seen them, or nobody can read them", () => {
    const { tables, database } = openTables();
    tables.keepMessages([message("read"), message("secret", { entries: secret }), message("c")]);
    tables.markRead(web1.id, ["read"], NOW);
    const { messages, settled } = toMove(reopen(database, {}, boxWithKey(2)));
    expect(ids(messages)).toEqual(["c"]);
    expect(settled.map(({ messageId, state }) => [messageId, state])).toEqual([
      ["read", "read"],
      ["secret", "refused"],
    ]);
    expect(settled[0]?.deliveredAt).toBeDefined();
  });
});

describe("a message that may be at another manager", () => {
  const expired = (tables: Operations, now: number) => tables.expireSome(now).expired;
  const open = () => {
    const { tables } = openTables();
    tables.keepMessages([message("m", { expiresAt: NOW + SECOND })]);
    toMove(tables);
    return tables;
  };

  test("is not over before that is known, and then says that nobody knows", () => {
    const tables = open();
    expect(expired(tables, NOW + 2 * SECOND)).toEqual([]);
    expect(expired(tables, NOW + DAY)).toMatchObject([{ state: "expired", isUnconfirmed: true }]);
  });

  test("is over in time when it is known not to be there", () => {
    const tables = open();
    tables.notMoved(["m"], NOW);
    const [receipt] = expired(tables, NOW + SECOND);
    expect(receipt).toMatchObject({ state: "expired" });
    expect(receipt).not.toHaveProperty("isUnconfirmed");
  });

  test("counts as handed to the VM by that one, for whoever is given it next", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m"), message("given")]);
    const begunAt = (at: number) => toMove(tables, at).messages.map((moving) => moving.begunAt);
    expect(begunAt(NOW)).toEqual([undefined, undefined]);
    tables.notMoved(["given"], NOW);
    expect(begunAt(NOW + 5)).toEqual([NOW, undefined]);
    tables.nextMessage(web1.id, REVISION, NOW + 7);
    expect(begunAt(NOW + 9)).toEqual([NOW + 7, NOW + 5]);
  });

  test("stays in doubt, though a later attempt did not reach it", () => {
    const tables = open();
    toMove(tables, NOW + 5);
    tables.notMoved(["m"], NOW + 5);
    expect(expired(tables, NOW + SECOND)).toEqual([]);
  });
});

describe("a message that another manager keeps", () => {
  test("is here no more, which is told, and takes no room", () => {
    const { tables } = openTables();
    tables.keepMessages([message("a"), message("b")]);
    expect(tables.dropMoved(web1.id, given("a", "unknown"), "host2", NOW + SECOND)).toBe(1);
    expect([pending(tables), tables.receipt("a"), tables.pendingCounts()]).toEqual([
      ["b"],
      undefined,
      { [web1.id]: 1 },
    ]);
    const [event] = tables.eventsAfter(4, 10);
    expect(event).toMatchObject({
      type: "MESSAGE.MOVED",
      category: "ResourceStateEvent",
      time: NOW + SECOND,
      oldState: "queued",
      newState: "moved",
      data: { messageId: "a", keys: ["k"], by: "alice", movedTo: "host2" },
    });
    expect(tables.dropMoved(web1.id, given("a"), "host2", NOW)).toBe(0);
  });

  test("but was handed to the VM here meanwhile stays: its answer settles it here", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    const drop = (at: number) => {
      const { messages } = toMove(tables, at);
      return () =>
        tables.dropMoved(
          web1.id,
          messages.map(({ change, begunAt }) => ({ messageId: change.params.messageId, begunAt })),
          "host2",
          at,
        );
    };
    const dropFirst = drop(NOW);
    tables.nextMessage(web1.id, REVISION, NOW);
    expect([dropFirst(), pending(tables)]).toEqual([0, ["m"]]);
    expect([drop(NOW)(), pending(tables)]).toEqual([1, []]);
    expect(tables.settle("m", delivered, NOW)).toBeUndefined();
  });

  test("is not new when it is sent here again: only the other one knows what became of it", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    tables.dropMoved(web1.id, given("m"), "host2", NOW);
    expect(tables.keepMessages([message("m")])).toEqual([
      {
        type: "unconfirmed",
        message: "messageId m went to the manager on host2 with this VM; its receipt says what became of it",
      },
    ]);
    expect(tables.keepMessages([message("m", { entries: secret })])).toMatchObject([{ type: "conflict" }]);
    expect([pending(tables), tables.receipt("m"), tables.receiptsOf(web1.id, 10)]).toEqual([[], undefined, []]);
  });

  test("is here again when that one hands it back", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    tables.dropMoved(web1.id, given("m"), "host2", NOW);
    expect(keep(tables, moved("m"))).toEqual(["new"]);
    expect(tables.keepMessages([message("m")])).toMatchObject([{ type: "known", receipt: { state: "queued" } }]);
  });

  test.each<[string, (tables: Operations) => void]>([
    ["for as long as receipts are kept", (tables) => tables.pruneVmAfter("", NOW + 31 * DAY)],
    ["while it is one of the newest", (tables) => tables.pruneVmAfter("", NOW)],
    [
      "while its VM is known",
      (tables) => {
        tables.forgetVm(web1.id);
      },
    ],
  ])("is remembered %s", (_, forget) => {
    const { tables } = openTables({ receiptsPerVm: 1 });
    const messages = [message("m"), message("newer")];
    tables.keepMessages(messages);
    tables.dropMoved(web1.id, given("m"), "host2", NOW);
    tables.dropMoved(web1.id, given("newer"), "host2", NOW + SECOND);
    expect(tables.keepMessages(messages).map(({ type }) => type)).toEqual(["unconfirmed", "unconfirmed"]);
    forget(tables);
    expect(tables.keepMessages(messages)[0]?.type).toBe("new");
  });

  test("but was settled here meanwhile, or is another VM's, stays as it is", () => {
    const { tables } = openTables();
    tables.keepMessages([message("a"), message("b", { vm: web2 })]);
    tables.settle("a", delivered, NOW);
    expect(tables.dropMoved(web1.id, given("a", "b"), "host2", NOW)).toBe(0);
    expect([tables.receipt("a")?.state, pending(tables, web2)]).toEqual(["delivered", ["b"]]);
  });
});

describe("a message that another manager refuses", () => {
  const refuse = (tables: Operations, ...messageIds: string[]) => refuseBegun(tables, undefined, ...messageIds);
  const refuseBegun = (tables: Operations, begunAt: number | undefined, ...messageIds: string[]) => {
    const refusals = messageIds.map((messageId) => ({ messageId, begunAt, ...refused }));
    return tables.refuseMoved(web1.id, refusals, NOW + SECOND).map(({ messageId, state }) => [messageId, state]);
  };

  test("is refused here with its reason, which is told", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    expect(refuse(tables, "m")).toEqual([["m", "refused"]]);
    expect(tables.receipt("m")).toMatchObject({ state: "refused", refusal: refused.refusal });
    expect(tables.eventsAfter(0, 10).at(-1)).toMatchObject({ newState: "refused", data: { messageId: "m" } });
  });

  test("and that was handed to the VM before is expired: it may be done, and nobody tries it again", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    tables.nextMessage(web1.id, REVISION, NOW);
    expect(refuseBegun(tables, NOW, "m")).toEqual([["m", "expired"]]);
    expect(tables.receipt("m")).toMatchObject({ isUnconfirmed: true, refusal: refused.refusal });
  });

  test("but was handed to the VM here meanwhile, is settled, gone, or another VM's, stays as it is", () => {
    const { tables } = openTables();
    tables.keepMessages([message("begun"), message("over"), message("other", { vm: web2 })]);
    tables.nextMessage(web1.id, REVISION, NOW);
    tables.settle("over", delivered, NOW);
    expect(refuse(tables, "begun", "over", "other", "gone")).toEqual([]);
    expect(tables.settle("begun", delivered, NOW)).toMatchObject({ state: "delivered" });
  });
});

describe("a message that may be done already", () => {
  const guest = (answersSince: number, revision = 1_000) => ({ revision, answersSince });
  /** The next message that is handed over, after those of which the guest may know nothing more. */
  const attempt = (
    tables: Operations,
    remembering: ReturnType<typeof guest>,
    settled: Receipt[] = [],
  ): { next: WaitingMessage | undefined; settled: Receipt[] } => {
    const { next } = tables.nextMessage(web1.id, remembering.revision, NOW);
    const forgotten = next?.mayBeDone === true && tables.settleForgotten(next.messageId, remembering.answersSince, NOW);
    if (typeof forgotten !== "object") return { next, settled };
    return attempt(tables, remembering, [...settled, forgotten]);
  };
  /** Handed to a guest whose cache had this revision. */
  const begunAt = (revision: number) => {
    const { tables } = openTables();
    tables.keepMessages([message("m"), message("next")]);
    attempt(tables, guest(0, revision));
    return tables;
  };

  test("is given again while the guest knows whatever it has done since", () => {
    expect(attempt(begunAt(300), guest(299)).next?.messageId).toBe("m");
    expect(attempt(begunAt(0), guest(0)).next?.messageId).toBe("m");
  });

  test("is not when the guest may have done and forgotten it: nobody knows, and those behind it go on", () => {
    const tables = begunAt(300);
    const { next, settled } = attempt(tables, guest(300));
    expect(settled).toMatchObject([{ messageId: "m", state: "expired", isUnconfirmed: true }]);
    expect(next?.messageId).toBe("next");
    expect(tables.eventsAfter(0, 10).at(-1)).toMatchObject({ newState: "expired", data: { messageId: "m" } });
  });

  test("is delivered all the same when a program in the guest has seen it", () => {
    const tables = begunAt(300);
    tables.markRead(web1.id, ["m"], NOW);
    const { next, settled } = attempt(tables, guest(300));
    expect([next?.messageId, settled.map(({ state }) => state)]).toEqual(["next", ["read"]]);
    expect(settled[0]?.deliveredAt).toBeDefined();
  });

  test("counts from its first attempt, and from an earlier revision when the machine went back to one", () => {
    const tables = begunAt(300);
    attempt(tables, guest(0, 500));
    expect(attempt(tables, guest(300)).next?.messageId).toBe("next");
    const wentBack = begunAt(300);
    attempt(wentBack, guest(0, 20));
    expect(attempt(wentBack, guest(30)).next?.messageId).toBe("next");
  });

  test("takes that with it to another manager", () => {
    const { tables } = openTables();
    const begun = { begunAt: NOW, begunAtRevision: 300 };
    expect(keep(tables, moved("a", begun), moved("b", begun), moved("unknown", { begunAt: NOW }))).toEqual([
      "new",
      "new",
      "new",
    ]);
    expect(attempt(tables, guest(299)).next?.messageId).toBe("a");
    tables.settle("a", delivered, NOW);
    const { next, settled } = attempt(tables, guest(400));
    expect([next, settled.map(({ messageId }) => messageId)]).toEqual([undefined, ["b", "unknown"]]);
  });

  test("was not begun when it comes from a manager that never gave it to the guest", () => {
    const { tables } = openTables();
    keep(tables, moved("m"));
    expect(attempt(tables, guest(400)).next?.messageId).toBe("m");
  });

  test("is in doubt since it was given away, and no more when it was not", () => {
    const { tables } = openTables();
    tables.saveMirrors([mirrorChange({ revision: 300 })]);
    tables.keepMessages([message("m"), message("n")]);
    toMove(tables, NOW);
    tables.notMoved(["n"], NOW);
    const { next, settled } = attempt(tables, guest(300));
    expect([next?.messageId, settled.map(({ messageId }) => messageId)]).toEqual(["n", ["m"]]);
    expect(toMove(tables, NOW).messages[0]?.begunAtRevision).toBe(1_000);
  });
});

describe("a message that comes from another manager", () => {
  test("keeps its times and who sent it, waits here, and was not sent once more", () => {
    const { tables } = openTables();
    const times = { queuedAt: NOW - DAY, expiresAt: NOW + DAY, begunAt: NOW - SECOND };
    expect(keep(tables, moved("m", { ...times, by: "bob" }))).toEqual(["new"]);
    expect(tables.receipt("m")).toMatchObject({
      state: "queued",
      by: "bob",
      queuedAt: "2026-01-14T12:00:00.000Z",
      expiresAt: "2026-01-16T12:00:00.000Z",
    });
    expect(tables.eventsAfter(0, 10)).toMatchObject([
      { type: "MESSAGE.QUEUED", time: NOW + SECOND, newState: "queued", data: { by: "bob", movedFrom: "host1" } },
    ]);
    expect(tables.expireSome(NOW + 2 * DAY).expired).toMatchObject([{ isUnconfirmed: true }]);
  });

  test("is sealed with the key of this one, and known again as the same", () => {
    const { tables, database } = openTables();
    const change = message("m", { entries: secret }).change;
    expect(keep(tables, moved("m", { change }), moved("m", { change }))).toEqual(["new", "known"]);
    expect(JSON.stringify(database.prepare("SELECT * FROM messages").all())).not.toContain("hunter2");
    expect(tables.nextMessage(web1.id, REVISION, NOW).next?.change).toEqual(change);
    expect(tables.eventsAfter(0, 10)).toHaveLength(1);
  });

  test("is known with the same change only, waiting or settled", () => {
    const { tables } = openTables();
    keep(tables, moved("waits"), moved("settled"), moved("used"));
    tables.settle("settled", delivered, NOW);
    const changes = [
      message("waits").change,
      message("settled").change,
      message("used", { entries: secret }).change,
      message("new").change,
    ];
    expect(tables.knownMessages(web1, changes).map((receipt) => receipt?.state)).toEqual([
      "queued",
      "delivered",
      undefined,
      undefined,
    ]);
    expect(tables.knownMessages(web2, changes)[0]).toBeUndefined();
  });

  test("is known when it was settled here, a conflict when it is another, and has the VM's limits", () => {
    const { tables } = openTables({ pendingPerVm: 1 });
    expect(keep(tables, moved("a"))).toEqual(["new"]);
    expect(keep(tables, moved("b"))).toEqual(["over-limit"]);
    tables.settle("a", delivered, NOW);
    expect(keep(tables, moved("a"), moved("a", { change: message("a", { entries: secret }).change }))).toEqual([
      "known",
      "conflict",
    ]);
  });
});

describe("the order of delivery", () => {
  const deliverAll = (tables: Operations): string[] => {
    const { next } = tables.nextMessage(web1.id, REVISION, NOW);
    if (next === undefined) return [];
    tables.settle(next.messageId, delivered, NOW);
    return [next.messageId, ...deliverAll(tables)];
  };

  test("has what was queued before at another manager before what was queued later here", () => {
    const { tables } = openTables();
    tables.keepMessages([message("1", { queuedAt: NOW }), message("4", { queuedAt: NOW + 300 })]);
    keep(tables, moved("2", { queuedAt: NOW + 100 }), moved("3", { queuedAt: NOW + 200 }));
    expect(pending(tables)).toEqual(["1", "2", "3", "4"]);
    expect(ids(toMove(tables).messages)).toEqual(["1", "2", "3", "4"]);
    expect(deliverAll(tables)).toEqual(["1", "2", "3", "4"]);
  });

  test("is that of keeping, whatever happens to clocks", () => {
    const { tables } = openTables();
    tables.keepMessages([message("1", { queuedAt: NOW })]);
    tables.keepMessages([message("2", { queuedAt: NOW - DAY })]);
    keep(tables, moved("3", { queuedAt: NOW + DAY }), moved("4", { queuedAt: NOW + SECOND }));
    tables.keepMessages([message("5", { queuedAt: NOW })]);
    expect(deliverAll(tables)).toEqual(["1", "2", "3", "4", "5"]);
  });

  test("of what a manager kept before it knew others stays", () => {
    const { tables, database } = openTables();
    tables.keepMessages([message("b"), message("a"), message("c", { queuedAt: NOW + 1 })]);
    asInVersion1(database);
    migrate(database);
    const reopened = reopen(database);
    keep(reopened, moved("d", { queuedAt: NOW }));
    expect(deliverAll(reopened)).toEqual(["b", "a", "c", "d"]);
  });
});

function asInVersion1(database: DatabaseSync): void {
  database.exec(`
    DROP INDEX pending_messages;
    CREATE INDEX pending_messages ON messages (vm_id, sequence) WHERE settled_at IS NULL;
    DROP TABLE moved_messages;
    ALTER TABLE messages DROP COLUMN ordered_at;
    ALTER TABLE messages DROP COLUMN moving_at;
    ALTER TABLE messages DROP COLUMN begun_at_revision;
    PRAGMA user_version = 1;
  `);
}
