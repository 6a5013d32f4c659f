import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { peerRequests } from "../../../../../manager/peers/wire.ts";
import type { NewEntry } from "../../../../../shared/protocol/message.ts";
import { rfc3339 } from "../../../../../shared/rfc3339.ts";
import { REVISION, DAY, delivered, NOW, web1 } from "../../store/tables.ts";
import { Host, type HostOptions } from "../hosts.ts";
import { type Fate, MemoryBroker } from "../memory-broker.ts";

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
});

afterEach(() => {
  vi.useRealTimers();
});

const SECOND = 1_000;
const pass = (ms = SECOND) => vi.advanceTimersByTimeAsync(ms);
const eventsOf = (host: Host) => host.tables.eventsAfter(0, 1_000).map(({ type }) => type);

/** Two hosts: a runs the VM. */
async function hosts(options: { a?: HostOptions; b?: HostOptions } = {}) {
  const broker = new MemoryBroker();
  const a = new Host("a", broker, options.a);
  const b = new Host("b", broker, options.b);
  a.vms.set(web1, 2);
  await pass();
  return { broker, a, b };
}

function move(from: Host, to: Host): void {
  from.vms.set(web1, 0);
  to.vms.set(web1, 2);
}

/** What becomes of requests and answers that hand over messages. */
function fateOfMessages(broker: MemoryBroker, fates: { requests?: Fate; answers?: Fate }): void {
  broker.fateOf = (message) => {
    const isRequest =
      message.type === "request" && message.call.kind === "peer" && message.call.name === "takeMessages";
    const isAnswer = message.type === "answer" && JSON.stringify(message.answer).includes("results");
    if (isRequest) return fates.requests ?? "arrives";
    return isAnswer ? (fates.answers ?? "arrives") : "arrives";
  };
}

const at = { ofBroker: (fate: Fate) => ({ requests: fate }), ofAnswer: (fate: Fate) => ({ answers: fate }) };

describe("messages that wait for a VM", () => {
  test("follow it, in their order, and are told of as moved", async () => {
    const { a, b } = await hosts();
    a.keep(web1, "first");
    a.keep(web1, "second");
    move(a, b);
    b.keep(web1, "third", { queuedAt: NOW + 60 * SECOND });
    await pass(3 * SECOND);
    expect([a.pending(web1), b.pending(web1)]).toEqual([[], ["first", "second", "third"]]);
    expect([a.told, b.told]).toEqual([["moved 2"], ["kept 2"]]);
    expect(eventsOf(a).slice(-2)).toEqual(["MESSAGE.MOVED", "MESSAGE.MOVED"]);
    expect(eventsOf(b)).toEqual(["MESSAGE.SEND", "MESSAGE.QUEUED", "MESSAGE.QUEUED", "MESSAGE.QUEUED"]);
  });

  test("follow it back", async () => {
    const { a, b } = await hosts();
    a.keep(web1, "m");
    move(a, b);
    await pass(10 * SECOND);
    move(b, a);
    await pass(10 * SECOND);
    expect([a.pending(web1), b.pending(web1), b.tables.receipt("m")]).toEqual([["m"], [], undefined]);
  });

  test("go in more than one request when they are many or large", async () => {
    const { broker, a, b } = await hosts();
    const entries = ["k", "l", "m"].map((key) => ({ key, value: "v".repeat(32 * 1024) }));
    for (let number = 0; number < 12; number += 1) a.keep(web1, `large${number}`, { entries });
    for (let number = 0; number < 250; number += 1) a.keep(web1, `small${number}`);
    const before = a.pending(web1);
    const sizes: number[] = [];
    broker.fateOf = (message) => {
      if (JSON.stringify(message).includes("takeMessages")) sizes.push(JSON.stringify(message).length);
      return "arrives";
    };
    move(a, b);
    await pass(5 * SECOND);
    expect([a.pending(web1), b.pending(web1)]).toEqual([[], before]);
    expect(sizes.length).toBeGreaterThan(4);
    expect(Math.max(...sizes)).toBeLessThan(1024 * 1024);
  });

  test("stay while its guest answers here, whatever others say", async () => {
    const { a, b } = await hosts();
    a.vms.set(web1, 3);
    a.keep(web1, "m");
    a.running.claims.isHeldBy(web1, b.running.transport.self);
    a.running.transport.disconnect("cable");
    b.vms.set(web1, 3);
    await pass(20 * SECOND);
    a.running.transport.reconnect();
    await pass(60 * SECOND);
    expect([b.holds(web1), a.pending(web1), b.pending(web1)]).toEqual([true, ["m"], []]);
    a.vms.set(web1, 1);
    await pass(3 * SECOND);
    expect([a.pending(web1), b.pending(web1)]).toEqual([[], ["m"]]);
  });

  test("stay until the broker is there, and go then", async () => {
    const { a, b } = await hosts();
    b.vms.set(web1, 3);
    await pass(10 * SECOND);
    a.running.transport.disconnect("cable");
    a.keep(web1, "m");
    await pass(100 * SECOND);
    expect(a.pending(web1)).toEqual(["m"]);
    a.running.transport.reconnect();
    await pass(40 * SECOND);
    expect([a.pending(web1), b.pending(web1)]).toEqual([[], ["m"]]);
  });

  test("and were not moved before they are over expire as what nobody has done", async () => {
    const { a, b } = await hosts();
    b.vms.set(web1, 3);
    await pass(10 * SECOND);
    a.running.transport.disconnect("cable");
    a.keep(web1, "m", { expiresAt: Date.now() + 10 * SECOND });
    await pass(10 * SECOND);
    const [receipt] = a.tables.expireSome(Date.now()).expired;
    expect(receipt).toMatchObject({ state: "expired" });
    expect(receipt).not.toHaveProperty("isUnconfirmed");
  });
});

