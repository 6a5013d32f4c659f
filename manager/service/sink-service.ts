/** Where events go, for whoever made it so. */
import { randomUUID } from "node:crypto";
import type { DeadLetter, DeliveryAttempt, SinkSummary } from "../../shared/api/event-schemas.ts";
import type { Health } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { assertMayDo, mayManage } from "../access/permissions.ts";
import type { Principal } from "../access/principal.ts";
import { shownEvent } from "../events/bodies.ts";
import { type Event, managerEvent } from "../events/event.ts";
import type { EventLog } from "../events/event-log.ts";
import { maySeeEvent } from "../events/filter.ts";
import type { Dispatcher } from "../events/outbox/dispatcher.ts";
import type { Feed } from "../events/outbox/feed.ts";
import type { Subscriptions } from "../events/subscriptions.ts";
import { KEPT_DEAD_LETTERS } from "../store/limits.ts";
import type { Store, StoredAttempt } from "../store/store.ts";
import type { Audited } from "./audited.ts";
import type { SinkService } from "./event-service.ts";

const DEFAULT_LIMIT = 100;

/** A webhook's time-out, and some more. */
const TEST_TIMEOUT_MS = 20_000;

export interface SinkServiceParts {
  store: Pick<Store, "deadLetters" | "attemptsAt" | "appendEvents" | "event">;
  dispatcher: Dispatcher;
  subscriptions: Subscriptions;
  log: EventLog;
  audited: Audited;
}

export class ManagedSinks implements SinkService {
  readonly #parts: SinkServiceParts;

  constructor(parts: SinkServiceParts) {
    this.#parts = parts;
  }

  list(who: Principal): SinkSummary[] {
    return this.#parts.dispatcher.feeds.filter(({ id }) => this.#maySee(who, id)).map(sinkSummary);
  }

  async deadLetters(who: Principal, sink: string, limit = DEFAULT_LIMIT): Promise<DeadLetter[]> {
    const { id } = this.#resolve(who, sink);
    const letters = await this.#parts.store.deadLetters(id, limit);
    return letters
      .filter(({ event }) => maySeeEvent(who, event))
      .map(({ event, attempts, error, at }) => {
        return {
          event: shownEvent({ ...event, value: undefined }, this.#parts.log.id),
          attempts,
          error,
          at: rfc3339(at),
        };
      });
  }

  async deliveries(who: Principal, sink: string, limit = DEFAULT_LIMIT): Promise<DeliveryAttempt[]> {
    const { id } = this.#resolve(who, sink);
    return (await this.#parts.store.attemptsAt(id, limit)).map(shownAttempt);
  }

  redeliver(who: Principal, sink: string, events: readonly string[] | undefined): Promise<number> {
    const { id } = this.#resolve(who, sink);
    assertMayDo(who, "write");
    return this.#parts.audited(who, { action: `sink.redeliver ${id}` }, async () => {
      for (const event of events ?? []) await this.#assertMayHave(who, id, event);
      return this.#parts.dispatcher.redeliver(id, events);
    });
  }

