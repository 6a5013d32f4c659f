/** The bindings of CloudStack's event framework at a real broker, for other people's consumers and for our own bus. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import * as amqp from "amqplib";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { AmqpEventBus, type ReceivedEvent } from "../../../../manager/events/amqp-bus.ts";
import { type Event, managerEvent, type NewEvent, vmEvent } from "../../../../manager/events/event.ts";
import { bindingKey, type EventTopic, matchesTopic, routingKey } from "../../../../manager/events/topic.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../../support/rabbitmq.ts";
import { keptLog, numbered } from "./fixtures.ts";

const seedVm = { id: "172dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web" };
const otherVm = { id: "5f0c8a6e-1d52-4f5e-9a37-0c2a4c8e7b11", name: "db" };

/** As the framework's description lists them, and what it says they select. */
const topics: Record<string, EventTopic> = {
  "*.*.*.*.*": {},
  "*.*.*.VirtualMachine.*": { resourceType: "VirtualMachine" },
  "*.*.*.Network.*": { resourceType: "Network" },
  "*.ActionEvent.*.*.*": { eventCategory: "ActionEvent" },
  "*.ActionEvent.*.VirtualMachine.172dd6f8-7d36-44ef-9a03-3b342034aaa4": {
    eventCategory: "ActionEvent",
    resourceType: "VirtualMachine",
    resourceUUID: seedVm.id,
  },
  "*.*.VM-START.*.*": { eventType: "VM.START" },
  "guest.*.*.*.*": { eventSource: "guest" },
};

let rabbit: RabbitUnderTest;
const buses: AmqpEventBus[] = [];

beforeAll(async () => {
  rabbit = await RabbitUnderTest.start();
}, RABBIT_HOOK_TIMEOUT_MS);

afterEach(async () => {
  await Promise.all(buses.splice(0).map((bus) => bus.close()));
});

afterAll(() => rabbit.close());

describe("binding keys at the broker", () => {
  it("select what the framework says, for pika, for amqplib and for our own topics", async () => {
    const bus = newBus("seed");
    const sent = samples();
    await bus.subscribe({ eventSource: "nobody" }, () => undefined);
    const pika = await pikaConsumer("seed", Object.keys(topics));
    const node = await nodeConsumer("seed", Object.keys(topics));
    await bus.publish(sent);

    const expected = Object.fromEntries(
      Object.entries(topics).map(([key, topic]) => [key, idsOf(sent.filter((event) => matchesTopic(topic, event)))]),
    );
    expect(await pika()).toEqual(expected);
    expect(await node()).toEqual(expected);
    expect(Object.keys(topics)).toEqual(Object.values(topics).map(bindingKey));
    expect(counts(expected)).toEqual([30, 26, 0, 8, 4, 2, 2]);
  });
});

describe("the event bus over AMQP", () => {
  it("tells a subscriber, in order, of what its topic selects until it unsubscribes", async () => {
    const bus = newBus("bus");
    const received: ReceivedEvent[] = [];
    const sent = samples();
    const ours = sent.filter(({ resourceUUID }) => resourceUUID === seedVm.id);
    const subscription = await bus.subscribe({ resourceUUID: seedVm.id }, (event) => void received.push(event));
    await bus.publish(sent);
    await vi.waitFor(() => {
      expect(received.map(({ messageId }) => messageId)).toEqual(idsOf(ours));
    });
    expect(received[0]).toMatchObject({ routingKey: ours.map(routingKey)[0], body: { event: ours[0]?.type } });
    await bus.unsubscribe(subscription);
    await bus.unsubscribe(subscription);
    await bus.publish(sent);
    expect(received).toHaveLength(ours.length);
  });

  it("keeps a queue for each subscription, bounded and bound, and removes it", async () => {
    const bus = newBus("queues");
    const subscription = await bus.subscribe({ eventType: "VM.START" }, () => undefined);
    expect(await boundTo("queues")).toEqual([["queue", "*.*.VM-START.*.*"]]);
    expect(await rabbit.ctl("list_queues", "arguments", "exclusive", "--no-table-headers")).toBe(
      '[{"x-max-length",100000}]\ttrue',
    );
    await bus.unsubscribe(subscription);
    expect(await boundTo("queues")).toEqual([]);
    expect(await rabbit.ctl("list_queues", "name", "--no-table-headers")).toBe("");
  });

  it("calls a handler when it has settled with the event before, and goes on when it throws", async () => {
    const { log, lines } = keptLog();
    const bus = newBus("handlers", log);
    const calls: string[] = [];
    await bus.subscribe({ eventCategory: "ActionEvent" }, async ({ messageId = "" }) => {
      calls.push(`begin ${messageId}`);
      await Promise.resolve();
      calls.push(`end ${messageId}`);
      throw new Error("the handler is broken");
    });
    const sent = samples().slice(0, 2);
    await bus.publish(sent);
    await vi.waitFor(() => {
      expect(calls).toEqual(idsOf(sent).flatMap((id) => [`begin ${id}`, `end ${id}`]));
    });
    await vi.waitFor(() => {
      expect(lines.filter(({ event }) => event === "event-handler-failed")).toHaveLength(2);
    });
  });

  it("goes on after the broker was killed, and after somebody deleted its queue", async () => {
    const bus = newBus("again");
    const received: (string | undefined)[] = [];
    await bus.subscribe({}, ({ messageId }) => void received.push(messageId));
    for (const harm of [() => rabbit.restart(), deleteQueues]) {
      await harm();
      await vi.waitFor(async () => {
        expect(await boundTo("again")).toHaveLength(1);
      }, { timeout: 30_000, interval: 500 }); // prettier-ignore
      const [event] = samples() as [Event];
      await bus.publish([event]);
      await vi.waitFor(() => {
        expect(received).toContain(event.id);
      });
    }
  }, 120_000);

  it("says why nobody can subscribe", async () => {
    const bus = newBus("none", keptLog().log, { password: "wrong" });
    await expect(bus.subscribe({}, () => undefined)).rejects.toMatchObject({
      code: "unreachable",
      message: expect.stringContaining("refused the user 'guest' or its password") as unknown,
    });
  });
});

