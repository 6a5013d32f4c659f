import { afterEach, describe, expect, test, vi } from "vitest";
import type { Event } from "../../../../manager/events/event.ts";
import { managerEvent, vmEvent } from "../../../../manager/events/event.ts";
import { type Mail, MailError } from "../../../../manager/sinks/mailer.ts";
import { MailSink } from "../../../../manager/sinks/mail-sink.ts";
import { newRateLimits } from "../../../../manager/sinks/rate-limits.ts";

const NOW = Date.UTC(2026, 0, 15, 12);
const HOUR_MS = 3_600_000;
const { signal } = new AbortController();

const web1 = { id: "172dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web1" };
const web2 = { id: "272dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web2" };

function stopped(position: number, vm = web1): Event {
  const event = vmEvent("VM.STOPPED", vm, NOW, { oldState: "Running", newState: "Stopped", data: { reason: "asked" } });
  return { ...event, id: `event-${position}`, sequence: position, position };
}

const sinks: MailSink[] = [];

afterEach(async () => {
  vi.useRealTimers();
  for (const sink of sinks.splice(0)) await sink.close();
});

/** Answers each mail with the next of these, then with success. */
function openSink(...failures: (Error | undefined)[]) {
  const sent: Mail[] = [];
  const clock = { now: NOW };
  const send = vi.fn((mail: Mail) => {
    const failure = failures.shift();
    if (failure !== undefined) return Promise.reject(failure);
    sent.push(mail);
    return Promise.resolve();
  });
  const check = vi.fn(() => Promise.resolve());
  const { mails: limit } = newRateLimits();
  const mailer = { send, check };
  const sink = new MailSink({ to: ["ops@example.com"], mailer, host: "host1", limit, now: () => clock.now });
  const other = new MailSink({ to: ["OPS@example.com"], mailer, host: "host1", limit, now: () => clock.now });
  sinks.push(sink, other);
  const outcomes = async (...events: Event[]) => (await sink.deliver(events, signal)).map(({ outcome }) => outcome);
  return { sink, other, sent, send, check, clock, outcomes };
}