describe("a hand-over that does not come through", () => {
  test.each<[string, { requests?: Fate; answers?: Fate }]>([
    ["its request is lost", at.ofBroker("is lost")],
    ["nobody knows of its request, which arrives", at.ofBroker("is unconfirmed and arrives")],
    ["nobody knows of its request, which is lost", at.ofBroker("is unconfirmed and lost")],
    ["its answer is lost", at.ofAnswer("is lost")],
  ])("is repeated, and each message is at one manager at last: %s", async (_, fates) => {
    const { broker, a, b } = await hosts();
    a.keep(web1, "first");
    a.keep(web1, "second");
    fateOfMessages(broker, fates);
    move(a, b);
    await pass(20 * SECOND);
    fateOfMessages(broker, {});
    await pass(60 * SECOND);
    expect([a.pending(web1), b.pending(web1)]).toEqual([[], ["first", "second"]]);
    expect(eventsOf(b).filter((type) => type === "MESSAGE.QUEUED")).toHaveLength(2);
  });

  test("because the manager ended between is done after its start, without a second effect", async () => {
    const { broker, a, b } = await hosts();
    a.keep(web1, "m");
    fateOfMessages(broker, { answers: "is lost" });
    move(a, b);
    await pass(2 * SECOND);
    expect([a.pending(web1), b.pending(web1)]).toEqual([["m"], ["m"]]);
    a.kill();
    expect(b.deliver(web1)).toBe("m");
    fateOfMessages(broker, {});
    a.start();
    await pass(10 * SECOND);
    expect([a.pending(web1), a.tables.receipt("m"), b.pending(web1)]).toEqual([[], undefined, []]);
    expect(b.tables.receipt("m")?.state).toBe("delivered");
  });

  test("goes to where the VM is by then", async () => {
    const { broker, a, b } = await hosts();
    const c = new Host("c", broker);
    a.keep(web1, "m");
    fateOfMessages(broker, { requests: "is lost" });
    move(a, b);
    await pass(10 * SECOND);
    fateOfMessages(broker, {});
    move(b, c);
    await pass(3 * SECOND);
    expect([a, b, c].map((host) => host.pending(web1))).toEqual([[], [], ["m"]]);
  });
});

