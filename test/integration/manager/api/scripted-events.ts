/** The events' part of the scripted service: a log in memory, and one of everything else. */
import { CommandError } from "../../../../shared/cli/failure.ts";
import type {
  DeliveryAttempt,
  ImageSave,
  NewImageSave,
  NewNotify,
  NewSubscription,
  Notify,
  ShownEvent,
  SinkSummary,
  Subscription,
  SubscriptionChange,
} from "../../../../shared/api/event-schemas.ts";
import type { Principal } from "../../../../manager/access/principal.ts";
import type {
  EventQuery,
  EventService,
  EventStreamItem,
  ImageService,
  SinkService,
  SubscriptionService,
} from "../../../../manager/service/event-service.ts";

export const LOG = "00112233445566ee";
export const EVENT_TIME = "2026-11-20T23:51:34.030Z";
const WEB = { id: "6d2a7d6e-5f0b-4b5e-9d4e-0a6f0f7f0001", name: "web" };

/** Writes down who asked for what. */
export type Note = (method: string, who: Principal, ...rest: unknown[]) => Promise<void>;

/** The event at this place of the log: `web` was paused, unless told otherwise. */
export function eventAt(position: number, different: Partial<ShownEvent> = {}): ShownEvent {
  return {
    cursor: cursorAt(position),
    id: `00000000-0000-4000-8000-${String(position).padStart(12, "0")}`,
    time: EVENT_TIME,
    source: "management-server",
    category: "ResourceStateEvent",
    type: "VM.PAUSED",
    resourceType: "VirtualMachine",
    resourceUUID: WEB.id,
    resourceName: WEB.name,
    sequence: position,
    oldState: "Running",
    newState: "Paused",
    data: {},
    ...different,
  };
}

export function cursorAt(position: number): string {
  return `${LOG}:${position}`;
}

export class ScriptedEvents implements EventService {
  /** The event at place 1, 2 and so on. */
  readonly log: ShownEvent[] = [];
  /** Events before this place are no longer kept. */
  first = 1;
  readonly signals: AbortSignal[] = [];
  readonly #note: Note;
  #appended = Promise.withResolvers<undefined>();

  constructor(note: Note) {
    this.#note = note;
  }

  append(...different: Partial<ShownEvent>[]): void {
    for (const event of different) this.log.push(eventAt(this.log.length + 1, event));
    this.#appended.resolve(undefined);
    this.#appended = Promise.withResolvers();
  }

  async list(who: Principal, query: EventQuery, limit = 50) {
    await this.#note("events.list", who, query, limit);
    const after = query.since === undefined ? Math.max(0, this.log.length - limit) : this.#positionOf(query.since);
    const start = Math.max(after, this.first - 1);
    const end = Math.min(this.log.length, start + limit);
    const page = { events: this.log.slice(start, end), next: cursorAt(end), more: end < this.log.length };
    return { ...page, missed: query.since !== undefined && start > after };
  }

  async *follow(who: Principal, query: EventQuery, signal: AbortSignal): AsyncIterable<EventStreamItem> {
    await this.#note("events.follow", who, query);
    this.signals.push(signal);
    let after = query.since === undefined ? this.log.length : this.#positionOf(query.since);
    yield { type: "position", next: cursorAt(after) };
    if (after < this.first - 1) {
      after = this.first - 1;
      yield { type: "missed", next: cursorAt(after) };
    }
    const ended = new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => {
        resolve();
      });
    });
    while (!signal.aborted) {
      const appended = this.#appended.promise;
      for (const event of this.log.slice(after)) yield { type: "event", event };
      after = this.log.length;
      await Promise.race([appended, ended]);
    }
  }

  #positionOf(cursor: string): number {
    const [log, position] = cursor.split(":");
    if (log === LOG) return Number(position);
    throw new CommandError("conflict", "the cursor is of another log of events; begin without --since");
  }
}

export const mainSink: SinkSummary = {
  id: "config:main",
  type: "amqp",
  target: "amqp://events@broker.example/%2F, exchange cloudstack-events",
  state: "disconnected",
  reason: "connect ECONNREFUSED 192.0.2.1:5672",
  backlog: 12,
  retrying: 1,
  deadLetters: 2,
  failures: 3,
};

export const webhookSink: SinkSummary = {
  id: "s1.1",
  type: "webhook",
  target: "https://hooks.example/vm",
  state: "idle",
  backlog: 0,
  retrying: 0,
  deadLetters: 0,
  failures: 0,
  lastDeliveredAt: EVENT_TIME,
};

const attempt: DeliveryAttempt = {
  eventId: eventAt(1).id,
  type: "SINK.TEST",
  at: EVENT_TIME,
  attempt: 1,
  outcome: "delivered",
  status: 204,
  durationMs: 12.5,
};

export class ScriptedSinks implements SinkService {
  /** What became of a test. */
  tested: DeliveryAttempt = attempt;
  readonly #note: Note;

  constructor(note: Note) {
    this.#note = note;
  }

  list(who: Principal) {
    void this.#note("sinks.list", who);
    return [mainSink, webhookSink];
  }

