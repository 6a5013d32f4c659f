import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import type { Handlers } from "../../../../../manager/api/handler.ts";
import { IncomingIds } from "../../../../../manager/peers/calls/incoming-ids.ts";
import type { AskedEndpoint, ForCallee, WireMessage, WireRequest } from "../../../../../manager/peers/wire.ts";
import { type EndpointName, endpoints } from "../../../../../shared/api/endpoints.ts";
import { MemoryBroker, type MemoryTransport, newPeer } from "../memory-broker.ts";
import { asking, changed, db1, pong, receipt, setMessage, TestManager, web1 } from "./calls-scene.ts";

const NOW = 1_800_000_000_000;

let requests = 0;

/** kvm2 has web1, and kvm1 says what a test has it say. */
async function scene(handlers: Partial<Handlers> = {}) {
  const broker = new MemoryBroker();
  const clock = { now: NOW };
  const kvm1 = broker.join(newPeer("kvm1"));
  const heard: WireMessage[] = [];
  kvm1.start({
    received: (message) => heard.push(message),
    connected: () => undefined,
    disconnected: () => undefined,
    lost: () => undefined,
  });
  const kvm2 = new TestManager(broker, "kvm2", { handlers, now: () => clock.now });
  await kvm2.hold(web1);
  const request = (asked: AskedEndpoint, parts: Partial<WireRequest> = {}): WireRequest => {
    requests += 1;
    const id = requests.toString(16).padStart(32, "0");
    const call = { kind: "api", asked } as const;
    return { type: "request", id, to: kvm2.peer.id, expiresAt: clock.now + 8_000, call, ...parts };
  };
  const say = (message: ForCallee): void => {
    kvm2.incoming.take(message, kvm1.self);
  };
  /** What is said to the request, when all that is said was heard. */
  const answerTo = async (message: WireRequest): Promise<WireMessage[]> => {
    say(message);
    await vi.waitUntil(() => heard.some((one) => "of" in one && one.of === message.id));
    return heard.filter((one) => "of" in one && one.of === message.id);
  };
  return { broker, clock, kvm1, kvm2, heard, request, say, answerTo };
}

/** As {@link scene}, where three managers say what a test has them say. */
async function crowded(handlers: Partial<Handlers>) {
  const { broker, kvm1, kvm2, heard, request } = await scene(handlers);
  const joined = (host: string) => {
    const transport = broker.join(newPeer(host));
    const nothing = (): void => undefined;
    transport.start({
      received: (message) => heard.push(message),
      connected: nothing,
      disconnected: nothing,
      lost: nothing,
    });
    return transport;
  };
  const others = [kvm1, joined("kvm3"), joined("kvm4")] as const;
  const answerFor = async (from: MemoryTransport, message: WireRequest): Promise<WireMessage | undefined> => {
    kvm2.incoming.take(message, from.self);
    return await vi.waitUntil(() => heard.find((one) => "of" in one && one.of === message.id));
  };
  const problemFor = async (from: MemoryTransport, message: WireRequest) => {
    const answer = await answerFor(from, message);
    return answer?.type === "problem" ? answer.problem : undefined;
  };
  return { kvm2, request, others, answerFor, problemFor };
}