describe("a hand-over that crosses the VM's coming back", () => {
  /** Does it when the other manager's answer is on its way. */
  function whenAnswered(broker: MemoryBroker, work: () => void): void {
    broker.fateOf = (message) => {
      if (message.type === "answer" && JSON.stringify(message.answer).includes("results")) work();
      return "arrives";
    };
  }

  async function crossed(forbidden: string[] = []) {
    const { broker, a, b } = await hosts();
    for (const key of forbidden) b.forbidden.add(key);
    a.keep(web1, "m");
    whenAnswered(broker, () => {
      broker.fateOf = () => "arrives";
      move(b, a);
      a.vms.set(web1, 3);
      a.tables.nextMessage(web1.id, REVISION, Date.now());
    });
    move(a, b);
    await pass(3 * SECOND);
    return a;
  }

  test.each<[string, string[]]>([
    ["keeps", []],
    ["refuses", ["k"]],
  ])("leaves to the guest's answer what was given to it meanwhile, though the other manager %s it", async (_, keys) => {
    const a = await crossed(keys);
    expect([a.pending(web1), a.told]).toEqual([["m"], []]);
    expect(a.tables.settle("m", delivered, Date.now())).toMatchObject({ state: "delivered" });
    await pass(60 * SECOND);
    expect([a.pending(web1), a.tables.receipt("m")?.state]).toEqual([[], "delivered"]);
  });

  test.each<[string, string[]]>([
    ["kept", []],
    ["refused", ["k"]],
  ])("ends nothing and tells nothing when its VM was forgotten before it was %s", async (_, keys) => {
    const { broker, a, b } = await hosts();
    for (const key of keys) b.forbidden.add(key);
    a.keep(web1, "m");
    whenAnswered(broker, () => {
      a.tables.forgetVm(web1.id);
    });
    move(a, b);
    await pass(3 * SECOND);
    expect([a.pending(web1), a.told]).toEqual([[], []]);
  });
});

describe("a message that another manager may have done", () => {
  /** It is, and its answer was lost. */
  async function doneAtB() {
    const { broker, a, b } = await hosts();
    a.keep(web1, "m", { expiresAt: NOW + 600 * SECOND });
    fateOfMessages(broker, { answers: "is lost" });
    move(a, b);
    await pass(2 * SECOND);
    expect(b.deliver(web1)).toBe("m");
    return { broker, a, b };
  }

  test("is done, though it would not be permitted there any more", async () => {
    const { broker, a, b } = await doneAtB();
    b.forbidden.add("k");
    fateOfMessages(broker, {});
    await pass(60 * SECOND);
    expect([a.pending(web1), a.tables.receipt("m"), a.told]).toEqual([[], undefined, ["moved 1"]]);
    expect(b.tables.receipt("m")?.state).toBe("delivered");
  });

  test("is not refused because a third one refuses it: nobody knows, which is told", async () => {
    const { broker, a, b } = await doneAtB();
    const c = new Host("c", broker);
    c.forbidden.add("k");
    await pass();
    move(b, c);
    fateOfMessages(broker, {});
    await pass(60 * SECOND);
    expect([a.pending(web1), a.told]).toEqual([[], ["m expired"]]);
    expect(a.tables.receipt("m")).toMatchObject({ isUnconfirmed: true, refusal: { code: "not-permitted" } });
  });
});

test("a message says where it was asked for, however often it is handed over", async () => {
  const { broker, a, b } = await hosts();
  const c = new Host("c", broker);
  const { host } = a.running.transport.self;
  a.keep(web1, "m");
  move(a, b);
  await pass(3 * SECOND);
  expect(b.tables.receipt("m")?.by).toBe(`alice@${host}`);
  move(b, c);
  await pass(3 * SECOND);
  expect(c.tables.receipt("m")?.by).toBe(`alice@${host}`);
});

describe("a message that the other manager does not keep", () => {
  const other: NewEntry[] = [{ key: "k", value: "another" }];

  test("is refused here in its words", async () => {
    const { a, b } = await hosts({ b: { limits: { pendingPerVm: 2 } } });
    b.keep(web1, "used", { entries: other });
    for (const id of ["used", "kept", "over"]) a.keep(web1, id);
    move(a, b);
    await pass(3 * SECOND);
    expect([a.pending(web1), b.pending(web1)]).toEqual([[], ["used", "kept"]]);
    expect(a.tables.receipt("used")).toMatchObject({ state: "refused", refusal: { code: "conflict" } });
    expect(a.tables.receipt("over")?.refusal?.message).toContain("2 messages may wait for VM web1");
    expect(a.told).toEqual(["moved 1", "used refused", "over refused"]);
  });

  test("because it is not permitted there is refused here, and the others go", async () => {
    const { a, b } = await hosts();
    a.keep(web1, "bad", { entries: [{ key: "forbidden", value: "v" }] });
    a.keep(web1, "good");
    move(a, b);
    await pass(3 * SECOND);
    expect([a.pending(web1), b.pending(web1)]).toEqual([[], ["good"]]);
    expect(a.tables.receipt("bad")).toMatchObject({ state: "refused", refusal: { code: "not-permitted" } });
  });

  test("but that the VM was given before waits until there is room: it may be done", async () => {
    const { a, b } = await hosts({ b: { limits: { pendingPerVm: 0 } } });
    a.keep(web1, "begun");
    a.tables.nextMessage(web1.id, REVISION, Date.now());
    a.keep(web1, "new");
    move(a, b);
    await pass(10 * SECOND);
    expect([a.pending(web1), a.tables.receipt("new")?.state]).toEqual([["begun"], "refused"]);
  });
});

