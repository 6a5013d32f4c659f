import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Callee, MisdirectedError } from "../../../../../manager/peers/caller.ts";
import { OutgoingCalls } from "../../../../../manager/peers/calls/outgoing-calls.ts";
import type { Passing } from "../../../../../manager/peers/transport.ts";
import {
  type ForCaller,
  STREAM_WINDOW,
  type WireMessage,
  wireMessage,
  type WireRequest,
} from "../../../../../manager/peers/wire.ts";
import { CommandError } from "../../../../../shared/cli/failure.ts";
import { MemoryBroker, newPeer } from "../memory-broker.ts";
import { asking, changed, changing, collected, failureOf, pong, reading, web1 } from "./calls-scene.ts";

const NOW = 1_800_000_000_000;

beforeEach(() => {
  vi.useFakeTimers({
    now: NOW,
    toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"],
  });
});

afterEach(() => {
  vi.useRealTimers();
});

/** kvm1 asks; kvm2 has web1 and says what a test has it say. */
async function scene() {
  const broker = new MemoryBroker();
  const kvm1 = broker.join(newPeer("kvm1"));
  const kvm2 = broker.join(newPeer("kvm2"));
  const gone: string[] = [];
  const calls = new OutgoingCalls({ transport: kvm1, onGone: (peerId) => gone.push(peerId) });
  kvm1.start({
    received: () => undefined,
    connected: () => undefined,
    disconnected: (reason) => {
      calls.disconnected(reason);
    },
    lost: () => undefined,
  });
  const heard: WireMessage[] = [];
  kvm2.start({
    received: (message) => heard.push(message),
    connected: () => undefined,
    disconnected: () => undefined,
    lost: () => undefined,
  });
  await kvm2.claim(web1.id);
  const byVm: Callee = { peer: kvm2.self, by: { type: "vm", id: web1.id } };
  const byItself: Callee = { peer: kvm2.self, by: { type: "manager", id: kvm2.self.id } };
  const request = async (): Promise<WireRequest> => {
    return await vi.waitUntil(() => heard.find((message) => message.type === "request"));
  };
  const say = (message: ForCaller, from = kvm2.self): void => {
    calls.take(message, from);
  };
  const heardOf = (type: WireMessage["type"]) => heard.filter((message) => message.type === type);
  return { broker, kvm1, kvm2, calls, gone, heard, heardOf, byVm, byItself, request, say };
}