  async deadLetters(who: Principal, sink: string, limit?: number) {
    await this.#note("sinks.deadLetters", who, sink, limit);
    known(sink);
    return [{ event: eventAt(1), attempts: 9, error: "404 NOT_FOUND", at: EVENT_TIME }];
  }

  async deliveries(who: Principal, sink: string, limit?: number) {
    await this.#note("sinks.deliveries", who, sink, limit);
    known(sink);
    return [attempt];
  }

  async redeliver(who: Principal, sink: string, events: readonly string[] | undefined) {
    await this.#note("sinks.redeliver", who, sink, events);
    return events?.length ?? known(sink).deadLetters;
  }

  async enable(who: Principal, sink: string) {
    await this.#note("sinks.enable", who, sink);
    return known(sink);
  }

  async test(who: Principal, sink: string) {
    await this.#note("sinks.test", who, sink);
    known(sink);
    return this.tested;
  }
}

function known(id: string): SinkSummary {
  const sink = [mainSink, webhookSink].find((one) => one.id === id);
  if (sink !== undefined) return sink;
  throw new CommandError("failed", `there is no sink '${id}'; 'vmmessage sinks' lists them`, { unknown: true });
}

export const subscription: Subscription = {
  id: "s1",
  name: "dns",
  filter: { types: ["VM.*"], vms: ["web*"] },
  values: false,
  format: "cloudevents",
  contact: "mailto:ops@example.com",
  owner: "alice",
  createdAt: EVENT_TIME,
  endpoints: [webhookSink],
  secrets: 1,
};

export const notify: Notify = {
  id: "n1",
  vm: WEB,
  vmId: "22",
  host: "broker.example",
  port: 5672,
  vhost: "/",
  user: "stratus",
  queue: "states",
  by: "alice",
  sink: { ...webhookSink, id: "notify:n1", type: "notify", target: "amqp://stratus@broker.example/%2F, queue states" },
};

export class ScriptedSubscriptions implements SubscriptionService {
  /** How many more notifications can be added. */
  room = Infinity;
  readonly #note: Note;

  constructor(note: Note) {
    this.#note = note;
  }

  list(who: Principal) {
    void this.#note("subscriptions.list", who);
    return [subscription];
  }

  show(who: Principal, id: string) {
    void this.#note("subscriptions.show", who, id);
    return knownSubscription(id);
  }

  async create(who: Principal, added: NewSubscription) {
    await this.#note("subscriptions.create", who, added);
    const { name, filter, values, format } = added;
    return { ...subscription, name, filter, values, format };
  }

  async change(who: Principal, id: string, change: SubscriptionChange) {
    await this.#note("subscriptions.change", who, id, change);
    const { name = subscription.name, filter = subscription.filter } = change;
    return { ...knownSubscription(id), name, filter };
  }

  async remove(who: Principal, id: string) {
    await this.#note("subscriptions.remove", who, id);
    knownSubscription(id);
  }

  listNotify(who: Principal, vm: string) {
    void this.#note("subscriptions.listNotify", who, vm);
    return [notify];
  }

  async addNotify(who: Principal, vm: string, added: NewNotify) {
    await this.#note("subscriptions.addNotify", who, vm, added);
    this.room -= 1;
    if (this.room < 0) throw new CommandError("over-limit", `'${vm}' has as many notifications as it can have`);
    return notify;
  }

  async removeNotify(who: Principal, vm: string, id: string) {
    await this.#note("subscriptions.removeNotify", who, vm, id);
  }
}

function knownSubscription(id: string): Subscription {
  if (id === subscription.id) return subscription;
  throw new CommandError("failed", `there is no subscription '${id}'`, { unknown: true });
}

export const imageSave: ImageSave = {
  id: "i1",
  vm: WEB,
  directory: "/srv/images",
  format: "qcow2",
  by: "alice",
  state: "waiting",
  createdAt: EVENT_TIME,
};

export class ScriptedImages implements ImageService {
  /** What following a save says, in this order. */
  changes: Partial<ImageSave>[] = [];
  readonly #note: Note;

  constructor(note: Note) {
    this.#note = note;
  }

  async save(who: Principal, vm: string, image: NewImageSave) {
    await this.#note("images.save", who, vm, image);
    if (image.directory.startsWith("/srv/images")) return { ...imageSave, ...image };
    throw new CommandError("not-permitted", `images may not be saved in ${image.directory}`);
  }

  list(who: Principal, vm: string | undefined) {
    void this.#note("images.list", who, vm);
    return [imageSave];
  }

  show(who: Principal, id: string) {
    void this.#note("images.show", who, id);
    return knownImageSave(id);
  }

  async *follow(who: Principal, id: string): AsyncIterable<ImageSave> {
    await this.#note("images.follow", who, id);
    yield knownImageSave(id);
    for (const change of this.changes) yield { ...imageSave, ...change };
  }

  async cancel(who: Principal, id: string) {
    await this.#note("images.cancel", who, id);
    return { ...knownImageSave(id), state: "cancelled" as const };
  }
}

function knownImageSave(id: string): ImageSave {
  if (id === imageSave.id) return imageSave;
  throw new CommandError("failed", `nothing is saved under '${id}'`, { unknown: true });
}
