import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { StreamEvent } from "../../../../../manager/api/event-stream.ts";
import type { Handlers } from "../../../../../manager/api/handler.ts";
import { MisdirectedError } from "../../../../../manager/peers/caller.ts";
import { STREAM_WINDOW } from "../../../../../manager/peers/wire.ts";
import { CommandError } from "../../../../../shared/cli/failure.ts";
import { MemoryBroker } from "../memory-broker.ts";
import {
  asking,
  changed,
  changing,
  collected,
  failureOf,
  pong,
  reading,
  receipt,
  setMessage,
  TestManager,
  web1,
} from "./calls-scene.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
});

afterEach(() => {
  vi.useRealTimers();
});

/** kvm1 asks; kvm2 has web1. */
async function scene(handlers: Partial<Handlers> = {}) {
  const broker = new MemoryBroker();
  const kvm1 = new TestManager(broker, "kvm1");
  const kvm2 = new TestManager(broker, "kvm2", { handlers });
  await kvm2.hold(web1);
  return { broker, kvm1, kvm2, callee: kvm2.byVm(web1) };
}

/** Takes so many events of a stream, then is told the next when it asks again. */
async function take(events: AsyncIterator<StreamEvent, undefined>, count: number): Promise<StreamEvent[]> {
  const taken: StreamEvent[] = [];
  while (taken.length < count) {
    const next = await events.next();
    if (next.done === true) break;
    taken.push(next.value);
  }
  return taken;
}

/** A watch that tells of changes without an end, and how many it was asked for. */
function endless() {
  const told = { count: 0, isEnded: false };
  async function* watchKeys(): AsyncGenerator<ReturnType<typeof changed>> {
    try {
      for (;;) {
        await Promise.resolve();
        told.count += 1;
        yield changed(told.count);
      }
    } finally {
      told.isEnded = true;
    }
  }
  return { told, watchKeys };
}

/** A watch that tells of nothing, until it is stopped. */
function silent() {
  const seen: { signal: AbortSignal | undefined } = { signal: undefined };
  async function* watchKeys({ signal }: Parameters<Handlers["watchKeys"]>[0]): AsyncGenerator<never> {
    seen.signal = signal;
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => {
        resolve();
      });
    });
  }
  return { seen, watchKeys };
}

