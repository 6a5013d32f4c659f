/** StratusLab's notifications at a real broker. */
import * as amqp from "amqplib";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type Event, vmEvent } from "../../../../manager/events/event.ts";
import { NotifySink, type NotifySinkOptions } from "../../../../manager/sinks/notify-sink.ts";
import { parseCoordinates } from "../../../../manager/sinks/notify-coordinates.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../../support/rabbitmq.ts";
import { keptLog, numbered } from "./fixtures.ts";

const vm = { id: "172dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web" };
const { signal } = new AbortController();

let rabbit: RabbitUnderTest;
let connection: amqp.ChannelModel;
let channel: amqp.Channel;
const sinks: NotifySink[] = [];

beforeAll(async () => {
  rabbit = await RabbitUnderTest.start();
  connection = await amqp.connect(rabbit.url);
  channel = await connection.createChannel();
}, RABBIT_HOOK_TIMEOUT_MS);

afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(sinks.splice(0).map((sink) => sink.close()));
});

afterAll(async () => {
  await connection.close();
  await rabbit.close();
});

describe("a notification", () => {
  it("is VM_ID and STATE, one persistent message for each stage, and nothing for other events", async () => {
    const sink = newSink("stages");
    const events = lifeOf(["CREATE", "RUNNING"], undefined, ["DONE"]);
    expect(await outcomesOf(sink, events)).toEqual(["delivered", "delivered", "delivered"]);
    const messages = await messagesOf("stages");
    expect(messages.map(({ content }) => content.toString())).toEqual([
      "VM_ID=22; STATE=CREATE",
      "VM_ID=22; STATE=RUNNING",
      "VM_ID=22; STATE=DONE",
    ]);
    const [both, , done] = events;
    expect(messages.map(({ properties }) => properties)).toMatchObject([
      { messageId: `${both?.id}-CREATE`, deliveryMode: 2 },
      { messageId: `${both?.id}-RUNNING`, deliveryMode: 2 },
      { messageId: done?.id, deliveryMode: 2 },
    ]);
  });

  it("goes to a durable queue that is there with arguments of its own, which it keeps", async () => {
    await channel.assertQueue("kept", { durable: true, messageTtl: 86_400_000 });
    expect(await outcomesOf(newSink("kept"), lifeOf(["DONE"]))).toEqual(["delivered"]);
    expect(await channel.assertQueue("kept", { durable: true, messageTtl: 86_400_000 })).toMatchObject({
      messageCount: 1,
    });
  });

  it("goes to a queue that is not durable, as StratusLab's consumers made them", async () => {
    await channel.assertQueue("passing", { durable: false });
    expect(await outcomesOf(newSink("passing"), lifeOf(["DONE"]))).toEqual(["delivered"]);
    expect(await messagesOf("passing")).toHaveLength(1);
  });

  it("fails when the queue is gone, and arrives the next time because it was made again", async () => {
    const sink = newSink("gone");
    await outcomesOf(sink, lifeOf(["CREATE"]));
    await channel.deleteQueue("gone");
    const events = lifeOf(["RUNNING"], ["DONE"]);
    const outcome = { type: "unavailable", reason: "no queue takes it: NO_ROUTE (gone)" };
    expect(await sink.deliver(events, signal)).toMatchObject([{ outcome }, { outcome }]);
    expect(await outcomesOf(sink, events)).toEqual(["delivered", "delivered"]);
    expect(await messagesOf("gone")).toHaveLength(2);
  });

  it("is taken by a user who may write there and nothing else", async () => {
    await channel.assertQueue("theirs", { durable: true });
    await rabbit.ctl("add_user", "writer", "a,b");
    await rabbit.ctl("set_permissions", "writer", "^$", ".*", "^$");
    const { broker, queue } = parseCoordinates(`127.0.0.1:${rabbit.port},/,writer,"a,b",theirs`);
    expect(await outcomesOf(newSink(queue, { broker }), lifeOf(["DONE"]))).toEqual(["delivered"]);
  });

  it("says what a broker says that has no such vhost, while another sink's goes on", async () => {
    const wrong = newSink("q", { broker: rabbit.broker({ vhost: "none" }) });
    const right = newSink("q");
    const [refused, delivered] = await Promise.all([
      wrong.deliver(lifeOf(["DONE"]), signal),
      outcomesOf(right, lifeOf(["DONE"])),
    ]);
    const reason = `127.0.0.1:${rabbit.port} refused the vhost 'none'; is it there, and may the user 'guest' use it?`;
    expect(refused).toMatchObject([{ outcome: { type: "unavailable", reason } }]);
    expect(wrong.connection()).toEqual({ state: "disconnected", reason });
    expect(delivered).toEqual(["delivered"]);
    expect(right.connection()).toEqual({ state: "connected" });
  });

  it("leaves no connection behind when there is nothing to say", async () => {
    const sink = newSink("idle");
    sink.start();
    expect(await outcomesOf(sink, lifeOf(undefined))).toEqual(["delivered"]);
    expect(sink.connection()).toEqual({ state: "idle" });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    await outcomesOf(sink, lifeOf(["DONE"]));
    expect(sink.connection()).toEqual({ state: "connected" });
    vi.advanceTimersByTime(30_000);
    vi.useRealTimers();
    expect(sink.connection()).toEqual({ state: "idle" });
    expect(await outcomesOf(sink, lifeOf(["DONE"]))).toEqual(["delivered"]);
  });
});

/** An event for each list of stages. */
function lifeOf(...stages: (string[] | undefined)[]): Event[] {
  return numbered(
    stages.map((list) => vmEvent("VM.RUNNING", vm, 0, { data: list === undefined ? {} : { stages: list } })),
  );
}

function newSink(queue: string, changes: Partial<NotifySinkOptions> = {}): NotifySink {
  const options = { broker: rabbit.broker(), queue, vmId: "22", guard: undefined, log: keptLog().log };
  const sink = new NotifySink({ ...options, ...changes });
  sinks.push(sink);
  return sink;
}

async function outcomesOf(sink: NotifySink, events: Event[]): Promise<string[]> {
  return (await sink.deliver(events, signal)).map(({ outcome }) => outcome.type);
}

async function messagesOf(queue: string): Promise<amqp.GetMessage[]> {
  const messages: amqp.GetMessage[] = [];
  for (let message = await channel.get(queue, { noAck: true }); message !== false;) {
    messages.push(message);
    message = await channel.get(queue, { noAck: true });
  }
  return messages;
}
