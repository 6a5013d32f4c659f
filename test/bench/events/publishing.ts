/** `events.amqp_*`: how fast events get to a broker that confirms them, and which part of the way takes how long. */
import { type Channel, type ChannelModel, connect } from "amqplib";
import type { RabbitUnderTest } from "../../integration/support/rabbitmq.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";
import type { Figure } from "../figure.ts";
import type { Progress } from "../progress.ts";
import { median, summary } from "../statistics.ts";
import type { PublishBare } from "./bare-publisher.ts";
import type { PublishOurs } from "./manager-publisher.ts";
import { WorkerProcess } from "./worker-process.ts";

const EVENTS = 10_000;
const ROUNDS = 7;

const EXCHANGE = "bench-publishing";
const QUEUE = "bench-publishing";

/** As the manager is shipped. */
const MANAGER_OPTIONS = ["--max-semi-space-size=4"];

interface Rates {
  outbox: number[];
  append: number[];
  sink: number[];
  bare: number[];
}

export async function publishingFigures(rabbit: RabbitUnderTest, progress: Progress): Promise<Figure[]> {
  await using resources = new AsyncDisposableStack();
  const directory = await createTemporaryDirectory();
  resources.defer(() => removeTemporaryDirectory(directory));
  const queue = resources.use(await BoundQueue.declare(rabbit.url));
  const port = String(rabbit.port);
  const ours = resources.use(
    await WorkerProcess.start<PublishOurs, number>(
      "manager-publisher.ts",
      [port, EXCHANGE, directory],
      MANAGER_OPTIONS,
    ),
  );
  const bare = resources.use(await WorkerProcess.start<PublishBare, number>("bare-publisher.ts", [port, EXCHANGE]));
  const rates: Rates = { outbox: [], append: [], sink: [], bare: [] };
  // The first warms up.
  for (let round = 0; round <= ROUNDS; round += 1) {
    progress(`publishing, ${round} of ${ROUNDS}`);
    const measured = {
      bare: await queue.filledBy(() => bare.ask({ count: EVENTS })),
      outbox: await queue.filledBy(() => ours.ask({ path: "outbox", count: EVENTS })),
      sink: await queue.filledBy(() => ours.ask({ path: "sink", count: EVENTS })),
      append: await ours.ask({ path: "append", count: EVENTS }),
    };
    if (round === 0) continue;
    for (const path of ["bare", "outbox", "sink", "append"] as const)
      rates[path].push((EVENTS * 1000) / measured[path]);
  }
  return figuresOf(rates);
}

function figuresOf({ outbox, append, sink, bare }: Rates): Figure[] {
  const peer = { peer: median(bare), peerName: "bare amqplib" };
  const ratios = outbox.map((rate, round) => rate / (bare[round] ?? Number.NaN));
  return [
    { name: "events.amqp_ratio", unit: "x", ...summary(ratios), goal: ">= 0.7" },
    { name: "events.amqp_per_s", unit: "1/s", ...summary(outbox), ...peer },
    { name: "events.sink_per_s", unit: "1/s", ...summary(sink), ...peer },
    { name: "events.append_per_s", unit: "1/s", ...summary(append) },
  ];
}

/** A durable queue of everything that is published. */
class BoundQueue implements AsyncDisposable {
  readonly #model: ChannelModel;
  readonly #channel: Channel;

  private constructor(model: ChannelModel, channel: Channel) {
    this.#model = model;
    this.#channel = channel;
  }

  static async declare(url: string): Promise<BoundQueue> {
    const model = await connect(url);
    const channel = await model.createChannel();
    await channel.assertExchange(EXCHANGE, "topic", { durable: true });
    await channel.assertQueue(QUEUE, { durable: true });
    await channel.bindQueue(QUEUE, EXCHANGE, "#");
    return new BoundQueue(model, channel);
  }

  /** Rejects unless every event is in the queue afterwards, which is then emptied. */
  async filledBy<T>(publish: () => Promise<T>): Promise<T> {
    const answer = await publish();
    const { messageCount } = await this.#channel.purgeQueue(QUEUE);
    if (messageCount !== EVENTS) throw new Error(`${messageCount} of ${EVENTS} messages are in the queue`);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#model.close();
  }
}
