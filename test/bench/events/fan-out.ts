/** `events.webhook_fanout_per_s`: a thousand subscribers who are told of every event, over HTTP. */
import { randomBytes } from "node:crypto";
import type { Figure } from "../figure.ts";
import { buildBundles } from "../../../scripts/build.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";
import { waitFor } from "../../vm/harness/wait-for.ts";
import { ManagerProcess } from "../manager/manager-process.ts";
import { settledPrivateKib } from "../memory.ts";
import type { Progress } from "../progress.ts";
import { median, summary } from "../statistics.ts";
import type { PostBare } from "./bare-poster.ts";
import type { ReceiverAnswer, ReceiverCommand } from "./counting-receiver.ts";
import { WorkerProcess } from "./worker-process.ts";

const SUBSCRIBERS = 1_000;
const EVENTS_A_ROUND = 10;
const ROUNDS = 3;
const DELIVERIES = SUBSCRIBERS * EVENTS_A_ROUND;

/** Nobody listens there: what is sent to it waits, and each message is one event of the type that is subscribed to. */
const AWAY = { name: "away", socket: "/nonexistent/channel" };
const TYPE = "MESSAGE.QUEUED";

const targets = { http: true, allow: ["127.0.0.0/8"] };

type Receiver = WorkerProcess<ReceiverCommand, ReceiverAnswer>;

export async function fanOutFigures(progress: Progress): Promise<Figure[]> {
  await using resources = new AsyncDisposableStack();
  const bundle = await createTemporaryDirectory();
  resources.defer(() => removeTemporaryDirectory(bundle));
  await buildBundles({ outDir: bundle });
  const receiver: Receiver = resources.use(await WorkerProcess.start("counting-receiver.ts"));
  const bare = resources.use(await WorkerProcess.start<PostBare, number>("bare-poster.ts"));
  const manager = resources.use(await ManagerProcess.start(bundle, { events: { targets } }));
  await manager.list([AWAY]);
  await waitFor("the VM", () => manager.calls.knows(AWAY.name));
  const subscribing = await subscribe(manager, receiver, progress);
  const ours: number[] = [];
  const floor: number[] = [];
  // The first warms up.
  for (let round = 0; round <= ROUNDS; round += 1) {
    progress(`${DELIVERIES} webhooks, ${round} of ${ROUNDS}`);
    const rates = [await toldPerSecond(manager, receiver), await postedPerSecond(bare, receiver)] as const;
    if (round === 0) continue;
    ours.push(rates[0]);
    floor.push(rates[1]);
  }
  const ratios = ours.map((rate, round) => rate / (floor[round] ?? Number.NaN));
  return [
    ...subscribing,
    {
      name: "events.webhook_fanout_per_s",
      unit: "1/s",
      ...summary(ours),
      floor: median(floor),
      floorName: "bare POSTs",
    },
    { name: "events.webhook_fanout_ratio", unit: "x", ...summary(ratios) },
  ];
}

async function subscribe({ pid, calls }: ManagerProcess, receiver: Receiver, progress: Progress): Promise<Figure[]> {
  const { port } = await receiver.ask({ type: "port" });
  const before = await settledPrivateKib(pid);
  const startedAt = performance.now();
  for (let count = 0; count < SUBSCRIBERS; count += 1) {
    progress(`subscribing, ${count} of ${SUBSCRIBERS}`);
    const secrets = [`whsec_${randomBytes(32).toString("base64")}`];
    const endpoints = [`http://127.0.0.1:${port}/${count}`];
    await calls.subscribe({ name: `subscriber ${count}`, endpoints, secrets, filter: { types: [TYPE] } });
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const kib = ((await settledPrivateKib(pid)) - before) / SUBSCRIBERS;
  return [
    { name: "events.subscribe_1000_s", unit: "s", ours: seconds },
    { name: "events.subscriber_kib", unit: "KiB", ours: kib },
  ];
}

/** From the first message that is sent until everybody has been told of each. */
async function toldPerSecond({ calls }: ManagerProcess, receiver: Receiver): Promise<number> {
  const startedAt = performance.now();
  const isComplete = receiver.ask({ type: "await", requests: DELIVERIES });
  for (let count = 0; count < EVENTS_A_ROUND; count += 1) {
    await calls.send(AWAY.name, { method: "set", params: { entries: [{ key: "role", value: String(count) }] } });
  }
  await isComplete;
  return DELIVERIES / ((performance.now() - startedAt) / 1000);
}

/** The same number of the same, over as many connections. */
async function postedPerSecond(bare: WorkerProcess<PostBare, number>, receiver: Receiver): Promise<number> {
  const { port, sample: event } = await receiver.ask({ type: "port" });
  const isComplete = receiver.ask({ type: "await", requests: DELIVERIES });
  const ms = await bare.ask({ port, connections: SUBSCRIBERS, requestsEach: EVENTS_A_ROUND, event });
  await isComplete;
  return DELIVERIES / (ms / 1000);
}