  enable(who: Principal, sink: string): Promise<SinkSummary> {
    const feed = this.#resolve(who, sink);
    assertMayDo(who, "write");
    return this.#parts.audited(who, { action: `sink.enable ${feed.id}` }, () => {
      feed.enable();
      return Promise.resolve(sinkSummary(feed));
    });
  }

  test(who: Principal, sink: string, signal: AbortSignal): Promise<DeliveryAttempt> {
    const feed = this.#resolve(who, sink);
    assertMayDo(who, "write");
    if (feed.state.disabled !== undefined) {
      throw new CommandError("conflict", `the sink ${feed.id} is disabled: ${feed.state.disabled}; enable it first`);
    }
    return this.#parts.audited(who, { action: `sink.test ${feed.id}` }, async () =>
      shownAttempt(await this.#test(who, feed, signal)),
    );
  }

  async #test(who: Principal, feed: Feed, signal: AbortSignal): Promise<StoredAttempt> {
    const test = randomUUID();
    const tested = feed.tested(test, AbortSignal.any([signal, AbortSignal.timeout(TEST_TIMEOUT_MS)]));
    const data = { test, by: who.name };
    await this.#parts.store.appendEvents([managerEvent("SINK.TEST", Date.now(), { only: feed.id, data })]);
    const attempt = await tested;
    if (attempt !== undefined) return attempt;
    const reason = feed.trouble ?? "it waits behind others";
    throw new CommandError(
      "unreachable",
      `the test event was not delivered within ${TEST_TIMEOUT_MS / 1000} s: ${reason}`,
    );
  }

  /** Nobody gets an event by redelivery that they could not have seen. */
  async #assertMayHave(who: Principal, sink: string, id: string): Promise<void> {
    const event = (await this.#parts.store.event(id)) ?? (await this.#buriedAt(sink, id));
    if (event === undefined || !maySeeEvent(who, event))
      throw new CommandError("failed", `there is no event '${id}' (any more)`);
  }

  /** A dead letter is kept for longer than its event. */
  async #buriedAt(sink: string, id: string): Promise<Event | undefined> {
    const letters = await this.#parts.store.deadLetters(sink, KEPT_DEAD_LETTERS);
    return letters.find(({ event }) => event.id === id)?.event;
  }

  #resolve(who: Principal, id: string): Feed {
    const feed = this.#parts.dispatcher.feed(id);
    if (feed !== undefined && this.#maySee(who, id)) return feed;
    throw new CommandError("failed", `there is no sink '${id}'; 'vmmessage sinks' lists them`, { unknown: true });
  }

  #maySee(who: Principal, id: string): boolean {
    return mayManage(who, this.#parts.subscriptions.ownerOf(id));
  }
}

export function sinkSummary(feed: Feed): SinkSummary {
  const { id, sink, state, backlog, retrying, deadLetters } = feed;
  const { lastDeliveredAt, failures } = state;
  return {
    id,
    type: sink.type,
    target: sink.target,
    ...conditionOf(feed),
    backlog,
    retrying,
    deadLetters,
    failures,
    ...(lastDeliveredAt !== undefined && { lastDeliveredAt: rfc3339(lastDeliveredAt) }),
  };
}

/** Nothing is wrong with it, as far as anybody can tell. */
export function works({ state }: { state: string }): boolean {
  return state === "connected" || state === "idle";
}

/** Of those that users made, only how many are in which state: it is for everybody. */
export function sinksHealth(sinks: readonly SinkSummary[]): Health["sinks"] {
  const isConfigured = ({ id }: SinkSummary): boolean => id.startsWith("config:") || id.startsWith("recovery:");
  const subscribed = { connected: 0, disconnected: 0, idle: 0, disabled: 0 };
  for (const sink of sinks) if (!isConfigured(sink)) subscribed[sink.state] += 1;
  const configured = sinks.filter(isConfigured).map(({ id, state, reason, backlog, deadLetters }) => {
    return { id, state, ...(reason !== undefined && { reason }), backlog, deadLetters };
  });
  return { configured, subscribed };
}

function conditionOf({ sink, state, trouble }: Feed): Pick<SinkSummary, "state" | "reason"> {
  if (state.disabled !== undefined) return { state: "disabled", reason: state.disabled };
  const connection = sink.connection();
  if (connection.state === "disconnected") return connection;
  if (trouble !== undefined) return { state: "disconnected", reason: trouble };
  const { failures } = state;
  if (failures === 0) return connection;
  const attempts = failures === 1 ? "the last attempt" : `the last ${failures} attempts`;
  return { state: "disconnected", reason: `${attempts} failed; its deliveries say why` };
}

function shownAttempt({ at, status, error, ...attempt }: StoredAttempt): DeliveryAttempt {
  return {
    ...attempt,
    at: rfc3339(at),
    ...(status !== undefined && { status }),
    ...(error !== undefined && { error }),
  };
}