describe("a request", () => {
  test("says whom it is for, and till when it may be executed: not as long as its answer may take", async () => {
    const { calls, byVm, kvm2, request, say } = await scene();
    const work = calls.ask(byVm, asking("pingVm"), reading({ timeoutMs: 3_600_000 }));
    const message = await request();
    expect(message).toMatchObject({ to: kvm2.self.id, call: { kind: "api", asked: { endpoint: "pingVm" } } });
    expect(message.expiresAt).toBe(NOW + 60_000);
    expect(wireMessage.safeParse(message).success).toBe(true);
    say({ type: "answer", of: message.id, answer: pong });
    await expect(work).resolves.toEqual(pong);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("is a whole number of milliseconds good, whatever is left of its caller's time", async () => {
    const { calls, byVm, request, say } = await scene();
    const work = calls.ask(byVm, asking("pingVm"), reading({ timeoutMs: 1_000.25 }));
    const message = await request();
    expect(message.expiresAt).toBe(NOW + 1_001);
    say({ type: "answer", of: message.id, answer: pong });
    await work;
  });

  test("by a VM that nobody has was for nobody, and its manager is not taken for gone", async () => {
    const { calls, byVm, kvm2, gone } = await scene();
    await kvm2.release(web1.id);
    const failure = await failureOf(calls.ask(byVm, asking("pingVm"), reading()));
    expect(failure).toBeInstanceOf(MisdirectedError);
    expect(failure).toMatchObject({ now: undefined });
    expect(gone).toEqual([]);
  });

  test("to a manager that is gone says so, and that it is", async () => {
    const { broker, calls, byItself, kvm2, gone } = await scene();
    broker.drop(kvm2);
    await expect(failureOf(calls.ask(byItself, asking("listVms"), changing()))).resolves.toMatchObject({
      code: "unreachable",
      message: "the manager on kvm2 is gone",
      details: { host: "kvm2" },
    });
    expect(gone).toEqual([kvm2.self.id]);
  });

  test("that cannot be sent fails at once with the reason, and was not done", async () => {
    const { calls, byVm, kvm1 } = await scene();
    kvm1.disconnect("connecting to broker:5671");
    await expect(failureOf(calls.ask(byVm, asking("sendMessage"), changing()))).resolves.toMatchObject({
      code: "unreachable",
      message: "the manager on kvm2 cannot be asked: connecting to broker:5671",
    });
  });

  test("that the broker did not confirm is answered all the same, if it arrived", async () => {
    const { broker, calls, byVm, request, say } = await scene();
    broker.fateOf = () => "is unconfirmed and arrives";
    const work = calls.ask(byVm, asking("pingVm"), reading());
    say({ type: "answer", of: (await request()).id, answer: pong });
    await expect(work).resolves.toEqual(pong);
  });

  test.each([
    [true, "unconfirmed", "the manager on kvm2 did not answer within 8 s; it may or may not be done"],
    [false, "unreachable", "the manager on kvm2 did not answer within 8 s"],
  ] as const)("without an answer (a change: %s) is %s", async (isChange, code, message) => {
    const { broker, calls, byVm, heardOf } = await scene();
    broker.fateOf = (sent) => (sent.type === "request" ? "is unconfirmed and lost" : "arrives");
    const work = failureOf(calls.ask(byVm, asking("pingVm"), reading({ isChange })));
    await vi.advanceTimersByTimeAsync(8_000);
    await expect(work).resolves.toMatchObject({ code, message, details: { host: "kvm2" } });
    expect(heardOf("cancel")).toHaveLength(1);
    expect(calls.size).toBe(0);
  });

  test.each([
    [true, "unconfirmed", "the manager on kvm2 vanished before it answered; it may or may not be done"],
    [false, "unreachable", "the manager on kvm2 vanished before it answered"],
  ] as const)("to a manager that vanishes (a change: %s) is %s within seconds", async (isChange, code, message) => {
    const { broker, calls, byVm, kvm2, request, gone } = await scene();
    const work = failureOf(calls.ask(byVm, asking("pingVm"), reading({ isChange, timeoutMs: 3_600_000 })));
    await request();
    broker.drop(kvm2);
    await vi.advanceTimersByTimeAsync(2_000);
    await expect(work).resolves.toMatchObject({ code, message, details: { host: "kvm2" } });
    expect(gone).toEqual([kvm2.self.id]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("that is sent while its manager is looked for does not vanish with those before it", async () => {
    const { kvm1, byItself, kvm2 } = await scene();
    const found = Promise.withResolvers<Passing>();
    const calls = new OutgoingCalls({
      transport: {
        self: kvm1.self,
        send: (to, message) => {
          return message.type === "alive" ? found.promise : kvm1.send(to, message);
        },
      },
      onGone: () => undefined,
    });
    const before = failureOf(calls.ask(byItself, asking("pingVm"), reading({ timeoutMs: 3_600_000 })));
    await vi.advanceTimersByTimeAsync(2_000);
    const since = calls.ask(byItself, asking("pingVm"), reading());
    await vi.advanceTimersByTimeAsync(1);
    found.resolve({ type: "nobody" });
    await expect(before).resolves.toMatchObject({ code: "unreachable" });
    expect(calls.size).toBe(1);
    calls.gone(kvm2.self.id);
    await expect(since).rejects.toMatchObject({ code: "unreachable" });
  });

  test("fails at once when it is said that its manager is gone", async () => {
    const { calls, byVm, kvm2, request } = await scene();
    const work = failureOf(calls.ask(byVm, asking("sendMessage"), changing()));
    await request();
    calls.gone(kvm2.self.id);
    await expect(work).resolves.toMatchObject({ code: "unconfirmed" });
  });

  test.each([
    [true, "unconfirmed"],
    [false, "unreachable"],
  ] as const)("is %s of a change, %s, when our own connection ends", async (isChange, code) => {
    const { calls, byVm, kvm1, request } = await scene();
    const work = failureOf(calls.ask(byVm, asking("pingVm"), reading({ isChange })));
    await request();
    kvm1.disconnect("ECONNRESET");
    await expect(work).resolves.toMatchObject({ code, message: expect.stringContaining("ECONNRESET") as string });
  });

  test("that is on its way when the connection ends is lost when it may have arrived, and not when it was not sent", async () => {
    const { broker, calls, byVm } = await scene();
    for (const [passing, code] of [
      [{ type: "unconfirmed", reason: "ECONNRESET" }, "unconfirmed"],
      [{ type: "not-sent", reason: "ECONNRESET" }, "unreachable"],
    ] as const) {
      const work = failureOf(calls.ask(byVm, asking("sendMessage"), changing()));
      broker.pass = () => {
        calls.disconnected("ECONNRESET");
        return passing;
      };
      await expect(work).resolves.toMatchObject({ code });
    }
  });

  test("whose signal is aborted rejects with its reason, and tells the other manager", async () => {
    const { calls, byVm, request, heardOf, kvm2 } = await scene();
    const stopping = new AbortController();
    const work = failureOf(calls.ask(byVm, asking("pingVm"), reading({ signal: stopping.signal })));
    const { id } = await request();
    const reason = new CommandError("unreachable", "the client went away");
    stopping.abort(reason);
    await expect(work).resolves.toBe(reason);
    await vi.waitUntil(() => heardOf("cancel").length > 0);
    expect(heardOf("cancel")).toEqual([{ type: "cancel", of: id, to: kvm2.self.id }]);
  });

  test("whose signal is aborted already is not sent", async () => {
    const { calls, byVm, heard } = await scene();
    const reason = new CommandError("unreachable", "the client went away");
    const signal = AbortSignal.abort(reason);
    await expect(failureOf(calls.ask(byVm, asking("pingVm"), reading({ signal })))).resolves.toBe(reason);
    const stream = calls.stream(byVm, asking("watchKeys"), reading({ signal }));
    await expect(failureOf(collected(stream))).resolves.toBe(reason);
    expect(heard).toEqual([]);
  });

  test("is answered by the asked manager alone", async () => {
    const { calls, byVm, request, say } = await scene();
    const work = calls.ask(byVm, asking("pingVm"), reading());
    const { id } = await request();
    const stranger = newPeer("kvm2");
    say({ type: "answer", of: id, answer: "forged" }, stranger);
    say({ type: "problem", of: id, problem: { code: "failed", detail: "forged" } }, stranger);
    say({ type: "answer", of: id, answer: pong });
    say({ type: "answer", of: id, answer: "again" });
    await expect(work).resolves.toEqual(pong);
  });

  test("by a VM is misdirected by whoever has the VM; one to a manager by that manager alone", async () => {
    const { calls, byVm, byItself, request, say, heard } = await scene();
    const kvm3 = newPeer("kvm3");
    const moved = failureOf(calls.ask(byVm, asking("pingVm"), reading()));
    say({ type: "misdirected", of: (await request()).id, holds: true }, kvm3);
    await expect(moved).resolves.toMatchObject({ name: "MisdirectedError", now: kvm3 });
    heard.length = 0;
    const work = calls.ask(byItself, asking("listVms"), reading());
    const { id } = await request();
    say({ type: "misdirected", of: id, holds: true }, kvm3);
    say({ type: "answer", of: id, answer: { vms: [] } });
    await expect(work).resolves.toEqual({ vms: [] });
  });

  test("is one of ten thousand at most", async () => {
    vi.useRealTimers();
    const { calls, byVm, kvm2, heardOf } = await scene();
    const works = Array.from({ length: 10_000 }, () => failureOf(calls.ask(byVm, asking("pingVm"), reading())));
    await expect(failureOf(calls.ask(byVm, asking("pingVm"), reading()))).resolves.toMatchObject({
      code: "unreachable",
      message: "there are 10000 requests to other managers in progress here; try again",
    });
    await vi.waitUntil(() => heardOf("request").length === 10_000);
    calls.gone(kvm2.self.id);
    await Promise.all(works);
    expect(calls.size).toBe(0);
  });
});

describe("a stream", () => {
  test("that is served may have nothing to tell for longer than its first word may take", async () => {
    const { calls, byVm, request, say } = await scene();
    const events = calls.stream(byVm, asking("watchKeys"), reading())[Symbol.asyncIterator]();
    const first = events.next();
    const { id } = await request();
    say({ type: "begun", of: id });
    await vi.advanceTimersByTimeAsync(15_000);
    say({ type: "event", of: id, number: 1, ...changed(7) });
    await expect(first).resolves.toEqual({ value: changed(7), done: false });
    await events.return(undefined);
  });

  test("that is not served in time may have been begun, and is cancelled", async () => {
    const { calls, byVm, request, heardOf } = await scene();
    const work = failureOf(collected(calls.stream(byVm, asking("sendFleet"), reading())));
    await request();
    await vi.advanceTimersByTimeAsync(8_000);
    const details = { isLost: true, host: "kvm2" };
    const message = "the manager on kvm2 did not answer within 8 s";
    await expect(work).resolves.toMatchObject({ code: "unreachable", message, details });
    expect(heardOf("cancel")).toHaveLength(1);
  });

  test("that is served is not taken for misdirected by whoever got a copy of its request", async () => {
    const { calls, byVm, request, say } = await scene();
    const work = collected(calls.stream(byVm, asking("watchKeys"), reading()));
    const { id } = await request();
    say({ type: "begun", of: id });
    say({ type: "misdirected", of: id, holds: true }, newPeer("kvm3"));
    say({ type: "end", of: id, number: 1 });
    await expect(work).resolves.toEqual([]);
  });

  test("that sends more than it was asked for is cut off", async () => {
    const { calls, byVm, request, say, heardOf } = await scene();
    const events = calls.stream(byVm, asking("watchKeys"), reading())[Symbol.asyncIterator]();
    const first = events.next();
    const { id } = await request();
    for (let number = 1; number <= 2 * STREAM_WINDOW; number += 1) {
      say({ type: "event", of: id, number, ...changed(number) });
    }
    await first;
    const failure = await failureOf(
      (async () => {
        for (;;) if ((await events.next()).done === true) return;
      })(),
    );
    expect(failure).toMatchObject({ message: "the manager on kvm2 sends more than it was asked for" });
    await vi.waitUntil(() => heardOf("cancel").length > 0);
  });

  test("whose end says that there was more is lost", async () => {
    const { calls, byVm, request, say } = await scene();
    const work = failureOf(collected(calls.stream(byVm, asking("watchKeys"), reading())));
    say({ type: "end", of: (await request()).id, number: 2 });
    await expect(work).resolves.toMatchObject({ code: "unreachable", details: { isLost: true } });
  });

  test("gives credit as it is read, and again every five seconds", async () => {
    const { calls, byVm, request, say, heardOf, kvm2 } = await scene();
    const events = calls.stream(byVm, asking("watchKeys"), reading())[Symbol.asyncIterator]();
    const first = events.next();
    const { id } = await request();
    say({ type: "begun", of: id });
    for (let number = 1; number <= STREAM_WINDOW; number += 1) {
      say({ type: "event", of: id, number, ...changed(number) });
    }
    await first;
    for (let count = 1; count <= STREAM_WINDOW / 2; count += 1) await events.next();
    await vi.waitUntil(() => heardOf("credit").length > 0);
    const credit = { type: "credit", of: id, to: kvm2.self.id, until: 1.5 * STREAM_WINDOW };
    expect(heardOf("credit")).toEqual([credit]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(heardOf("credit")).toEqual([credit, credit]);
    await events.return(undefined);
  });
});

test("whatever other managers say, nothing is thrown and every call comes to its end", async () => {
  const strangers = [newPeer("kvm2"), newPeer("kvm3")];
  const reply = fc.record({
    type: fc.constantFrom("answer", "problem", "misdirected", "begun", "event", "end", "alive"),
    of: fc.nat(3),
    from: fc.nat(2),
    number: fc.nat(4),
    holds: fc.boolean(),
    answer: fc.anything(),
    data: fc.anything(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(reply, { maxLength: 30 }), async (replies) => {
      const { calls, byVm, byItself, kvm2, heard } = await scene();
      const works = [
        calls.ask(byVm, asking("pingVm"), reading()),
        calls.askPeer(byItself, "yield", { vm: web1.id, strength: 1 }, reading()),
        collected(calls.stream(byVm, asking("watchKeys"), reading())),
      ].map((work) =>
        work.then(
          () => "settled",
          () => "settled",
        ),
      );
      await vi.advanceTimersByTimeAsync(0);
      expect(heard).toHaveLength(3);
      const ids = heard.flatMap((message) => (message.type === "request" ? [message.id] : []));
      for (const { of, from, ...parts } of replies) {
        const problem = { code: "failed", detail: "no" };
        const message = {
          ...parts,
          of: ids[of] ?? "0".repeat(32),
          event: "changed",
          problem,
        } as unknown as ForCaller;
        calls.take(message, [kvm2.self, ...strangers][from] ?? kvm2.self);
      }
      calls.gone(kvm2.self.id);
      await vi.advanceTimersByTimeAsync(1);
      await expect(Promise.all(works)).resolves.toEqual(["settled", "settled", "settled"]);
      expect(calls.size).toBe(0);
      expect(vi.getTimerCount()).toBe(0);
    }),
    { numRuns: 100 },
  );
});
