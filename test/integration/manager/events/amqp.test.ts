/** Events to a real RabbitMQ: what arrives there, what happens when it is away, and what it says when it refuses. */
import * as amqp from "amqplib";
import { CloudEvent } from "cloudevents";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type Event, managerEvent, vmEvent } from "../../../../manager/events/event.ts";
import { AmqpSink, type AmqpSinkOptions } from "../../../../manager/sinks/amqp-sink.ts";
import { TargetGuard } from "../../../../manager/sinks/target-guard.ts";
import { freePort } from "../../support/ports.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../../support/rabbitmq.ts";
import { selfSigned } from "../cli/certificates.ts";
import { keptLog, type LogLine, numbered } from "./fixtures.ts";

const vms = Array.from({ length: 10 }, (_, index) => ({
  id: `172dd6f8-7d36-44ef-9a03-3b342034aaa${index}`,
  name: `web${index}`,
}));
const [vm = { id: "", name: "" }] = vms;
const { signal } = new AbortController();

let rabbit: RabbitUnderTest;
let directory: string;
let tlsPort: number;
let ca: string;
let connection: amqp.ChannelModel;
let channel: amqp.Channel;
let lines: LogLine[] = [];
const sinks: AmqpSink[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "amqp-tls-"));
  tlsPort = await freePort();
  const { certPath, cert } = await selfSigned(directory, "broker", "IP:127.0.0.1");
  ca = cert;
  rabbit = await RabbitUnderTest.start(
    [
      `listeners.ssl.1 = 127.0.0.1:${tlsPort}`,
      `ssl_options.certfile = ${certPath}`,
      `ssl_options.keyfile = ${join(directory, "broker.key")}`,
      `ssl_options.cacertfile = ${certPath}`,
    ].join("\n"),
  );
  await listen();
}, RABBIT_HOOK_TIMEOUT_MS);

afterEach(async () => {
  await Promise.all(sinks.splice(0).map((sink) => sink.close()));
});

afterAll(async () => {
  await connection.close();
  await rabbit.close();
  await rm(directory, { recursive: true });
});

describe("an event at the broker", () => {
  it("has CloudStack's key, properties and body", async () => {
    const take = await bound("cloudstack-events");
    const [event] = numbered([vmEvent("VM.START", vm, 1_795_218_690_123, { data: { by: "ada" } })]) as [Event];
    expect(await outcomesOf(newSink(), [event])).toEqual(["delivered"]);
    const [message] = await take();
    expect(message?.fields.routingKey).toBe(`management-server.ActionEvent.VM-START.VirtualMachine.${vm.id}`);
    expect(message?.properties).toMatchObject({
      deliveryMode: 2,
      contentType: "text/plain",
      messageId: event.id,
      timestamp: 1_795_218_690,
      type: "VM.START",
    });
    expect(message?.properties.headers).toEqual({});
    expect(bodyOf(message)).toMatchObject({
      event: "VM.START",
      status: "Completed",
      user: "ada",
      account: "ada",
      entity: "VirtualMachine",
      entityuuid: vm.id,
      VirtualMachine: vm.id,
      description: expect.any(String) as unknown,
      eventDateTime: "2026-11-20 23:51:30 +0000",
    });
  });

  it("has a transition's body as CloudStack's, once", async () => {
    const take = await bound("cloudstack-events");
    const [event] = numbered([vmEvent("VM.RUNNING", vm, 0, { oldState: "stopped", newState: "running" })]) as [Event];
    await outcomesOf(newSink(), [event]);
    expect((await take()).map(bodyOf)).toMatchObject([
      {
        resource: "VirtualMachine",
        id: vm.id,
        "old-state": "stopped",
        "new-state": "running",
        status: "postStateTransitionEvent",
        eventDateTime: "1970-01-01 00:00:00 +0000",
      },
    ]);
  });

  it("is one that CloudEvents' own library accepts, when the sink is to write those", async () => {
    const take = await bound("cloud");
    const events = numbered([
      vmEvent("VM.STOPPED", vm, 0, { oldState: "running", newState: "stopped", isResync: true }),
      managerEvent("SINK.DISABLED", 0),
    ]);
    await outcomesOf(newSink({ to: { exchange: "cloud" }, format: "cloudevents" }), events);
    const messages = await take();
    expect(messages.map(({ properties }) => properties.contentType as unknown)).toEqual([
      "application/cloudevents+json",
      "application/cloudevents+json",
    ]);
    const parsed = messages.map((message) => new CloudEvent(bodyOf(message) as object));
    expect(parsed.map((event) => event.validate())).toEqual([true, true]);
    expect(parsed[0]).toMatchObject({
      id: events[0]?.id,
      type: "org.vmmessage.VM.STOPPED",
      subject: vm.id,
      source: "//manager/management-server",
      sequence: "0000000000000001",
    });
  });

  it("goes to an exchange that was there with arguments of its own", async () => {
    await channel.assertExchange("spare", "fanout", { durable: true });
    await channel.assertExchange("theirs", "topic", { durable: true, alternateExchange: "spare" });
    expect(await outcomesOf(newSink({ to: { exchange: "theirs" } }), samples(1))).toEqual(["delivered"]);
  });

  it("goes over TLS to a broker whose authority is known", async () => {
    const broker = rabbit.broker({ tls: true, port: tlsPort, ca });
    expect(await outcomesOf(newSink({ broker }), samples(1))).toEqual(["delivered"]);
  });
});