describe("a question to another manager", () => {
  test("is answered by its handler, who is told who asks and from where", async () => {
    const pingVm = vi.fn(() => pong);
    const { kvm1, callee } = await scene({ pingVm });
    await expect(kvm1.outgoing.ask(callee, asking("pingVm"), reading())).resolves.toEqual(pong);
    expect(pingVm).toHaveBeenCalledWith(
      expect.objectContaining({
        who: { name: "alice", via: "amqp:kvm1", role: "admin", vms: ["*"], keys: [""] },
        params: { vm: web1.id },
        query: {},
      }),
    );
    expect(kvm1.outgoing.size).toBe(0);
  });

  test("has its query read as HTTP has it, and its body by the row's schema", async () => {
    const listSent = vi.fn(() => ({ receipts: [] }));
    const sendMessage = vi.fn(() => receipt);
    const { kvm1, callee } = await scene({ listSent, sendMessage });
    await kvm1.outgoing.ask(callee, asking("listSent", { query: { limit: "3" } }), reading());
    expect(listSent).toHaveBeenCalledWith(expect.objectContaining({ query: { limit: 3 } }));
    await kvm1.outgoing.ask(callee, asking("sendMessage", { body: setMessage }), changing());
    expect(sendMessage).toHaveBeenCalledWith(expect.objectContaining({ body: setMessage }));
  });

  test.each([
    ["sendMessage", { body: { method: "destroy" } }, "body: "],
    ["listSent", { query: { limit: "many" } }, "querystring: limit: "],
    ["listSent", { query: { limits: "3" } }, "querystring: "],
    ["getKey", { params: { vm: web1.id, key: "" } }, "params: key: a key cannot be empty"],
    ["pingVm", { params: {} }, "params: vm: "],
  ] as const)("that is no %s (%j) is refused in the words of the doors at home", async (endpoint, parts, words) => {
    const { kvm1, callee } = await scene();
    const failure = await failureOf(kvm1.outgoing.ask(callee, asking(endpoint, parts), reading()));
    expect(failure).toMatchObject({ code: "usage", message: expect.stringContaining(words) as string });
  });

  test("fails with the very code, words and details that its handler fails with", async () => {
    const refusal = new CommandError("held", "'web1' is held by 'cat'", { pid: 7 });
    const { kvm1, callee } = await scene({ infoVm: () => Promise.reject(refusal) });
    const failure = await failureOf(kvm1.outgoing.ask(callee, asking("infoVm"), reading()));
    expect(failure).toBeInstanceOf(CommandError);
    expect(failure).toMatchObject({ code: "held", message: "'web1' is held by 'cat'", details: { pid: 7 } });
  });

  test("that runs into a bug there is not told the bug, which the log there has", async () => {
    const bug = new TypeError("x is undefined");
    const { kvm1, kvm2, callee } = await scene({ infoVm: () => Promise.reject(bug) });
    const failure = await failureOf(kvm1.outgoing.ask(callee, asking("infoVm"), reading()));
    expect(failure).toMatchObject({
      code: "failed",
      message: "this is a bug of the manager's; its log has the reason",
    });
    expect(kvm2.logged).toEqual([
      { level: "error", event: "peer-request-failed", fields: { peer: "kvm1", request: "infoVm", error: bug } },
    ]);
  });

  test("does not wait for another one that takes long", async () => {
    const never = new Promise<never>(() => undefined);
    const { kvm1, callee } = await scene({ statsVm: () => never, pingVm: () => pong });
    const stats = failureOf(kvm1.outgoing.ask(callee, asking("statsVm"), reading()));
    await expect(kvm1.outgoing.ask(callee, asking("pingVm"), reading())).resolves.toEqual(pong);
    await vi.advanceTimersByTimeAsync(8_000);
    await expect(stats).resolves.toMatchObject({ code: "unreachable" });
  });

  test("that nobody waits for any more is stopped there, and told nothing", async () => {
    let signal: AbortSignal | undefined;
    const getReceipt = (request: { signal: AbortSignal }) => {
      ({ signal } = request);
      return new Promise<never>(() => undefined);
    };
    const { kvm1, kvm2 } = await scene({ getReceipt });
    const stopping = new AbortController();
    const asked = asking("getReceipt", { params: { messageId: "m1" } });
    const work = failureOf(kvm1.outgoing.ask(kvm2.byItself, asked, reading({ signal: stopping.signal })));
    await vi.waitUntil(() => signal !== undefined);
    const reason = new CommandError("unreachable", "the client went away");
    stopping.abort(reason);
    await expect(work).resolves.toBe(reason);
    await vi.waitUntil(() => signal?.aborted);
    await vi.waitUntil(() => kvm2.incoming.size === 0);
    expect(kvm1.received).toEqual([]);
  });

  test("about a VM that has moved away meanwhile is told so at once, and a change that it may have been done", async () => {
    const never = new Promise<never>(() => undefined);
    const sendMessage: Handlers["sendMessage"] = async ({ signal }) => {
      await new Promise((resolve) => {
        signal.addEventListener("abort", resolve);
      });
      throw new Error("stopped");
    };
    const { kvm1, kvm2, callee } = await scene({ infoVm: () => never, sendMessage });
    const info = failureOf(kvm1.outgoing.ask(callee, asking("infoVm"), reading()));
    const change = failureOf(kvm1.outgoing.ask(callee, asking("sendMessage", { body: setMessage }), changing()));
    await vi.waitUntil(() => kvm2.incoming.size === 2);
    kvm2.whereabouts.set(web1.id, { type: "elsewhere", vm: web1, peer: kvm1.peer });
    const details = { isMoved: true, host: "kvm1" };
    await expect(info).resolves.toMatchObject({ code: "unreachable", message: "'web1' has moved to kvm1", details });
    await expect(change).resolves.toMatchObject({ code: "unconfirmed", details });
    expect(kvm2.whereabouts.listening).toBe(0);
  });

  test("that waited for a message of a VM that has moved is answered with what is known of it", async () => {
    const queued = { ...receipt, state: "queued" as const };
    const sendMessage: Handlers["sendMessage"] = ({ signal }) => {
      return new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          resolve(queued);
        });
      });
    };
    const { kvm1, kvm2, callee } = await scene({ sendMessage });
    const change = kvm1.outgoing.ask(callee, asking("sendMessage", { body: setMessage }), changing());
    await vi.waitUntil(() => kvm2.incoming.size === 1);
    kvm2.whereabouts.set(web1.id, { type: "elsewhere", vm: web1, peer: kvm1.peer });
    await expect(change).resolves.toEqual(queued);
  });

  test("that changes something once is not ended in the middle when its VM moves", async () => {
    const { promise, resolve } = Promise.withResolvers<Record<string, never>>();
    const { kvm1, kvm2, callee } = await scene({ forgetVm: () => promise });
    const change = kvm1.outgoing.ask(callee, asking("forgetVm"), changing());
    await vi.waitUntil(() => kvm2.incoming.size === 1);
    kvm2.whereabouts.set(web1.id, { type: "elsewhere", vm: web1, peer: kvm1.peer });
    resolve({});
    await expect(change).resolves.toEqual({});
  });

  test("reaches whoever has the VM now, which says so and does nothing", async () => {
    const pingVm = vi.fn(() => pong);
    const { broker, kvm1, kvm2, callee } = await scene({ pingVm });
    const kvm3 = new TestManager(broker, "kvm3", { handlers: { pingVm } });
    await kvm2.letGo(web1);
    await kvm3.hold(web1);
    const failure = await failureOf(kvm1.outgoing.ask(callee, asking("pingVm"), reading()));
    expect(failure).toBeInstanceOf(MisdirectedError);
    expect(failure).toMatchObject({ now: kvm3.peer });
    expect(pingVm).not.toHaveBeenCalled();
  });

  test("between managers is answered by its handler there", async () => {
    const broker = new MemoryBroker();
    const kvm1 = new TestManager(broker, "kvm1");
    const yielded = vi.fn(() => ({ isYielded: true, strength: 1 }));
    const kvm2 = new TestManager(broker, "kvm2", { peerHandlers: { yield: yielded } });
    const params = { vm: web1.id, strength: 3 };
    const answer = await kvm1.outgoing.askPeer(kvm2.byItself, "yield", params, reading());
    expect(answer).toEqual({ isYielded: true, strength: 1 });
    expect(yielded).toHaveBeenCalledWith(params, kvm1.peer);
  });

  test("between managers is checked before, and its answer after", async () => {
    const broker = new MemoryBroker();
    const kvm1 = new TestManager(broker, "kvm1");
    const yielded = vi.fn(() => ({ isYielded: "yes" }) as never);
    const kvm2 = new TestManager(broker, "kvm2", { peerHandlers: { yield: yielded } });
    const tooStrong = { vm: web1.id, strength: 4 };
    const refused = await failureOf(kvm1.outgoing.askPeer(kvm2.byItself, "yield", tooStrong, reading()));
    expect(refused).toMatchObject({ code: "usage", message: expect.stringContaining("params: strength: ") as string });
    expect(yielded).not.toHaveBeenCalled();
    const fine = { vm: web1.id, strength: 3 };
    const odd = await failureOf(kvm1.outgoing.askPeer(kvm2.byItself, "yield", fine, reading()));
    expect(odd).toMatchObject({ code: "failed", message: expect.stringContaining("isYielded: ") as string });
  });
});

