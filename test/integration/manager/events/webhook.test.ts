/** Webhooks to real servers on loopback; what arrives is verified by the packages of Standard Webhooks and CloudEvents. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CloudEventV1, HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Event } from "../../../../manager/events/event.ts";
import type { Outcome } from "../../../../manager/sinks/sink.ts";
import { newSecret } from "../../../../manager/sinks/standard-webhooks.ts";
import { TargetGuard } from "../../../../manager/sinks/target-guard.ts";
import { WebhookSink, type WebhookSinkOptions } from "../../../../manager/sinks/webhook-sink.ts";
import { aborted } from "../../../../shared/abort.ts";
import { version } from "../../../../shared/version.ts";
import { HOST, nextEvent, nextEventOf, nextEvents, web1, web2 } from "../../../unit/manager/sinks/events.ts";
import { type Answer, WebhookReceiver } from "../../support/webhook-receiver.ts";
import { type Certificate, selfSigned } from "../cli/certificates.ts";

const never = new AbortController().signal;
let directory: string;
let certificate: Certificate;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-webhook-"));
  certificate = await selfSigned(directory, "receiver", "IP:127.0.0.1,DNS:hooks.example.com");
});

afterAll(async () => {
  await rm(directory, { recursive: true });
});

type Changes = Partial<WebhookSinkOptions>;

/** A receiver over HTTPS and a sink that may reach it, for as long as the test wants them. */
async function pair(
  changes: Changes = {},
  path = "/",
): Promise<{ receiver: WebhookReceiver; sink: WebhookSink } & AsyncDisposable> {
  const receiver = await WebhookReceiver.listen(certificate);
  const sink = sinkTo(receiver.url(path), changes);
  return {
    receiver,
    sink,
    async [Symbol.asyncDispose]() {
      await sink.close();
      await receiver[Symbol.asyncDispose]();
    },
  };
}

function sinkTo(url: string, changes: Changes = {}): WebhookSink {
  const defaults = {
    secrets: [],
    format: "cloudevents",
    guard: undefined,
    allowsHttp: false,
    ca: certificate.cert,
  } as const;
  return new WebhookSink({ url, host: HOST, ...defaults, ...changes });
}

async function outcomes(sink: WebhookSink, events: readonly Event[], signal = never): Promise<Outcome[]> {
  return (await sink.deliver(events, signal)).map(({ outcome }) => outcome);
}

async function outcome(sink: WebhookSink, event = nextEvent()): Promise<Outcome | undefined> {
  return (await outcomes(sink, [event]))[0];
}

describe("a webhook", () => {
  test("is a CloudEvent, signed so that who has the secret knows it is ours", async () => {
    const secret = newSecret();
    await using both = await pair({ secrets: [secret] }, "/hook?token=1");
    const event = nextEvent();
    expect(await outcome(both.sink, event)).toEqual({ type: "delivered", status: 204 });

    const [request] = both.receiver.requests;
    if (request === undefined) throw new Error("nothing arrived");
    expect(request).toMatchObject({ method: "POST", path: "/hook?token=1" });
    expect(request.headers).toMatchObject({ "user-agent": `vmmessaged/${version}`, "webhook-id": event.id });
    expect(request.headers).not.toHaveProperty("authorization");
    new Webhook(secret).verify(request.body, request.headers);
    const received = HTTP.toEvent({ headers: request.headers, body: request.body.toString() }) as CloudEventV1<unknown>;
    expect(received).toMatchObject({
      id: event.id,
      specversion: "1.0",
      source: `//${HOST}/management-server`,
      type: "org.vmmessage.VM.RUNNING",
      subject: web1.id,
      data: { oldState: "stopped", newState: "running" },
    });
  });

  test("is signed with both secrets while one replaces the other", async () => {
    const secrets = [newSecret(), newSecret()];
    await using both = await pair({ secrets });
    await outcome(both.sink);
    const [request] = both.receiver.requests;
    for (const secret of secrets) new Webhook(secret).verify(request?.body ?? "", request?.headers ?? {});
  });

  test("has the same id and a new time when it is tried again", async () => {
    await using both = await pair({ secrets: [newSecret()] });
    both.receiver.answer({ status: 500 });
    const event = nextEvent();
    vi.useFakeTimers({ toFake: ["Date"], now: 1_800_000_000_000 });
    try {
      expect(await outcome(both.sink, event)).toEqual({ type: "failed", status: 500, reason: "it answered 500" });
      vi.setSystemTime(1_800_000_005_000);
      expect(await outcome(both.sink, event)).toMatchObject({ type: "delivered" });
    } finally {
      vi.useRealTimers();
    }
    expect(both.receiver.ids).toEqual([event.id, event.id]);
    const [first, second] = both.receiver.requests.map(({ headers }) => headers);
    expect([first?.["webhook-timestamp"], second?.["webhook-timestamp"]]).toEqual(["1800000000", "1800000005"]);
    expect(first?.["webhook-signature"]).not.toBe(second?.["webhook-signature"]);
  });

  test("is as CloudStack writes it where that is wanted", async () => {
    await using both = await pair({ format: "cloudstack" });
    await outcome(both.sink);
    expect(both.receiver.requests[0]?.headers["content-type"]).toBe("application/json");
    expect(JSON.parse(String(both.receiver.requests[0]?.body))).toMatchObject({
      "new-state": "running",
      resource: "VirtualMachine",
    });
  });

  test("has the URL's user and password as basic authentication", async () => {
    await using receiver = await WebhookReceiver.listen(certificate);
    const sink = sinkTo(receiver.url().replace("https://", "https://us%40er:pa%3Ass@"));
    expect(await outcome(sink)).toMatchObject({ type: "delivered" });
    const expected = Buffer.from("us@er:pa:ss").toString("base64");
    expect(receiver.requests[0]?.headers["authorization"]).toBe(`Basic ${expected}`);
    await sink.close();
  });
});