describe("a manager that is to take messages", () => {
  const params = (count: number) => ({
    vm: web1,
    messages: Array.from({ length: count }, (_, number) => ({
      change: { method: "clear", params: { messageId: `m${number}` } } as const,
      by: "alice",
      queuedAt: NOW,
    })),
  });

  test("takes none for a VM that is not there", async () => {
    const { a, b } = await hosts();
    const from = a.running.transport.self;
    await expect(b.running.handover.take(params(1), from)).rejects.toMatchObject({ code: "unreachable" });
    b.vms.set(web1, 1);
    await pass();
    await expect(b.running.handover.take(params(1), from)).rejects.toMatchObject({ code: "unreachable" });
    expect(b.pending(web1)).toEqual([]);
  });

  test("bounds what is said of them by what could be asked for here", async () => {
    const { a, b } = await hosts();
    const from = b.running.transport.self;
    const years = (count: number) => count * 365 * DAY;
    const [head] = params(1).messages;
    const of = (messageId: string, more: object) => ({
      ...head,
      change: { method: "clear", params: { messageId } } as const,
      queuedAt: NOW,
      by: "alice",
      ...more,
    });
    const messages = [
      of("endless", {}),
      of("long", { expiresAt: NOW + years(100) }),
      of("ahead", { queuedAt: 8.64e15, begunAt: 8.64e15, expiresAt: NOW + 60 * SECOND }),
      of("masked", { by: "\u001b[2Jalice@\u202ekvm9" }),
      of("wordy", { by: "a".repeat(1_000) }),
    ];
    await a.running.handover.take({ vm: web1, messages }, from);
    const receipt = (messageId: string) => a.tables.receipt(messageId);
    const now = Date.now();
    expect(receipt("endless")?.expiresAt).toBe(rfc3339(now + DAY));
    expect(receipt("long")?.expiresAt).toBe(rfc3339(now + years(10)));
    expect(receipt("ahead")?.queuedAt).toBe(rfc3339(now + 600 * SECOND));
    expect(receipt("masked")?.by).toBe("\\u001b[2Jalice@\\u202ekvm9");
    expect(receipt("wordy")?.by).toBe(`${"a".repeat(128)}@b`);
  });

  test("takes none of a time that there is not", () => {
    const request = (times: object) => ({ vm: web1, messages: [{ ...params(1).messages[0], ...times }] });
    const isTaken = (times: object) => peerRequests.takeMessages.params.safeParse(request(times)).success;
    expect(isTaken({ begunAt: 8.64e15 })).toBe(true);
    for (const name of ["queuedAt", "expiresAt", "begunAt"]) {
      expect([isTaken({ [name]: 8.64e15 + 2 }), isTaken({ [name]: -1 }), isTaken({ [name]: 0.5 })]).toEqual([
        false,
        false,
        false,
      ]);
    }
  });

  test("audits each that it decides about, once", async () => {
    const { a, b } = await hosts();
    const from = b.running.transport.self;
    const set = (messageId: string, key: string, more: object = {}) => ({
      change: { method: "set" as const, params: { messageId, entries: [{ key, value: "v" }] } },
      by: "alice",
      queuedAt: NOW,
      ...more,
    });
    const messages = [set("good", "k"), set("bad", "forbidden"), set("may-be-done", "forbidden", { begunAt: NOW })];
    await a.running.handover.take({ vm: web1, messages }, from);
    await a.running.handover.take({ vm: web1, messages: messages.slice(0, 1) }, from);
    const deed = { who: { name: "alice@b", via: "amqp:b" }, action: "set", vm: web1 };
    expect(a.audited).toEqual([
      { ...deed, keys: ["k"], messageId: "good", outcome: "ok" },
      { ...deed, keys: ["forbidden"], messageId: "bad", outcome: "not-permitted" },
      { ...deed, keys: ["forbidden"], messageId: "may-be-done", outcome: "not-permitted" },
    ]);
  });

  test("takes no more at once than any sends", async () => {
    const { a, b } = await hosts();
    const { self } = b.running.transport;
    await expect(a.running.handover.take(params(101), self)).rejects.toMatchObject({ code: "over-limit" });
    expect((await a.running.handover.take(params(100), self)).results).toHaveLength(100);
  });
});
