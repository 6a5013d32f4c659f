/**
 * The manager's way of an event to a broker, put together as manager.ts does and without what makes events: the store and
 * its log, the dispatcher, the sink. `manager-publisher.ts PORT EXCHANGE DIRECTORY`
 */
import { Dispatcher } from "../../../manager/events/outbox/dispatcher.ts";
import type { Event, NewEvent } from "../../../manager/events/event.ts";
import { EventLog } from "../../../manager/events/event-log.ts";
import { Metrics } from "../../../manager/metrics.ts";
import { AmqpSink } from "../../../manager/sinks/amqp-sink.ts";
import { openStore } from "../../../manager/store/open-store.ts";
import type { Store, StoredAttempt } from "../../../manager/store/store.ts";
import type { Log } from "../../../shared/log.ts";
import { waitFor } from "../../vm/harness/wait-for.ts";
import { numbered, sampleEvents } from "./sample-events.ts";
import { serveCommands } from "./worker-process.ts";

/** `outbox`: from the store to the last confirm. `append`: the store alone. `sink`: the sink alone. */
export interface PublishOurs {
  path: "outbox" | "append" | "sink";
  count: number;
}

/** Events in one request to the store, and requests that wait there: it always has something to do. */
const APPENDED_AT_ONCE = 1_000;
const REQUESTS_AT_ONCE = 2;

const SINK = "config:bench";

const [, , port = "", exchange = "", directory = ""] = process.argv;
const broker = { tls: false, host: "127.0.0.1", port: Number(port), vhost: "/", user: "guest", password: "guest" };
const log: Log = { info: () => undefined, warn: unexpected, error: unexpected };
const metrics = new Metrics();
/** Of the round: how many are to be confirmed still, and who waits for it. */
let unconfirmed = 0;
let confirmed = Promise.withResolvers<undefined>();

const { store, dispatcher } = await openOutbox();

const rounds = { outbox: throughOutbox, append: intoLog, sink: throughSink };

/** Answers milliseconds. */
serveCommands(({ path, count }: PublishOurs) => rounds[path](count));

async function openOutbox(): Promise<{ store: Store; dispatcher: Dispatcher }> {
  let tell: (events: readonly Event[]) => void = () => undefined;
  const opened = await openStore({
    directory,
    log,
    onFailure: failed,
    onAppended: (events) => {
      metrics.events(events);
      tell(events);
    },
  });
  const eventLog = new EventLog(opened, await opened.eventLog());
  tell = (events) => {
    eventLog.appended(events);
  };
  return {
    store: opened,
    dispatcher: new Dispatcher({ store: opened, log: eventLog, logger: log, attempted, failed }),
  };
}

async function throughOutbox(count: number): Promise<number> {
  const sink = await connectedSink();
  await dispatcher.add({ id: SINK, sink, wants: () => true, carriesValues: false, tellWhenDisabled: [] });
  const events = sampleEvents(count);
  unconfirmed = count;
  confirmed = Promise.withResolvers();
  const startedAt = performance.now();
  await append(events);
  await confirmed.promise;
  const ms = performance.now() - startedAt;
  await dispatcher.forget(SINK);
  return ms;
}

async function intoLog(count: number): Promise<number> {
  const events = sampleEvents(count);
  const startedAt = performance.now();
  await append(events);
  return performance.now() - startedAt;
}

async function append(events: readonly NewEvent[]): Promise<void> {
  let next = 0;
  const appendRest = async (): Promise<void> => {
    while (next < events.length) {
      const batch = events.slice(next, next + APPENDED_AT_ONCE);
      next += batch.length;
      await store.appendEvents(batch);
    }
  };
  await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, appendRest));
}

async function throughSink(count: number): Promise<number> {
  const events = numbered(sampleEvents(count));
  const sink = await connectedSink();
  const startedAt = performance.now();
  for (let start = 0; start < count; start += sink.batchSize) {
    const batch = events.slice(start, start + sink.batchSize);
    const attempted = await sink.deliver(batch, new AbortController().signal);
    if (attempted.some(({ outcome }) => outcome.type !== "delivered")) failed(new Error("an event was not delivered"));
  }
  const ms = performance.now() - startedAt;
  await sink.close();
  return ms;
}

async function connectedSink(): Promise<AmqpSink> {
  const to = { exchange };
  const sink = new AmqpSink({ broker, to, format: "cloudstack", host: "bench", guard: undefined, log });
  sink.start();
  await waitFor("the broker", () => sink.connection().state === "connected");
  return sink;
}

function attempted(sink: string, outcome: StoredAttempt["outcome"]): void {
  metrics.attempted(sink, outcome);
  if (outcome !== "delivered") failed(new Error("an event was not delivered"));
  unconfirmed -= 1;
  if (unconfirmed === 0) confirmed.resolve(undefined);
}

function unexpected(event: string, fields: object = {}): void {
  failed(new Error(`${event} ${JSON.stringify(fields)}`));
}

function failed(error: unknown): never {
  throw error instanceof Error ? error : new Error(String(error));
}