describe("the order of webhooks", () => {
  test("is that of the log for one VM, one after the other, over one connection", async () => {
    await using both = await pair();
    const events = nextEvents(16);
    expect(await outcomes(both.sink, events)).toEqual(Array(16).fill({ type: "delivered", status: 204 }));
    expect(both.receiver.ids).toEqual(events.map(({ id }) => id));
    expect(both.receiver).toMatchObject({ mostAtOnce: 1, connections: 1 });
  });

  test("does not make VMs wait for each other, and no more than four are sent at once", async () => {
    await using both = await pair();
    const fourWait = Promise.withResolvers<undefined>();
    both.receiver.beforeAnswer = async () => {
      if (both.receiver.requests.length === 4) fourWait.resolve(undefined);
      await fourWait.promise;
    };
    const events = Array.from({ length: 8 }, (_, index) => nextEventOf({ id: `vm${index}`, name: `vm${index}` }));
    expect(await outcomes(both.sink, events)).toEqual(Array(8).fill({ type: "delivered", status: 204 }));
    expect(both.receiver.mostAtOnce).toBe(4);
  });

  test("is kept when one fails: what comes after it, of its VM only, is held", async () => {
    await using both = await pair();
    both.receiver.beforeAnswer = ({ body }) => {
      if (String(body).includes(web1.id)) both.receiver.answer({ status: 500 });
      return Promise.resolve();
    };
    const events = [nextEventOf(web1), nextEventOf(web2), nextEventOf(web1)];
    const types = (await outcomes(both.sink, events)).map(({ type }) => type);
    expect(types).toEqual(["failed", "delivered", "held"]);
    expect(both.receiver.ids.toSorted()).toEqual([events[0]?.id, events[1]?.id].toSorted());
  });
});

describe("an answer", () => {
  test.each([
    [
      { status: 200, body: "ok" },
      { type: "delivered", status: 200 },
    ],
    [{ status: 202 }, { type: "delivered", status: 202 }],
    [{ status: 410 }, { type: "gone", status: 410, reason: "it answered 410 Gone" }],
    [{ status: 400 }, { type: "failed", status: 400, reason: "it answered 400" }],
    [
      { status: 429, headers: { "retry-after": "120" } },
      { type: "failed", status: 429, reason: "it answered 429", retryAfterMs: 120_000 },
    ],
    [
      { status: 503, headers: { "retry-after": new Date(Date.now() + 99 * 86_400_000).toUTCString() } },
      { type: "failed", status: 503, reason: "it answered 503", retryAfterMs: 86_400_000 },
    ],
    ["reset", { type: "failed", reason: "it closed the connection without an answer" }],
  ] as [Answer, Outcome][])("%j is %j", async (answer, expected) => {
    await using both = await pair();
    both.receiver.answer(answer);
    expect(await outcome(both.sink)).toEqual(expected);
  });

  test.each([301, 302, 303, 307, 308])("%i leads nowhere else", async (status) => {
    await using both = await pair();
    await using other = await WebhookReceiver.listen(certificate);
    both.receiver.answer({ status, headers: { location: other.url() } });
    expect(await outcome(both.sink)).toEqual({
      type: "failed",
      status,
      reason: `it answered ${status}, and redirects are not followed: name its new URL`,
    });
    expect(other.connections).toBe(0);
  });

  test("that is missing, or no good one, is told without the URL, where tokens stand", async () => {
    await using both = await pair({}, "/services/hidden?token=hidden");
    for (const answer of ["reset", { status: 301 }, { status: 410 }, { status: 500 }] as Answer[]) {
      both.receiver.answer(answer);
      expect(JSON.stringify(await outcome(both.sink))).not.toContain("hidden");
    }
    await using unknown = await pair({ ca: undefined }, "/services/hidden");
    expect(await outcome(unknown.sink)).toMatchObject({ type: "failed" });
    expect(JSON.stringify(await outcome(unknown.sink))).not.toContain("hidden");
    expect(both.sink.target).not.toContain("hidden");
  });

  test("that does not come in time is a failure", async () => {
    await using both = await pair({ attemptTimeoutMs: 200 });
    both.receiver.answer("silence");
    expect(await outcome(both.sink)).toEqual({ type: "failed", reason: "no answer within 0.2 s" });
  });

  test("that never ends counts by its status", async () => {
    await using both = await pair({ attemptTimeoutMs: 1500 });
    both.receiver.answer("endless");
    expect(await outcome(both.sink)).toEqual({ type: "delivered", status: 200 });
  });

  test("that is huge is not read to its end", async () => {
    await using both = await pair();
    both.receiver.answer({ status: 200, body: Buffer.alloc(64 * 1024 * 1024) });
    expect(await outcome(both.sink)).toEqual({ type: "delivered", status: 200 });
    // The connection was cut off, so the next event needs another.
    expect(await outcome(both.sink)).toMatchObject({ type: "delivered" });
    expect(both.receiver.connections).toBe(2);
  });

  test("that a closed connection kept away is asked for again at once", async () => {
    await using both = await pair();
    await outcome(both.sink);
    both.receiver.answer("reset");
    expect(await outcome(both.sink)).toEqual({ type: "delivered", status: 204 });
    expect(both.receiver.connections).toBe(2);
    const [, lost, again] = both.receiver.ids;
    expect(again).toBe(lost);
  });
});

