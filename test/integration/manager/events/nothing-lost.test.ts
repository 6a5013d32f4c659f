import * as amqp from "amqplib";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { newMessageId } from "../../../../shared/random.ts";
import type { EventPage } from "../../../../shared/api/event-schemas.ts";
import type { Receipt } from "../../../../shared/api/schemas.ts";
import { ManagerUnderTest } from "../../support/managers.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../../support/rabbitmq.ts";

/** VMs that are listed and away: a message for one is two events, that it was sent and that it waits. */
const VMS = Array.from({ length: 10 }, (_, index) => `vm${index}`);

const EXCHANGE = "cloudstack-events";

/** Ten restarts of a broker on a busy machine. */
const LONG_MS = 400_000;

interface Told {
  id: string;
  type: string;
  vm: string;
  sequence: number;
  messageId: string | undefined;
}

let rabbit: RabbitUnderTest;

beforeAll(async () => {
  rabbit = await RabbitUnderTest.start();
}, RABBIT_HOOK_TIMEOUT_MS);

afterAll(() => rabbit.close());

async function startManager(queue: string): Promise<ManagerUnderTest> {
  await withChannel(async (channel) => {
    await channel.assertExchange(EXCHANGE, "topic", { durable: true });
    await channel.assertQueue(queue, { durable: true });
    await channel.bindQueue(queue, EXCHANGE, "#");
  });
  const sinks = [{ name: "bus", type: "amqp", url: rabbit.url, exchange: EXCHANGE, format: "cloudevents" }];
  const vms = VMS.map((name) => ({ name, socket: `/nonexistent/${name}.sock` }));
  return ManagerUnderTest.start(vms, { events: { sinks }, messages: { maxPending: 1_000 } });
}

async function withChannel<T>(work: (channel: amqp.Channel) => Promise<T>): Promise<T> {
  const connection = await amqp.connect(rabbit.url);
  try {
    return await work(await connection.createChannel());
  } finally {
    await connection.close();
  }
}

/** Everything that the queue holds, in its order; settles when all of these events are there. */
function drained(queue: string, wanted: readonly string[]): Promise<Told[]> {
  const told: Told[] = [];
  const missing = new Set(wanted);
  return withChannel(async (channel) => {
    await channel.consume(
      queue,
      (message) => {
        if (message === null) return;
        const body = JSON.parse(message.content.toString()) as Record<string, unknown>;
        const { data } = body as { data: Record<string, unknown> };
        missing.delete(String(body["id"]));
        told.push({
          id: String(body["id"]),
          type: String(body["type"]).replace("org.vmmessage.", ""),
          vm: typeof body["subject"] === "string" ? body["subject"] : "",
          sequence: Number(body["sequence"]),
          messageId: data["messageId"] as string | undefined,
        });
      },
      { noAck: true },
    );
    await vi.waitUntil(() => missing.size === 0, { timeout: 120_000, interval: 50 });
    return told;
  });
}

/** All events of VMs that the log has. The manager's own speak of the sink, which is not told of itself. */
async function eventsIn(manager: ManagerUnderTest): Promise<string[]> {
  const { next: last } = (await manager.get<EventPage>("/v1/events?limit=1")).body;
  const ids: string[] = [];
  for (let [since, more] = [last.replace(/:.*/, ":0"), true]; more;) {
    const { body } = await manager.get<EventPage>(`/v1/events?limit=1000&type=VM.*&type=MESSAGE.*&since=${since}`);
    ids.push(...body.events.map(({ id }) => id));
    ({ next: since, more } = body);
  }
  return ids;
}

/** Each event's first coming: what comes again is the same event. */
function firsts(told: readonly Told[]): Told[] {
  return [...new Map([...told].reverse().map((event) => [event.id, event])).values()].reverse();
}

function expectInOrderOfEachVm(told: readonly Told[]): void {
  const byVm = Map.groupBy(firsts(told), ({ vm }) => vm);
  byVm.delete("");
  for (const [vm, events] of byVm) {
    const sequences = events.map(({ sequence }) => sequence);
    expect(sequences, vm).toEqual(sequences.map((_, index) => index + 1));
  }
}

describe("events on their way to RabbitMQ", () => {
  test(
    "are all there, in order, though the broker was killed ten times while 10,000 of them happened",
    async () => {
      await using manager = await startManager("broker-killed");
      const sendSome = async (count: number): Promise<void> => {
        for (let sent = 0; sent < count; sent += VMS.length) {
          await Promise.all(VMS.map((vm) => manager.set(vm, "org.example.n", String(sent))));
        }
      };
      for (let round = 0; round < 10; round += 1) {
        const sending = sendSome(500);
        await rabbit.kill9();
        await rabbit.restart();
        await sending;
      }
      const told = await drained("broker-killed", await eventsIn(manager));
      const messages = firsts(told).filter(({ type }) => type === "MESSAGE.SEND" || type === "MESSAGE.QUEUED");
      expect(messages).toHaveLength(10_000);
      expectInOrderOfEachVm(told);
      const health = (await manager.get<{ sinks: { configured: object[] } }>("/health")).body;
      expect(health.sinks.configured).toMatchObject([
        { id: "config:bus", state: "connected", backlog: 0, deadLetters: 0 },
      ]);
    },
    LONG_MS,
  );

  test(
    "are all there when the manager was killed under load, and what comes twice has the same id",
    async () => {
      await using manager = await startManager("manager-killed");
      const accepted: string[] = [];
      let isOver = false;
      const client = async (vm: string): Promise<void> => {
        while (!isOver) {
          const messageId = newMessageId();
          // The same message until it is accepted, as a client does.
          for (;;) {
            const receipt = await send(manager, vm, messageId);
            if (receipt !== undefined) break;
          }
          accepted.push(messageId);
        }
      };
      const clients = VMS.map(client);
      for (let round = 0; round < 10; round += 1) {
        const before = accepted.length;
        await vi.waitUntil(() => accepted.length >= before + 50, { timeout: 30_000 });
        await manager.kill("SIGKILL");
        await manager.start();
      }
      isOver = true;
      await Promise.all(clients);

      const told = await drained("manager-killed", await eventsIn(manager));
      const queued = new Map(
        firsts(told)
          .filter(({ type }) => type === "MESSAGE.QUEUED")
          .map((event) => [event.messageId, event.id]),
      );
      expect(accepted.filter((messageId) => !queued.has(messageId))).toEqual([]);
      for (const { type, messageId, id } of told) {
        if (type === "MESSAGE.QUEUED") expect(id).toBe(queued.get(messageId));
      }
      expectInOrderOfEachVm(told);
    },
    LONG_MS,
  );
});

/** Undefined when no answer came: the manager was just being killed. */
async function send(manager: ManagerUnderTest, vm: string, messageId: string): Promise<Receipt | undefined> {
  const params = { messageId, entries: [{ key: "org.example.n", value: messageId }] };
  try {
    return await manager.send(vm, { method: "set", params });
  } catch {
    return undefined;
  }
}