describe("an event's mail", () => {
  test("says in the subject what happened to which VM, and names the event where programs look", async () => {
    const { sent, outcomes } = openSink();
    expect(await outcomes(stopped(7))).toEqual([{ type: "delivered" }]);
    expect(sent[0]).toMatchObject({
      to: ["ops@example.com"],
      subject: "[vmmessage] VM.STOPPED web1: Running -> Stopped",
      messageId: "event-7",
      headers: { "X-Vmmessage-Event-Id": "event-7", "Auto-Submitted": "auto-generated" },
    });
  });

  test("has all of the event in words, and as CloudEvents' JSON at its end", async () => {
    const { sent, outcomes } = openSink();
    await outcomes(stopped(7));
    const text = sent[0]?.text ?? "";
    for (const line of [
      "Event:       VM.STOPPED (ResourceStateEvent)",
      "Time:        2026-01-15T12:00:00.000Z",
      "Host:        host1",
      `Of:          VirtualMachine web1 ${web1.id}`,
      "State:       Running -> Stopped",
      "Number:      7 of this resource",
      "reason:      asked",
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    expect(JSON.parse(text.slice(text.indexOf("\n{")))).toMatchObject({
      id: "event-7",
      type: "org.vmmessage.VM.STOPPED",
      subject: web1.id,
      data: { resourceName: "web1", oldState: "Running", newState: "Stopped", reason: "asked" },
    });
  });

  test("of the manager itself names no VM", async () => {
    const { sent, outcomes } = openSink();
    const event = managerEvent("SINK.DISABLED", NOW, { data: { sink: "config:ops" } });
    await outcomes({ ...event, id: "e", sequence: 1, position: 1 });
    expect(sent[0]?.subject).toBe("[vmmessage] SINK.DISABLED");
  });

  test("escapes what a guest or a name would have a terminal do, and its JSON means the same", async () => {
    const { sent, outcomes } = openSink();
    const evil = { ...web1, name: "web\u001b]0;x\u0007\r\n{" };
    await outcomes(stopped(1, evil));
    const text = sent[0]?.text ?? "";
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    const json = JSON.parse(text.slice(text.indexOf("\n{\n"))) as { data: { resourceName: string } };
    expect(json.data.resourceName).toBe(evil.name);
  });
});

describe("a mail that is not taken", () => {
  const deferred = new MailError("deferred", "try later", 451);
  const refused = new MailError("refused", "no such user", 550);
  const away = new MailError("unreachable", "the mail server refused the connection");

  test("holds back the later ones of its VM alone when it may be taken later", async () => {
    const { outcomes } = openSink(deferred);
    expect(await outcomes(stopped(1), stopped(2), stopped(1, web2))).toEqual([
      { type: "failed", reason: "try later", status: 451 },
      { type: "held" },
      { type: "delivered" },
    ]);
  });

  test("is a dead letter when it never will be, and the next goes on", async () => {
    const { outcomes } = openSink(refused);
    expect(await outcomes(stopped(1), stopped(2))).toEqual([
      { type: "rejected", reason: "no such user", status: 550 },
      { type: "delivered" },
    ]);
  });

  test("is nobody's fault when the server is away: nothing more is tried, and the sink says why", async () => {
    const { sink, send, outcomes } = openSink(undefined, away);
    const unavailable = { type: "unavailable", reason: away.message };
    expect(await outcomes(stopped(1), stopped(2), stopped(1, web2))).toEqual([
      { type: "delivered" },
      unavailable,
      unavailable,
    ]);
    expect(send).toHaveBeenCalledTimes(2);
    expect(sink.connection()).toEqual({ state: "disconnected", reason: away.message });
    await outcomes(stopped(2));
    expect(sink.connection()).toEqual({ state: "idle" });
  });
});

describe("the sink", () => {
  test("asks the server when it starts, so that trouble is seen before the first event", async () => {
    const { sink, check } = openSink();
    check.mockRejectedValueOnce(new MailError("unreachable", "no server"));
    sink.start();
    await vi.waitFor(() => {
      expect(sink.connection()).toEqual({ state: "disconnected", reason: "no server" });
    });
  });

  test("asks a server that is away again and again, until it is back", async () => {
    vi.useFakeTimers();
    const { sink, check } = openSink();
    check.mockRejectedValue(new MailError("unreachable", "no server"));
    sink.start();
    await vi.advanceTimersByTimeAsync(1_000 + 2_000 + 4_000);
    expect(check).toHaveBeenCalledTimes(4);
    await vi.advanceTimersByTimeAsync(3_600_000);
    const asked = check.mock.calls.length;
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(check.mock.calls.length - asked).toBe(12);
    expect(sink.connection()).toEqual({ state: "disconnected", reason: "no server" });
    check.mockResolvedValue();
    await vi.advanceTimersByTimeAsync(300_000);
    expect(sink.connection()).toEqual({ state: "idle" });
    expect(vi.getTimerCount()).toBe(0);
  });

  test("asks again also when it was a delivery that did not find the server", async () => {
    vi.useFakeTimers();
    const { sink, outcomes } = openSink(new MailError("unreachable", "no server"));
    await outcomes(stopped(1));
    expect(sink.connection()).toMatchObject({ state: "disconnected" });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sink.connection()).toEqual({ state: "idle" });
  });

  test("asks no more when it is closed", async () => {
    vi.useFakeTimers();
    const { sink, check } = openSink();
    check.mockRejectedValue(new MailError("unreachable", "no server"));
    sink.start();
    await vi.advanceTimersByTimeAsync(0);
    await sink.close();
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(check).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  test.each([new MailError("deferred", "try later", 451), new MailError("refused", "no such user", 550)])(
    "is connected to a server that answers, though it says '$message'",
    async (answer) => {
      const { sink, check, outcomes } = openSink(answer);
      check.mockRejectedValue(new MailError("unreachable", "no server"));
      sink.start();
      await vi.waitFor(() => {
        expect(sink.connection()).toMatchObject({ state: "disconnected" });
      });
      await outcomes(stopped(1));
      expect(sink.connection()).toEqual({ state: "idle" });
    },
  );

  test("shares its hour with the others that send to the same address", async () => {
    const { other, outcomes } = openSink();
    for (let position = 1; position <= 60; position += 1) await outcomes(stopped(position));
    const [attempted] = await other.deliver([stopped(61)], signal);
    expect(attempted?.outcome).toMatchObject({ type: "unavailable" });
  });

  test("counts no mail that was not taken", async () => {
    const { outcomes } = openSink(...Array.from({ length: 60 }, () => new MailError("deferred", "try later", 451)));
    for (let position = 1; position <= 61; position += 1) await outcomes(stopped(position));
    expect(await outcomes(stopped(62))).toEqual([{ type: "delivered" }]);
  });

  test("sends at most 60 mails in an hour; what is more waits and is not lost", async () => {
    const { sent, clock, outcomes } = openSink();
    for (let position = 1; position <= 60; position += 1) await outcomes(stopped(position));
    clock.now += 1_000;
    const reason = "60 mails were sent within an hour; the next is after 2026-01-15T13:00:00.000Z";
    expect(await outcomes(stopped(61), stopped(1, web2))).toEqual([
      { type: "unavailable", reason },
      { type: "unavailable", reason },
    ]);
    expect(sent).toHaveLength(60);
    clock.now = NOW + HOUR_MS;
    expect(await outcomes(stopped(61))).toEqual([{ type: "delivered" }]);
  });
});
