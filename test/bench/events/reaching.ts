/** `events.put_to_consumer*`: from a program in a guest that sets a key to a consumer at a broker, one change at a time. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type ChannelModel, connect } from "amqplib";
import type { Channel } from "../../../shared/channel.ts";
import { connectUnixSocket } from "../../../shared/channels/unix-socket.ts";
import { Client } from "../../../shared/client.ts";
import { KeyWatcher } from "../../../shared/key-watcher.ts";
import { newMessageId } from "../../../shared/random.ts";
import type { RabbitUnderTest } from "../../integration/support/rabbitmq.ts";
import type { Figure } from "../figure.ts";
import { LocalAgent } from "../local-agent.ts";
import { ManagerProcess } from "../manager/manager-process.ts";
import type { Progress } from "../progress.ts";
import { percentile } from "../statistics.ts";

const SPACED_CHANGES = 100;
const BUSY_CHANGES = 40;
const WARM_UP_CHANGES = 10;

/** Longer than the manager collects what one guest changes: each change is the first after a pause. */
const PAUSE_MS = 600;

const EXCHANGE = "bench-reaching";
const KEY = "com.example.bench";

export async function reachingFigures(rabbit: RabbitUnderTest, progress: Progress): Promise<Figure[]> {
  progress("starting agents");
  await using resources = new AsyncDisposableStack();
  const managed = resources.use(await LocalAgent.start());
  const watched = resources.use(await LocalAgent.start());
  const consumer = resources.use(await Consumer.start(rabbit.url));
  const sink = { name: "bench", type: "amqp", url: rabbit.url, exchange: EXCHANGE, values: true };
  const manager = resources.use(await ManagerProcess.start(managed.bundle, { events: { sinks: [sink] } }));
  await manager.link([{ name: "managed", socket: managed.channelPath }]);
  const watcher = resources.use(await Watcher.start(watched));
  const toConsumer = resources.use(await Setter.connect(managed, consumer.arrivals));
  const toWatcher = resources.use(await Setter.connect(watched, watcher.arrivals));
  await repeated(WARM_UP_CHANGES, () => toConsumer.changeMs());
  const floor: number[] = [];
  const spaced = await repeated(SPACED_CHANGES, async (change) => {
    progress(`changes after a pause, ${change} of ${SPACED_CHANGES}`);
    floor.push(await toWatcher.changeMs());
    await sleep(PAUSE_MS);
    return toConsumer.changeMs();
  });
  const busy = await repeated(BUSY_CHANGES, (change) => {
    progress(`changes without a pause, ${change} of ${BUSY_CHANGES}`);
    return toConsumer.changeMs();
  });
  return [
    ...latencies("events.put_to_consumer_ms", spaced, floor),
    ...latencies("events.put_to_consumer_busy_ms", busy, floor),
  ];
}

async function repeated(times: number, work: (time: number) => Promise<number>): Promise<number[]> {
  const values: number[] = [];
  for (let time = 1; time <= times; time += 1) values.push(await work(time));
  return values;
}

function latencies(name: string, ours: readonly number[], floor: readonly number[]): Figure[] {
  return [50, 99].map((percent): Figure => {
    const floorName = "direct watcher";
    const ms = { unit: "ms", ours: percentile(ours, percent), floor: percentile(floor, percent), floorName };
    return { name: `${name}.p${percent}`, ...ms };
  });
}

/** Values that have come to the other end, and who waits for one. */
class Arrivals {
  readonly #waiting = new Map<string, () => void>();

  of(value: string): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.set(value, resolve);
    });
  }

  add(value: string): void {
    this.#waiting.get(value)?.();
    this.#waiting.delete(value);
  }
}

/** A program in the guest, with a connection of its own to the agent's socket: no process is started for a change. */
class Setter implements AsyncDisposable {
  readonly #client: Client;
  readonly #arrivals: Arrivals;

  private constructor(client: Client, arrivals: Arrivals) {
    this.#client = client;
    this.#arrivals = arrivals;
  }

  static async connect(agent: LocalAgent, arrivals: Arrivals): Promise<Setter> {
    const channel = await connectUnixSocket(join(agent.runDirectory, "agent.sock"));
    const client = new Client(channel, { role: "local" });
    await client.hello();
    return new Setter(client, arrivals);
  }

  /** Sets the key; until its value has arrived. */
  async changeMs(): Promise<number> {
    const value = randomUUID();
    const arrived = this.#arrivals.of(value);
    const startedAt = performance.now();
    const answered = this.#client.change("set", { messageId: newMessageId(), entries: [{ key: KEY, value }] });
    await arrived;
    const ms = performance.now() - startedAt;
    await answered;
    return ms;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }
}

/** Reads everything that the manager publishes. */
class Consumer implements AsyncDisposable {
  readonly arrivals = new Arrivals();
  readonly #model: ChannelModel;

  private constructor(model: ChannelModel) {
    this.#model = model;
  }

  static async start(url: string): Promise<Consumer> {
    const model = await connect(url, { noDelay: true });
    const consumer = new Consumer(model);
    const channel = await model.createChannel();
    await channel.assertExchange(EXCHANGE, "topic", { durable: true });
    const { queue } = await channel.assertQueue("", { exclusive: true });
    await channel.bindQueue(queue, EXCHANGE, "*.*.KEY-SET.#");
    await channel.consume(queue, (message) => {
      if (message === null) throw new Error("the broker ended the consumer");
      const { data } = JSON.parse(message.content.toString()) as { data: { value: string } };
      consumer.arrivals.add(data.value);
      channel.ack(message);
    });
    return consumer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#model.close();
  }
}

/** A host on a guest's channel that only watches. */
class Watcher implements AsyncDisposable {
  readonly arrivals = new Arrivals();
  readonly #watcher: KeyWatcher;

  private constructor(channel: Channel) {
    this.#watcher = new KeyWatcher(channel, {
      role: "host",
      prefix: KEY,
      onBatch: ({ changes }) => {
        for (const change of changes) if ("value" in change) this.arrivals.add(change.value ?? "");
      },
    });
  }

  static async start(agent: LocalAgent): Promise<Watcher> {
    const watcher = new Watcher(await connectUnixSocket(agent.channelPath));
    await watcher.#watcher.begin();
    return watcher;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watcher.client.close();
  }
}