/** Thirty events: of two VMs and of the manager, of all kinds. */
function samples(): Event[] {
  const ofVms = [seedVm, otherVm].flatMap((vm): NewEvent[] => [
    vmEvent("VM.START", vm, 0),
    vmEvent("VM.STOP", vm, 0),
    vmEvent("MESSAGE.SEND", vm, 0),
    vmEvent("VM.RUNNING", vm, 0, { oldState: "stopped", newState: "running" }),
    vmEvent("VM.PAUSED", vm, 0),
    vmEvent("VM.STOPPED", vm, 0),
    vmEvent("KEY.SET", vm, 0),
    vmEvent("KEY.DELETED", vm, 0),
    vmEvent("MESSAGE.QUEUED", vm, 0),
    vmEvent("VM.IO-ERROR", vm, 0),
    vmEvent("VM.PANIC", vm, 0),
    vmEvent("GUEST.BACKUP.DONE", vm, 0),
    vmEvent("IMAGE.SAVE", vm, 0),
  ]);
  const ofManager = [
    managerEvent("SINK.DISABLED", 0),
    managerEvent("SINK.DEAD-LETTER", 0),
    managerEvent("ALERT.DOOR-FAILED", 0),
    managerEvent("FLEET.SEND", 0),
  ];
  return numbered([...ofVms, ...ofManager]);
}

function newBus(exchange: string, log = keptLog().log, broker = {}): AmqpEventBus {
  const options = { exchange, format: "cloudstack", host: "manager", guard: undefined, log } as const;
  const bus = new AmqpEventBus({ ...options, broker: rabbit.broker(broker) });
  buses.push(bus);
  return bus;
}

/** @returns what it got, by its keys, once its input has ended */
async function pikaConsumer(exchange: string, keys: string[]): Promise<() => Promise<unknown>> {
  const script = join(import.meta.dirname, "pika-consumer.py");
  const consumer = spawn("/usr/bin/python3", [script, String(rabbit.port), exchange, ...keys], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [ready] = (await once(consumer.stdout, "data")) as [Buffer];
  expect(ready.toString()).toContain("ready");
  return async () => {
    consumer.stdin.end();
    const got = JSON.parse(await text(consumer.stdout)) as Record<string, [string, string, string][]>;
    return Object.fromEntries(Object.entries(got).map(([key, messages]) => [key, messages.map(([id]) => id)]));
  };
}

async function nodeConsumer(exchange: string, keys: string[]): Promise<() => Promise<unknown>> {
  const connection = await amqp.connect(rabbit.url);
  const channel = await connection.createChannel();
  const queues = new Map<string, string>();
  for (const key of keys) {
    const { queue } = await channel.assertQueue("", { exclusive: true });
    await channel.bindQueue(queue, exchange, key);
    queues.set(key, queue);
  }
  return async () => {
    const got: Record<string, unknown[]> = {};
    for (const [key, queue] of queues) {
      got[key] = [];
      for (let message = await channel.get(queue); message !== false; message = await channel.get(queue)) {
        got[key].push(message.properties.messageId);
      }
    }
    await connection.close();
    return got;
  };
}

async function boundTo(exchange: string): Promise<string[][]> {
  const listed = await rabbit.ctl(
    "list_bindings",
    "source_name",
    "destination_kind",
    "routing_key",
    "--no-table-headers",
  );
  const rows = listed.split("\n").map((line) => line.split("\t"));
  return rows.filter(([source]) => source === exchange).map(([, kind = "", key = ""]) => [kind, key]);
}

async function deleteQueues(): Promise<void> {
  const names = await rabbit.ctl("list_queues", "name", "--no-table-headers");
  for (const name of names.split("\n")) await rabbit.ctl("delete_queue", name);
}

function idsOf(events: readonly Event[]): string[] {
  return events.map(({ id }) => id);
}

function counts(selected: Record<string, string[]>): number[] {
  return Object.values(selected).map(({ length }) => length);
}