describe("a stream of another manager", () => {
  test("has its handler's events in their order, and its end", async () => {
    async function* watchKeys() {
      await Promise.resolve();
      for (let revision = 1; revision <= 200; revision += 1) yield changed(revision);
    }
    const { kvm1, kvm2, callee } = await scene({ watchKeys });
    const events = await collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading()));
    expect(events).toEqual(Array.from({ length: 200 }, (_, index) => changed(index + 1)));
    await vi.waitUntil(() => kvm2.incoming.size === 0);
    expect(kvm1.outgoing.size).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("is asked for no more than there is room for while nobody reads it", async () => {
    const { told, watchKeys } = endless();
    const { kvm1, callee } = await scene({ watchKeys });
    const events = kvm1.outgoing.stream(callee, asking("watchKeys"), reading())[Symbol.asyncIterator]();
    await take(events, 1);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told.count).toBeLessThanOrEqual(STREAM_WINDOW + 1);
    await take(events, 5 * STREAM_WINDOW);
    expect(told.count).toBeGreaterThan(5 * STREAM_WINDOW);
    await events.return(undefined);
  });

  test("in which nothing happens goes on for as long as both are there", async () => {
    const { watchKeys } = silent();
    const { kvm1, kvm2, callee } = await scene({ watchKeys });
    let isOver = false;
    const work = failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading())));
    void work.then(() => (isOver = true));
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(isOver).toBe(false);
    expect(kvm2.incoming.size).toBe(1);
    kvm2.transport.disconnect("the test is over");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(isOver).toBe(true);
  });

  test("ends there when whoever reads it has enough", async () => {
    const { told, watchKeys } = endless();
    const { kvm1, kvm2, callee } = await scene({ watchKeys });
    for await (const event of kvm1.outgoing.stream(callee, asking("watchKeys"), reading())) {
      if (event.id === changed(3).id) break;
    }
    await vi.waitUntil(() => told.isEnded && kvm2.incoming.size === 0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("ends there and here with the signal's reason when it is aborted", async () => {
    const { seen, watchKeys } = silent();
    const { kvm1, kvm2, callee } = await scene({ watchKeys });
    const stopping = new AbortController();
    const stream = kvm1.outgoing.stream(callee, asking("watchKeys"), reading({ signal: stopping.signal }));
    const work = failureOf(collected(stream));
    await vi.waitUntil(() => seen.signal !== undefined);
    const reason = new CommandError("unreachable", "the client went away");
    stopping.abort(reason);
    await expect(work).resolves.toBe(reason);
    await vi.waitUntil(() => kvm2.incoming.size === 0);
    expect(seen.signal?.aborted).toBe(true);
  });

  test("tells what was sent before it failed, and then what it failed with", async () => {
    async function* watchKeys() {
      yield changed(1);
      await Promise.resolve();
      throw new CommandError("failed", "the VM was forgotten", { unknownVm: true });
    }
    const { kvm1, callee } = await scene({ watchKeys });
    const events = kvm1.outgoing.stream(callee, asking("watchKeys"), reading())[Symbol.asyncIterator]();
    await vi.advanceTimersByTimeAsync(1);
    await expect(take(events, 1)).resolves.toEqual([changed(1)]);
    const failure = await failureOf(events.next());
    expect(failure).toMatchObject({ code: "failed", message: "the VM was forgotten", details: { unknownVm: true } });
  });

  test("is lost when the manager that tells it is gone", async () => {
    const { watchKeys } = silent();
    const { broker, kvm1, kvm2, callee } = await scene({ watchKeys });
    const work = failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading())));
    await vi.waitUntil(() => kvm2.incoming.size === 1);
    broker.drop(kvm2.transport);
    await vi.advanceTimersByTimeAsync(2_500);
    await expect(work).resolves.toMatchObject({
      code: "unreachable",
      message: "the manager on kvm2 vanished in the middle of a stream",
      details: { isLost: true, host: "kvm2" },
    });
    expect(kvm1.gone).toContain(kvm2.peer.id);
  });

  test("ends at the manager that tells it when the one that reads it is gone", async () => {
    const { seen, watchKeys } = silent();
    const { broker, kvm1, kvm2, callee } = await scene({ watchKeys });
    const work = failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading())));
    await vi.waitUntil(() => seen.signal !== undefined);
    broker.drop(kvm1.transport);
    await vi.advanceTimersByTimeAsync(5_500);
    expect(seen.signal?.aborted).toBe(true);
    expect(kvm2.incoming.size).toBe(0);
    kvm1.transport.disconnect("the test is over");
    await work;
  });

  test("is lost here when our connection is, and there within seconds", async () => {
    const { seen, watchKeys } = silent();
    const { kvm1, callee } = await scene({ watchKeys });
    const work = failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading())));
    await vi.waitUntil(() => seen.signal !== undefined);
    kvm1.transport.disconnect("the broker closed it");
    await expect(work).resolves.toMatchObject({ code: "unreachable", details: { isLost: true, host: "kvm2" } });
    await vi.advanceTimersByTimeAsync(5_500);
    expect(seen.signal?.aborted).toBe(true);
  });

  test("is found lost when the one that tells it lost its connection for a moment", async () => {
    const { watchKeys } = silent();
    const { kvm1, kvm2, callee } = await scene({ watchKeys });
    const work = failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading())));
    await vi.waitUntil(() => kvm2.incoming.size === 1);
    kvm2.transport.disconnect("the broker closed it");
    kvm2.transport.reconnect();
    await vi.advanceTimersByTimeAsync(5_500);
    await expect(work).resolves.toMatchObject({ code: "unreachable", details: { isLost: true, host: "kvm2" } });
  });

  test("whose event is lost on the way is lost, and ended there", async () => {
    const { told, watchKeys } = endless();
    const { broker, kvm1, kvm2, callee } = await scene({ watchKeys });
    broker.fateOf = (message) => (message.type === "event" && message.number === 5 ? "is lost" : "arrives");
    const events = kvm1.outgoing.stream(callee, asking("watchKeys"), reading())[Symbol.asyncIterator]();
    await expect(take(events, 4)).resolves.toHaveLength(4);
    await expect(failureOf(events.next())).resolves.toMatchObject({
      code: "unreachable",
      message: "events of a stream of the manager on kvm2 were lost on the way",
      details: { isLost: true, host: "kvm2" },
    });
    await vi.waitUntil(() => told.isEnded && kvm2.incoming.size === 0);
  });

  test("of which events come twice has each once", async () => {
    async function* watchKeys() {
      await Promise.resolve();
      for (let revision = 1; revision <= 50; revision += 1) yield changed(revision);
    }
    const { broker, kvm1, callee } = await scene({ watchKeys });
    broker.fateOf = () => "arrives twice";
    const events = await collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading()));
    expect(events).toHaveLength(50);
  });

  test("of which nothing is heard though it could be is lost in the end, on both sides", async () => {
    const { seen, watchKeys } = silent();
    const { broker, kvm1, kvm2, callee } = await scene({ watchKeys });
    const work = failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading())));
    await vi.waitUntil(() => seen.signal !== undefined);
    await vi.advanceTimersByTimeAsync(1_000);
    broker.fateOf = () => "is lost";
    await vi.advanceTimersByTimeAsync(30_000);
    await expect(work).resolves.toMatchObject({
      message: "nothing was heard of the manager on kvm2 for 20 s",
      details: { isLost: true, host: "kvm2" },
    });
    expect(seen.signal?.aborted).toBe(true);
    expect(kvm2.incoming.size).toBe(0);
  });

  test("of a VM that moves away is ended with word of where it is", async () => {
    const { watchKeys } = silent();
    const { kvm1, kvm2, callee } = await scene({ watchKeys });
    const work = failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading())));
    await vi.waitUntil(() => kvm2.whereabouts.listening === 1);
    kvm2.whereabouts.set(web1.id, { type: "elsewhere", vm: web1, peer: kvm1.peer });
    await expect(work).resolves.toMatchObject({ code: "unreachable", details: { isMoved: true, host: "kvm1" } });
    expect(kvm2.whereabouts.listening).toBe(0);
  });

  test("of a VM that two managers see run is ended with that conflict", async () => {
    const { watchKeys } = silent();
    const { kvm1, kvm2, callee } = await scene({ watchKeys });
    const work = failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading())));
    await vi.waitUntil(() => kvm2.whereabouts.listening === 1);
    kvm2.whereabouts.set(web1.id, { type: "contested", vm: web1, peer: kvm1.peer });
    await expect(work).resolves.toMatchObject({ code: "conflict", details: { hosts: ["kvm2", "kvm1"] } });
  });

  test("is told why when the manager that tells it stops", async () => {
    const { watchKeys } = silent();
    const { kvm1, kvm2, callee } = await scene({ watchKeys });
    const work = failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading())));
    await vi.waitUntil(() => kvm2.incoming.size === 1);
    const closed = kvm2.incoming.close();
    await expect(work).resolves.toMatchObject({
      code: "unreachable",
      message: "the manager on kvm2 stops",
      details: { isLost: true, host: "kvm2" },
    });
    await closed;
    for (const later of [
      await failureOf(kvm1.outgoing.ask(callee, asking("pingVm"), reading())),
      await failureOf(collected(kvm1.outgoing.stream(callee, asking("watchKeys"), reading()))),
    ]) {
      expect(later).toMatchObject({ code: "unreachable", message: "the manager stops; try again", details: {} });
    }
  });
});

describe("a manager that stops", () => {
  test("lets a change that runs come to its end, and says what became of it", async () => {
    const { promise, resolve } = Promise.withResolvers<Record<string, never>>();
    const { kvm1, kvm2, callee } = await scene({ forgetVm: () => promise });
    const change = kvm1.outgoing.ask(callee, asking("forgetVm"), changing());
    await vi.waitUntil(() => kvm2.incoming.size === 1);
    const closed = kvm2.incoming.close();
    await vi.advanceTimersByTimeAsync(4_000);
    resolve({});
    await expect(change).resolves.toEqual({});
    await closed;
  });

  test("does not wait for ever", async () => {
    const never = new Promise<never>(() => undefined);
    const { kvm1, kvm2, callee } = await scene({ forgetVm: () => never });
    const change = failureOf(kvm1.outgoing.ask(callee, asking("forgetVm"), changing()));
    await vi.waitUntil(() => kvm2.incoming.size === 1);
    const closed = kvm2.incoming.close();
    await vi.advanceTimersByTimeAsync(6_000);
    await closed;
    await vi.advanceTimersByTimeAsync(2_000);
    await expect(change).resolves.toMatchObject({ code: "unconfirmed" });
  });
});