/** When all that is to be said at once has been said. */
async function quiet(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

describe("a request", () => {
  test("for another start of the manager is misdirected, and says whether the VM is here", async () => {
    const pingVm = vi.fn(() => pong);
    const { request, answerTo } = await scene({ pingVm });
    const { id: to } = newPeer("kvm2");
    const held = request(asking("pingVm"), { to });
    await expect(answerTo(held)).resolves.toEqual([{ type: "misdirected", of: held.id, holds: true }]);
    const ofNobody = request(asking("pingVm", { params: { vm: db1.id } }), { to });
    await expect(answerTo(ofNobody)).resolves.toEqual([{ type: "misdirected", of: ofNobody.id, holds: false }]);
    const inQuery = request(asking("listAudit", { params: {}, query: { vm: web1.id } }), { to });
    await expect(answerTo(inQuery)).resolves.toEqual([{ type: "misdirected", of: inQuery.id, holds: true }]);
    expect(pingVm).not.toHaveBeenCalled();
  });

  test("about a VM that is not held here is misdirected", async () => {
    const { request, answerTo } = await scene({ pingVm: () => pong });
    const message = request(asking("pingVm", { params: { vm: db1.id } }));
    await expect(answerTo(message)).resolves.toEqual([{ type: "misdirected", of: message.id, holds: false }]);
  });

  test("names its VM by the UUID, in whichever case", async () => {
    const { request, answerTo } = await scene({ pingVm: () => pong });
    const [answer] = await answerTo(request(asking("pingVm", { params: { vm: web1.id.toUpperCase() } })));
    expect(answer).toMatchObject({ type: "answer" });
    const [byName] = await answerTo(request(asking("pingVm", { params: { vm: "web1" } })));
    expect(byName).toMatchObject({ type: "misdirected" });
  });

  test("about a VM that two managers have running is a conflict that names both", async () => {
    const { kvm2, request, answerTo } = await scene({ pingVm: () => pong });
    kvm2.whereabouts.set(web1.id, { type: "contested", vm: web1, peer: newPeer("kvm3") });
    const [answer] = await answerTo(request(asking("pingVm")));
    expect(answer).toMatchObject({
      type: "problem",
      problem: {
        code: "conflict",
        detail: "the managers on kvm2 and kvm3 both have 'web1' running; ask on the host that is meant",
        details: { hosts: ["kvm2", "kvm3"] },
      },
    });
  });

  test("that comes again is executed once, answered once, and counted", async () => {
    const sendMessage = vi.fn(() => receipt);
    const { kvm2, request, say, answerTo, heard } = await scene({ sendMessage });
    const message = request(asking("sendMessage", { body: setMessage }));
    await answerTo(message);
    say(message);
    say({ ...message });
    await quiet();
    expect(sendMessage).toHaveBeenCalledTimes(1);
    expect(heard).toHaveLength(1);
    expect(kvm2.incoming.repeated).toBe(2);
  });

  test("that comes again while it takes longer than it had is no late one", async () => {
    const { kvm2, clock, request, say, heard } = await scene({ statsVm: () => new Promise<never>(() => undefined) });
    const message = request(asking("statsVm"));
    say(message);
    clock.now += 60_000;
    say(message);
    await quiet();
    expect(heard).toEqual([]);
    expect(kvm2.incoming.repeated).toBe(1);
  });

  test("that came too late is refused, and asks for the clocks", async () => {
    const pingVm = vi.fn(() => pong);
    const { clock, request, answerTo } = await scene({ pingVm });
    const [answer] = await answerTo(request(asking("pingVm"), { expiresAt: clock.now - 2_400 }));
    expect(answer).toMatchObject({
      problem: {
        code: "unreachable",
        detail: "the request came 3 s after its time was up; are the clocks of kvm1 and kvm2 the same?",
      },
    });
    expect(pingVm).not.toHaveBeenCalled();
  });

  test("that has more time than any manager gives is refused, and stays so when it would have less", async () => {
    const pingVm = vi.fn(() => pong);
    const { clock, request, answerTo, say } = await scene({ pingVm });
    const message = request(asking("pingVm"), { expiresAt: clock.now + 700_000 });
    const [answer] = await answerTo(message);
    expect(answer).toMatchObject({
      problem: {
        code: "unreachable",
        detail: "the request has 700 s to run, which is too long; are the clocks of kvm1 and kvm2 the same?",
      },
    });
    clock.now += 300_000;
    say(message);
    await quiet();
    expect(pingVm).not.toHaveBeenCalled();
  });

  test("whose answer cannot be sent is told that, and what that means", async () => {
    const { broker, kvm2, request, answerTo } = await scene({
      pingVm: () => pong,
      forgetVm: () => Promise.resolve({}),
    });
    const send = broker.pass.bind(broker);
    broker.pass = (to, message, from) => {
      return message.type === "answer" ? { type: "not-sent", reason: "it is too long" } : send(to, message, from);
    };
    const [reading] = await answerTo(request(asking("pingVm")));
    expect(reading).toMatchObject({
      problem: { code: "unreachable", detail: "its answer cannot be sent: it is too long" },
    });
    const [change] = await answerTo(request(asking("forgetVm")));
    expect(change).toMatchObject({
      problem: { code: "unconfirmed", detail: "it was done, and its answer cannot be sent: it is too long" },
    });
    expect(kvm2.logged.map(({ event }) => event)).toEqual(["peer-answer-not-sent"]);
  });

  test("is served while there is room, and refused as busy beyond: no manager takes it from all others", async () => {
    const never = new Promise<never>(() => undefined);
    const { kvm2, request, others, problemFor } = await crowded({ statsVm: () => never });
    const [kvm1, kvm3, kvm4] = others;
    for (const from of [kvm1, kvm3]) {
      // What is refused takes no room, though its word is on its way still.
      for (let count = 0; count < 700; count += 1) kvm2.incoming.take(request(asking("statsVm")), from.self);
    }
    await vi.waitUntil(() => kvm2.incoming.size === 1_000);
    expect(await problemFor(kvm1, request(asking("statsVm")))).toMatchObject({
      code: "unreachable",
      detail: "the manager on kvm2 has 500 requests of kvm1 in progress, and 1000 of all; try again",
    });
    expect(await problemFor(kvm4, request(asking("statsVm")))).toMatchObject({
      detail: "the manager on kvm2 has 0 requests of kvm4 in progress, and 1000 of all; try again",
    });
    for (const from of [kvm1, kvm3]) kvm2.incoming.gone(from.self.id);
    await vi.waitUntil(() => kvm2.incoming.size === 0);
  });

  test("that is refused for want of room is said in the log, once a minute at most", async () => {
    const never = new Promise<never>(() => undefined);
    const { kvm2, request, others, problemFor } = await crowded({ statsVm: () => never });
    const [kvm1] = others;
    for (let count = 0; count < 500; count += 1) kvm2.incoming.take(request(asking("statsVm")), kvm1.self);
    for (let count = 0; count < 3; count += 1) await problemFor(kvm1, request(asking("statsVm")));
    const reason = "the manager on kvm2 has 500 requests of kvm1 in progress, and 500 of all; try again";
    const fields = { peer: "kvm1", reason, suppressed: 0 };
    expect(kvm2.logged).toEqual([{ level: "warn", event: "peer-request-refused", fields }]);
  });

  test("of a manager for itself is served however much is held back for users", async () => {
    const never = new Promise<never>(() => undefined);
    const { kvm2, request, others, answerFor } = await crowded({ statsVm: () => never });
    for (const from of others) {
      for (let count = 0; count < 500; count += 1) kvm2.incoming.take(request(asking("statsVm")), from.self);
    }
    const yielding = { kind: "peer", name: "yield", params: { vm: web1.id, strength: 3 } } as const;
    const answer = await answerFor(others[0], request(asking("statsVm"), { call: yielding }));
    expect(answer).toMatchObject({ type: "answer", answer: { isYielded: false } });
  });

  test("for a stream is refused when its manager has many, and those of others are not", async () => {
    async function* watchKeys({ signal }: { signal: AbortSignal }): AsyncGenerator<ReturnType<typeof changed>> {
      await new Promise((resolve) => {
        signal.addEventListener("abort", resolve);
      });
    }
    const { broker, kvm1, kvm2, request, say, answerTo } = await scene({ watchKeys });
    for (let count = 0; count < 256; count += 1) say(request(asking("watchKeys")));
    const [answer] = await answerTo(request(asking("watchKeys")));
    expect(answer).toMatchObject({
      problem: {
        code: "unreachable",
        detail: "the manager on kvm2 has 256 streams open for kvm1, and 256 in all; try again",
      },
    });
    const other = broker.join(newPeer("kvm3"));
    kvm2.incoming.take(request(asking("watchKeys")), other.self);
    expect(kvm2.incoming.size).toBe(257);
    kvm2.incoming.gone(kvm1.self.id);
    await quiet();
    expect(kvm2.incoming.size).toBe(1);
    await kvm2.incoming.close();
  });
});

describe("a row", () => {
  const served: EndpointName[] = [
    "showVm",
    "forgetVm",
    "listKeys",
    "getKey",
    "watchKeys",
    "sendMessage",
    "listSent",
    "listReceived",
    "getReceipt",
    "infoVm",
    "pingVm",
    "statsVm",
    "showHealth",
    "sendFleet",
    "listVms",
    "listEvents",
    "followEvents",
    "listAudit",
    "listImageSaves",
    "showImageSave",
    "followImageSave",
    "cancelImageSave",
    "saveImage",
    "listNotify",
    "addNotify",
    "removeNotify",
  ];
  const names = Object.keys(endpoints) as EndpointName[];

  test.each(names.filter((name) => !served.includes(name)))("%s is served to no other manager", async (name) => {
    const handler = vi.fn();
    const { request, answerTo } = await scene({ [name]: handler });
    const [answer] = await answerTo(request(asking(name)));
    const detail = `'${name}' is not served to other managers`;
    expect(answer).toMatchObject({ problem: { code: "not-permitted", detail } });
    expect(handler).not.toHaveBeenCalled();
  });

  test.each(["toString", "__proto__", "constructor", "nothing"])("called %s is none", async (name) => {
    const { request, answerTo } = await scene();
    const [answer] = await answerTo(request(asking(name as EndpointName)));
    expect(answer).toMatchObject({ problem: { code: "not-permitted" } });
  });

  test.each(["listEvents", "followEvents", "listAudit", "listImageSaves"] as const)(
    "%s is served for one VM only",
    async (name) => {
      const { request, answerTo } = await scene();
      const [answer] = await answerTo(request(asking(name, { params: {}, query: {} })));
      const detail = `other managers are told of one VM, and '${name}' names none`;
      expect(answer).toMatchObject({ problem: { code: "not-permitted", detail } });
    },
  );

  test("listVms is of this manager's own VMs", async () => {
    const { request, answerTo } = await scene({ listVms: () => ({ vms: [] }) });
    const own = request(asking("listVms", { params: {} }));
    await expect(answerTo(own)).resolves.toEqual([{ type: "answer", of: own.id, answer: { vms: [] } }]);
    const [refused] = await answerTo(request(asking("listVms", { params: {}, query: { everywhere: "true" } })));
    expect(refused).toMatchObject({ problem: { code: "usage" } });
  });

  test("sendFleet is for VMs by their UUIDs that are all held here, and that nobody else has running", async () => {
    const asked = { calls: 0 };
    async function* sendFleet() {
      await Promise.resolve();
      asked.calls += 1;
      yield { event: "begin", data: { vms: 1 } } as const;
    }
    const { kvm2, request, answerTo } = await scene({ sendFleet });
    const fleet = (vms: unknown) => {
      return request(asking("sendFleet", { params: {}, body: { vms, request: { method: "ping" } } }));
    };
    const [all] = await answerTo(fleet({ all: true }));
    expect(all).toMatchObject({ problem: { code: "usage" } });
    for (const names of [[web1.id, db1.id], ["web*"], ["web1"]]) {
      const [answer] = await answerTo(fleet({ names }));
      expect(answer).toMatchObject({ type: "misdirected", holds: false });
    }
    await kvm2.hold(db1);
    kvm2.whereabouts.set(db1.id, { type: "contested", vm: db1, peer: newPeer("kvm3") });
    const [contested] = await answerTo(fleet({ names: [web1.id, db1.id] }));
    expect(contested).toMatchObject({ type: "misdirected" });
    expect(asked.calls).toBe(0);
    const [begun] = await answerTo(fleet({ names: [web1.id.toUpperCase()] }));
    expect(begun).toMatchObject({ type: "begun" });
    expect(asked.calls).toBe(1);
  });
});

describe("the memory of requests", () => {
  const id = (number: number) => number.toString(16).padStart(32, "0");

  test("ends with their time, and what may have been forgotten is not taken again when the clock is set back", () => {
    const ids = new IncomingIds();
    const request = { id: id(1), expiresAt: NOW + 8_000 };
    expect(ids.admit(request, NOW)).toEqual({ type: "new" });
    expect(ids.admit(request, NOW + 7_999)).toEqual({ type: "seen" });
    expect(ids.admit({ id: id(2), expiresAt: NOW + 20_000 }, NOW + 10_000)).toEqual({ type: "new" });
    expect(ids.size).toBe(1);
    expect(ids.admit(request, NOW)).toEqual({ type: "full" });
    expect(ids.admit({ id: id(3), expiresAt: NOW + 8_001 }, NOW)).toEqual({ type: "new" });
  });

  test("refuses what it has no room for, and forgets nothing for it", () => {
    const ids = new IncomingIds();
    const expiresAt = NOW + 8_000;
    for (let number = 0; number < 100_000; number += 1) ids.admit({ id: id(number), expiresAt }, NOW);
    expect(ids.admit({ id: id(100_000), expiresAt: NOW + 9_000 }, NOW)).toEqual({ type: "full" });
    expect(ids.admit({ id: id(5), expiresAt }, NOW)).toEqual({ type: "seen" });
    // Its caller was told that nothing was done: a replay does nothing either, when there is room again.
    expect(ids.admit({ id: id(100_000), expiresAt: NOW + 9_000 }, NOW + 8_500)).toEqual({ type: "full" });
    expect(ids.admit({ id: id(100_001), expiresAt: NOW + 16_500 }, NOW + 8_500)).toEqual({ type: "new" });
  });

  test("never lets a request through twice, whatever the clock does, nor one that was refused", () => {
    const step = fc.record({ number: fc.nat(20), at: fc.integer({ min: -900_000, max: 900_000 }) });
    const lifetimes = fc.array(fc.integer({ min: -10_000, max: 800_000 }), { minLength: 21, maxLength: 21 });
    fc.assert(
      fc.property(lifetimes, fc.array(step, { maxLength: 60 }), (expiries, steps) => {
        const ids = new IncomingIds();
        const told = new Set<number>();
        for (const { number, at } of steps) {
          const { type } = ids.admit({ id: id(number), expiresAt: NOW + (expiries[number] ?? 0) }, NOW + at);
          if (type === "new") expect(told.has(number)).toBe(false);
          if (type !== "seen") told.add(number);
        }
      }),
      { numRuns: 500 },
    );
  });
});

/** What a manager that has the key may say, right or wrong. */
function hostileMessages(ids: readonly string[]) {
  const anyId = fc.constantFrom(...ids);
  const part = fc.oneof(
    fc.anything({ withNullPrototype: true }),
    fc.constant({ vm: web1.id }),
    fc.record({ vm: fc.oneof(fc.constant(web1.id), fc.anything()) }),
  );
  const who = fc.record({
    name: fc.string(),
    role: fc.constantFrom("read", "write", "admin"),
    vms: fc.array(fc.string()),
    keys: fc.array(fc.string()),
  });
  const endpoint = fc.constantFrom(...Object.keys(endpoints), "toString", "__proto__");
  const asked = fc.record(
    { endpoint, who, params: part, query: part, body: part },
    { requiredKeys: ["endpoint", "who"] },
  );
  const call = fc.oneof(
    fc.record({ kind: fc.constant("api"), asked }),
    fc.record({ kind: fc.constant("peer"), name: fc.constantFrom("yield", "takeMessages"), params: part }),
  );
  const expiresAt = fc.oneof(fc.maxSafeInteger(), fc.constant(NOW + 5_000));
  return fc.oneof(
    fc.record({ type: fc.constant("request"), id: anyId, to: anyId, expiresAt, call }),
    fc.record({ type: fc.constant("credit"), of: anyId, to: anyId, until: fc.maxSafeNat() }),
    fc.record({ type: fc.constant("cancel"), of: anyId, to: anyId }),
  ) as fc.Arbitrary<ForCallee>;
}

test("whatever other managers say, nothing is thrown or trips over it, and nothing goes on when they are gone", async () => {
  async function* watchKeys() {
    await Promise.resolve();
    for (let revision = 1; revision < 100; revision += 1) yield changed(revision);
  }
  const streamed = (name: string) => "stream" in endpoints[name as EndpointName];
  const handlers = new Proxy({}, { get: (_, name) => (streamed(String(name)) ? watchKeys : () => pong) });
  const { kvm1, kvm2 } = await scene(handlers);
  const ids = [kvm2.peer.id, kvm1.self.id, ...Array.from({ length: 30 }, () => newPeer("x").id)];
  const scripts = fc.array(hostileMessages(ids), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(scripts, async (messages) => {
      for (const message of messages) kvm2.incoming.take(message, kvm1.self);
      await quiet();
      kvm2.incoming.gone(kvm1.self.id);
      await quiet();
      expect(kvm2.incoming.size).toBe(0);
    }),
    { numRuns: 200 },
  );
  const unexpected = kvm2.logged.filter(({ fields }) => fields["error"] instanceof TypeError);
  expect(unexpected).toEqual([]);
});