describe("a broker that cannot be used says why", () => {
  const at = (port: number): string => `127.0.0.1:${port}`;

  it.each<[string, () => Partial<AmqpSinkOptions>, () => string]>([
    [
      "a wrong password",
      () => ({ broker: rabbit.broker({ password: "hunter2" }) }),
      () => `${at(rabbit.port)} refused the user 'guest' or its password`,
    ],
    [
      "no such vhost",
      () => ({ broker: rabbit.broker({ vhost: "a/b%41" }) }),
      () => `${at(rabbit.port)} refused the vhost 'a/b%41'; is it there, and may the user 'guest' use it?`,
    ],
    [
      "nobody there",
      () => ({ broker: rabbit.broker({ port: 1 }) }),
      () => `${at(1)} refused the connection; is the broker running?`,
    ],
    [
      "an authority that nobody knows",
      () => ({ broker: rabbit.broker({ tls: true, port: tlsPort }) }),
      () => `TLS with ${at(tlsPort)} failed: self-signed certificate (DEPTH_ZERO_SELF_SIGNED_CERT)`,
    ],
    [
      "TLS where there is none",
      () => ({ broker: rabbit.broker({ tls: true }) }),
      () => `${at(rabbit.port)} does not speak TLS there; is it the port for amqps?`,
    ],
    [
      "no TLS where there is",
      () => ({ broker: rabbit.broker({ port: tlsPort }) }),
      () => `${at(tlsPort)} does not speak AMQP 0-9-1`,
    ],
    [
      "an exchange of another type",
      () => ({ to: { exchange: "amq.fanout" } }),
      () => `${at(rabbit.port)} says: PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.fanout'`,
    ],
    [
      "an address that is not allowed",
      () => ({ guard: new TargetGuard({ allow: [] }) }),
      () => "127.0.0.1 is a loopback address; events.targets.allow",
    ],
  ])("%s", async (_, options, reason) => {
    const sink = newSink(options());
    sink.start();
    await vi.waitFor(
      () => {
        expect(sink.connection()).toEqual({
          state: "disconnected",
          reason: expect.stringContaining(reason()) as unknown,
        });
      },
      { timeout: 10_000 },
    );
    expect(lines).toMatchObject([{ event: "amqp-disconnected", target: sink.target }]);
    expect(JSON.stringify([lines, sink.connection()])).not.toContain("hunter2");
  });

  it("and the events that wait for it are to be sent again", async () => {
    const sink = newSink({ broker: rabbit.broker({ port: 1 }) });
    expect(await outcomesOf(sink, samples(2))).toEqual(["unavailable", "unavailable"]);
  });
});

describe("a queue", () => {
  it("that is full refuses what comes, which is to be sent again", async () => {
    const full = { durable: true, maxLength: 1, arguments: { "x-overflow": "reject-publish" } };
    await channel.assertQueue("full", full);
    const sink = newSink({ to: { queue: "full" } });
    const attempted = await sink.deliver(samples(3, [vm]), signal);
    const refused = { type: "unavailable", reason: "the broker refused it (basic.nack); is a queue of it full?" };
    expect(attempted.map(({ outcome }) => outcome)).toEqual([{ type: "delivered" }, refused, refused]);
    expect(await channel.assertQueue("full", full)).toMatchObject({ messageCount: 1 });
  });

  it("that somebody deleted gives events back, and is made again for the next attempt", async () => {
    const sink = newSink({ to: { queue: "short-lived" } });
    const events = samples(1);
    expect(await outcomesOf(sink, events)).toEqual(["delivered"]);
    await channel.deleteQueue("short-lived");
    expect(await sink.deliver(events, signal)).toMatchObject([
      { outcome: { type: "unavailable", reason: "no queue takes it: NO_ROUTE (short-lived)" } },
    ]);
    expect(await outcomesOf(sink, events)).toEqual(["delivered"]);
    expect(await channel.checkQueue("short-lived")).toMatchObject({ messageCount: 1 });
  });
});