describe("a receiver", () => {
  test("that nobody trusts gets nothing", async () => {
    await using both = await pair({ ca: undefined });
    expect(await outcome(both.sink)).toEqual({
      type: "failed",
      reason: "its certificate is of no authority that the manager knows",
    });
    expect(both.receiver.requests).toEqual([]);
  });

  test("with a certificate for another name gets nothing", async () => {
    const others = await selfSigned(directory, "other", "DNS:other.example.com");
    await using receiver = await WebhookReceiver.listen(others);
    const sink = sinkTo(receiver.url(), { ca: others.cert });
    expect(await outcome(sink)).toMatchObject({
      type: "failed",
      reason: expect.stringContaining("altnames") as string,
    });
    expect(receiver.requests).toEqual([]);
    await sink.close();
  });

  test("that is not there is a failure", async () => {
    const receiver = await WebhookReceiver.listen(certificate);
    const sink = sinkTo(receiver.url());
    await receiver[Symbol.asyncDispose]();
    expect(await outcome(sink)).toEqual({ type: "failed", reason: "nobody listens there" });
    await sink.close();
  });

  test("without TLS is reached where the configuration says so", async () => {
    await using receiver = await WebhookReceiver.listen(undefined);
    const sink = sinkTo(receiver.url(), { allowsHttp: true });
    expect(await outcome(sink)).toEqual({ type: "delivered", status: 204 });
    await sink.close();
  });
});

describe("a user's endpoint", () => {
  const toLoopback = (allow: string[]): TargetGuard =>
    new TargetGuard({
      allow,
      resolve: (_hostname, _options, callback) => {
        callback(null, [{ address: "127.0.0.1", family: 4 }]);
      },
    });

  test("with a name for an address of this machine is not connected to", async () => {
    await using receiver = await WebhookReceiver.listen(certificate);
    const sink = sinkTo(receiver.url("/", "hooks.example.com"), { guard: toLoopback([]) });
    expect(await outcome(sink)).toEqual({
      type: "failed",
      reason:
        "hooks.example.com leads to a loopback address; events.targets.allow in the manager's configuration says which of these endpoints may lead to",
    });
    expect(receiver.connections).toBe(0);
    await sink.close();
  });

  test.each(["127.0.0.1", "127.1", "2130706433", "[::ffff:127.0.0.1]"])(
    "that is such an address, as %s, is not connected to",
    async (host) => {
      await using receiver = await WebhookReceiver.listen(certificate);
      const sink = sinkTo(receiver.url("/", host), { guard: toLoopback([]) });
      expect(await outcome(sink)).toMatchObject({
        type: "failed",
        reason: expect.stringContaining("is a loopback address") as string,
      });
      expect(receiver.connections).toBe(0);
      await sink.close();
    },
  );

  test.each(["hooks.example.com", "127.0.0.1"])(
    "as %s is connected to where the configuration allows it",
    async (host) => {
      await using receiver = await WebhookReceiver.listen(certificate);
      const sink = sinkTo(receiver.url("/", host), { guard: toLoopback(["127.0.0.0/8"]) });
      expect(await outcome(sink)).toEqual({ type: "delivered", status: 204 });
      await sink.close();
    },
  );
});

describe("the manager's end", () => {
  test("ends a delivery, and counts it as nobody's failure", async () => {
    await using both = await pair();
    both.receiver.usualAnswer = "silence";
    const stopping = new AbortController();
    const delivering = outcomes(both.sink, [nextEvent(), nextEvent()], stopping.signal);
    await vi.waitUntil(() => both.receiver.requests.length === 1);
    stopping.abort();
    expect(await delivering).toEqual([{ type: "unavailable", reason: "the manager stops" }, { type: "held" }]);
  });

  test("closes the connections, and may come twice", async () => {
    await using both = await pair();
    const ended = new AbortController();
    both.receiver.beforeAnswer = () => aborted(ended.signal);
    const delivering = outcome(both.sink);
    await vi.waitUntil(() => both.receiver.requests.length === 1);
    await both.sink.close();
    expect(await delivering).toEqual({ type: "unavailable", reason: "the manager stops" });
    await both.sink.close();
    ended.abort();
  });
});