describe("a broker that comes and goes", () => {
  it("without an exchange any more gets a new one, and the events", async () => {
    const sink = newSink({ to: { exchange: "removed" } });
    await outcomesOf(sink, samples(1));
    await channel.deleteExchange("removed");
    const events = samples(3);
    expect(await outcomesOf(sink, events)).toEqual(["unavailable", "unavailable", "unavailable"]);
    expect(await outcomesOf(sink, events)).toEqual(["delivered", "delivered", "delivered"]);
  });

  it("that blocks publishers is unavailable, with the reason, until it takes them again", async () => {
    const take = await bound("cloudstack-events");
    const sink = newSink();
    await outcomesOf(sink, samples(1));
    await rabbit.ctl("set_vm_memory_high_watermark", "0.0000001");
    try {
      const events = samples(2);
      const [first] = await sink.deliver(events, signal);
      const reason = `127.0.0.1:${rabbit.port} takes no messages now: low on memory`;
      expect(first?.outcome).toEqual({ type: "unavailable", reason });
      expect(sink.connection()).toEqual({ state: "disconnected", reason });
      await rabbit.ctl("set_vm_memory_high_watermark", "0.4");
      await vi.waitFor(async () => {
        expect(await outcomesOf(sink, events)).toEqual(["delivered", "delivered"]);
      });
      expect(distinct((await take()).slice(1))).toEqual(events.map(({ id }) => id));
      expect(lines.map(({ event }) => event)).toEqual(["amqp-connected", "amqp-blocked", "amqp-unblocked"]);
    } finally {
      await rabbit.ctl("set_vm_memory_high_watermark", "0.4");
    }
  });

  it("that stands still is found out by its heartbeats", async () => {
    const sink = newSink();
    await outcomesOf(sink, samples(1));
    await rabbit.pause();
    try {
      const [attempted] = await sink.deliver(samples(1), signal);
      expect(attempted?.outcome).toEqual({
        type: "unavailable",
        reason: `127.0.0.1:${rabbit.port} has been silent for too long`,
      });
    } finally {
      rabbit.resume();
    }
    await vi.waitFor(async () => {
      expect(await outcomesOf(sink, samples(1))).toEqual(["delivered"]);
    });
  }, 90_000);

  it("by kill -9 loses nothing that is sent again until it is confirmed", async () => {
    const sink = newSink({ to: { queue: "survivors" } });
    const events = samples(10_000, vms);
    const killing = killedWhen(() => channel.checkQueue("survivors").then(({ messageCount }) => messageCount > 2_000));
    let retries = 0;
    for (let at = 0; at < events.length;) {
      const attempted = await sink.deliver(events.slice(at, at + sink.batchSize), signal);
      const stopped = attempted.findIndex(({ outcome }) => outcome.type !== "delivered");
      at += stopped === -1 ? attempted.length : stopped;
      if (stopped !== -1) retries += 1;
    }
    await killing;
    await listen();
    const taken = await taking("survivors");
    expect(retries).toBeGreaterThan(0);
    expect(distinct(taken)).toHaveLength(events.length);
    for (const { id } of vms) {
      const expected = events.filter(({ resourceUUID }) => resourceUUID === id).map((event) => event.id);
      expect(distinct(taken).filter((messageId) => expected.includes(messageId))).toEqual(expected);
    }
  }, 180_000);
});

/** Round and round the VMs. */
function samples(count: number, of = [vm]): Event[] {
  return numbered(Array.from({ length: count }, (_, index) => vmEvent("VM.RUNNING", of[index % of.length] ?? vm, 0)));
}

function newSink(changes: Partial<AmqpSinkOptions> = {}): AmqpSink {
  const kept = keptLog();
  lines = kept.lines;
  const to = { exchange: "cloudstack-events" };
  const options = { broker: rabbit.broker(), to, format: "cloudstack", host: "manager", guard: undefined } as const;
  const sink = new AmqpSink({ ...options, log: kept.log, ...changes });
  sinks.push(sink);
  return sink;
}

async function outcomesOf(sink: AmqpSink, events: Event[]): Promise<string[]> {
  return (await sink.deliver(events, signal)).map(({ outcome }) => outcome.type);
}

async function listen(): Promise<void> {
  connection = await amqp.connect(rabbit.url);
  connection.on("error", () => undefined);
  channel = await connection.createChannel();
}

/** A queue that gets all of an exchange. @returns what takes the messages out */
async function bound(exchange: string): Promise<() => Promise<amqp.GetMessage[]>> {
  await channel.assertExchange(exchange, "topic", { durable: true });
  const { queue } = await channel.assertQueue("", { exclusive: true });
  await channel.bindQueue(queue, exchange, "#");
  return () => taking(queue);
}

async function taking(queue: string): Promise<amqp.GetMessage[]> {
  const messages: amqp.GetMessage[] = [];
  for (let message = await channel.get(queue, { noAck: true }); message !== false;) {
    messages.push(message);
    message = await channel.get(queue, { noAck: true });
  }
  return messages;
}

async function killedWhen(isTime: () => Promise<boolean>): Promise<void> {
  await vi.waitUntil(() => isTime().catch(listen), { timeout: 60_000, interval: 20 });
  await rabbit.restart();
}

function bodyOf(message: amqp.GetMessage | undefined): unknown {
  return JSON.parse(message?.content.toString() ?? "");
}

function distinct(messages: readonly amqp.GetMessage[]): string[] {
  return [...new Set(messages.map(({ properties }) => String(properties.messageId)))];
}
