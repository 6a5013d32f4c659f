/** Who is told of events: the configuration's sinks, users' subscriptions, and StratusLab's notifications. */
import { createHash, randomUUID } from "node:crypto";
import type {
  BodyFormat,
  EventFilter,
  NewNotify,
  NewSubscription,
  SubscriptionChange,
} from "../../shared/api/event-schemas.ts";
import type { VmRef } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { type Log, logWith } from "../../shared/log.ts";
import type { Principal } from "../access/principal.ts";
import type { EventsConfig, SinkConfig } from "../config.ts";
import type { NotifyWish } from "../inventory/static-file.ts";
import { configuredEndpoint } from "../sinks/configured-sinks.ts";
import type { Endpoint } from "../sinks/endpoint.ts";
import { parseEndpointUrl } from "../sinks/endpoint-url.ts";
import { parseCoordinates } from "../sinks/notify-coordinates.ts";
import { openSink, type SinkContext } from "../sinks/open-sink.ts";
import { TargetGuard } from "../sinks/target-guard.ts";
import type { Store, StoredSubscription } from "../store/store.ts";
import { Turns } from "../turns.ts";
import { type EventMatcher, matcherOf, maySeeEvent } from "./filter.ts";
import type { Dispatcher } from "./outbox/dispatcher.ts";

/** Each endpoint costs a reading of every event. Not measured with as many. */
const MAX_SUBSCRIPTIONS = 10_000;
const MAX_NOTIFIES_PER_VM = 20;

type Owner = Pick<Principal, "name" | "via" | "role" | "vms" | "keys">;

/** A subscription as it is kept; its endpoints' URLs and secrets apart, encrypted. */
export interface SubscriptionRecord {
  id: string;
  createdAt: number;
  owner: Owner;
  name: string;
  filter: EventFilter;
  values: boolean;
  format: BodyFormat;
  contact: string | undefined;
  urls: readonly string[];
  secrets: readonly string[];
}

export interface NotifyRecord {
  id: string;
  createdAt: number;
  /** Undefined when the inventory says so. */
  owner: Owner | undefined;
  /** A user's name, or the inventory's. */
  by: string;
  vm: VmRef;
  vmId: string;
  coordinates: string;
}

export interface SubscriptionsOptions {
  store: Pick<Store, "subscriptions" | "saveSubscription" | "removeSubscription" | "feedNames" | "removeFeed">;
  dispatcher: Dispatcher;
  context: SinkContext;
  log: Log;
  /** What a user may see now; undefined when there is none of that name. */
  rightsOf: (user: string) => Pick<Principal, "vms" | "keys"> | undefined;
}

interface WantedSink {
  id: string;
  endpoint: Endpoint;
  isTrusted: boolean;
  wants: EventMatcher;
  carriesValues: boolean;
  tellWhenDisabled: readonly string[];
}

/** A subscription's or notification's id, and what makes its sinks. */
type Start = readonly [id: string, sinksOf: () => WantedSink[]];

export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #subscriptions = new Map<string, SubscriptionRecord>();
  readonly #notifies = new Map<string, NotifyRecord>();
  /** By the inventory's name. */
  readonly #inventoryNotifies = new Map<string, NotifyRecord[]>();
  /** As JSON, by sink id. */
  readonly #configured = new Map<string, string>();
  readonly #changes = new Turns();
  #guard: TargetGuard | undefined;
  #allowed: string | undefined;

  private constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  /** Those that are kept; nobody is told of anything before {@link apply}. */
  static async load(options: SubscriptionsOptions): Promise<Subscriptions> {
    const subscriptions = new Subscriptions(options);
    for (const stored of await options.store.subscriptions()) subscriptions.#takeUp(stored);
    return subscriptions;
  }

  get all(): SubscriptionRecord[] {
    return [...this.#subscriptions.values()];
  }

  subscription(id: string): SubscriptionRecord | undefined {
    return this.#subscriptions.get(id);
  }

  notifiesOf(vmId: string): NotifyRecord[] {
    const all = [...this.#notifies.values(), ...[...this.#inventoryNotifies.values()].flat()];
    return all.filter(({ vm }) => vm.id === vmId);
  }

  /** Who made the sink; undefined when the configuration or an inventory did, or there is none. */
  ownerOf(sinkId: string): Owner | undefined {
    if (sinkId.startsWith("notify:")) return this.#notifies.get(sinkId.slice("notify:".length))?.owner;
    return this.#subscriptions.get(sinkId.split(".")[0] ?? "")?.owner;
  }

  /**
   * Takes the configuration: its sinks, and where those of users may lead. What is as it was goes on undisturbed. Rejects
   * with the first failure, after everything else was applied.
   */
  apply(config: EventsConfig): Promise<void> {
    return this.#changes.take(async () => {
      const allowed = JSON.stringify(config.targets);
      if (this.#allowed !== allowed) {
        this.#allowed = allowed;
        this.#guard = new TargetGuard({ allow: config.targets.allow });
        await this.#startAll();
        await this.#forgetStrays();
      }
      await this.#applyConfigured(config.sinks);
    });
  }

  create(request: NewSubscription, owner: Principal): Promise<SubscriptionRecord> {
    return this.#changes.take(async () => {
      if (this.#subscriptions.size >= MAX_SUBSCRIPTIONS) {
        throw new CommandError("over-limit", `there are ${MAX_SUBSCRIPTIONS} subscriptions already`, {
          limit: MAX_SUBSCRIPTIONS,
        });
      }
      const { endpoints: urls, secrets = [], contact, ...rest } = request;
      const { name, via, role, vms, keys } = owner;
      const who = { name, via, role, vms, keys };
      const id = randomUUID();
      const record = { ...rest, id, createdAt: Date.now(), owner: who, contact, urls, secrets };
      await this.#keep(record);
      return record;
    });
  }

  change(id: string, change: SubscriptionChange): Promise<SubscriptionRecord> {
    return this.#changes.take(async () => {
      const before = this.#expect(id);
      const { name, filter, values, format, contact, endpoints, secrets } = change;
      const urls = endpoints ?? before.urls;
      const record: SubscriptionRecord = {
        ...before,
        name: name ?? before.name,
        filter: filter ?? before.filter,
        values: values ?? before.values,
        format: format ?? before.format,
        contact: contact === undefined ? before.contact : (contact ?? undefined),
        secrets: secrets ?? before.secrets,
        urls,
      };
      this.#sinksOf(record);
      const stale = before.urls.flatMap((url, index) => (url === urls[index] ? [] : [`${id}.${index}`]));
      for (const sink of stale) await this.#options.dispatcher.forget(sink);
      if (record.contact === undefined) await this.#options.dispatcher.forget(contactSink(id));
      await this.#keep(record);
      return record;
    });
  }

  remove(id: string): Promise<void> {
    return this.#changes.take(async () => {
      const record = this.#expect(id);
      await this.#options.store.removeSubscription(id);
      this.#subscriptions.delete(id);
      for (const sink of sinkIdsOf(record)) await this.#options.dispatcher.forget(sink);
    });
  }

  addNotify(vm: VmRef, request: NewNotify, owner: Principal): Promise<NotifyRecord> {
    return this.#changes.take(async () => {
      if (this.notifiesOf(vm.id).length >= MAX_NOTIFIES_PER_VM) {
        throw new CommandError("over-limit", `'${vm.name}' has ${MAX_NOTIFIES_PER_VM} notifications already`);
      }
      const { name, via, role, vms, keys } = owner;
      const record: NotifyRecord = {
        id: randomUUID(),
        createdAt: Date.now(),
        owner: { name, via, role, vms, keys },
        by: name,
        vm,
        vmId: request.vmId ?? vm.name,
        coordinates: request.coordinates,
      };
      const sink = this.#notifySink(record);
      const { coordinates, ...open } = record;
      const { id, createdAt } = record;
      await this.#options.store.saveSubscription({
        id,
        kind: "notify",
        createdAt,
        record: open,
        secrets: { coordinates },
      });
      this.#notifies.set(id, record);
      await this.#start(sink);
      return record;
    });
  }

  /** False when there is none; what an inventory's file says is removed there. */
  removeNotify(id: string): Promise<boolean> {
    return this.#changes.take(async () => {
      if (!this.#notifies.delete(id)) return false;
      await this.#options.store.removeSubscription(id);
      await this.#options.dispatcher.forget(`notify:${id}`);
      return true;
    });
  }

  /** Nobody asks for the VM any more. */
  async forgetVm(vmId: string): Promise<void> {
    for (const { id, vm } of [...this.#notifies.values()]) if (vm.id === vmId) await this.removeNotify(id);
  }

  /** What an inventory's file says now, instead of what it said before. */
  inventorySays(inventory: string, wishes: readonly NotifyWish[]): Promise<void> {
    return this.#changes.take(async () => {
      const before = this.#inventoryNotifies.get(inventory) ?? [];
      const now = wishes.map((wish) => recordOf(inventory, wish));
      this.#inventoryNotifies.set(inventory, now);
      const added = now.filter(({ id }) => !before.some((known) => known.id === id));
      await this.#startEach(added.map((record) => [record.id, () => [this.#notifySink(record)]]));
      const gone = before.filter(({ id }) => !now.some((wanted) => wanted.id === id));
      for (const { id } of gone) await this.#options.dispatcher.forget(`notify:${id}`);
    });
  }

  /** One whose endpoints cannot be decrypted any more leads nowhere; it stays on disk, should its key come back. */
  #takeUp({ id, kind, record, secrets }: StoredSubscription): void {
    if (secrets === undefined) {
      const reason = "its endpoints cannot be decrypted: the manager's secrets.key was lost or replaced";
      this.#options.log.warn("subscription-not-started", { subscription: id, reason });
    } else if (kind === "subscription") {
      this.#subscriptions.set(id, { ...(record as object), ...(secrets as object) } as SubscriptionRecord);
    } else {
      this.#notifies.set(id, { ...(record as object), ...(secrets as object) } as NotifyRecord);
    }
  }

  async #keep(record: SubscriptionRecord): Promise<void> {
    const sinks = this.#sinksOf(record);
    const { urls, secrets, ...open } = record;
    const { id, createdAt } = record;
    const kind = "subscription";
    await this.#options.store.saveSubscription({ id, kind, createdAt, record: open, secrets: { urls, secrets } });
    this.#subscriptions.set(id, record);
    for (const sink of sinks) await this.#start(sink);
  }

  #expect(id: string): SubscriptionRecord {
    const record = this.#subscriptions.get(id);
    if (record === undefined) throw new CommandError("failed", `there is no subscription '${id}'`);
    return record;
  }

  /** Throws CommandError when an endpoint cannot be meant, or leads where it may not. */
  #sinksOf(record: SubscriptionRecord): WantedSink[] {
    const { id, urls, filter, values: carriesValues, contact } = record;
    const ids = sinkIdsOf(record);
    const matches = matcherOf(filter);
    const wants: EventMatcher = (event) => matches(event) && this.#maySee(record.owner, event);
    const endpoints = urls.map((url, index): WantedSink => {
      const sinkId = `${id}.${index}`;
      const tellWhenDisabled = ids.filter((other) => other !== sinkId);
      return {
        id: sinkId,
        endpoint: this.#endpointOf(url, record),
        isTrusted: false,
        wants,
        carriesValues,
        tellWhenDisabled,
      };
    });
    if (contact === undefined) return endpoints;
    const endpoint = this.#endpointOf(contact, record);
    const isTrusted = false;
    const contactOnly = { id: contactSink(id), wants: () => false, carriesValues: false, tellWhenDisabled: [] };
    return [...endpoints, { ...contactOnly, endpoint, isTrusted }];
  }

  #endpointOf(url: string, { format, secrets }: SubscriptionRecord): Endpoint {
    const endpoint = parseEndpointUrl(url, format, secrets, this.#options.context.config());
    if (endpoint.type === "webhook") this.#guard?.assertAddress(new URL(endpoint.url).hostname);
    if (endpoint.type === "amqp") this.#guard?.assertAddress(endpoint.broker.host);
    return endpoint;
  }

  #notifySink({ id, vm, vmId, coordinates, owner }: NotifyRecord): WantedSink {
    const { broker, queue } = parseCoordinates(coordinates);
    if (owner !== undefined) this.#guard?.assertAddress(broker.host);
    return {
      id: `notify:${id}`,
      endpoint: { type: "notify", broker, queue, vmId },
      isTrusted: owner === undefined,
      wants: (event) =>
        event.resourceUUID === vm.id &&
        event.data["stages"] !== undefined &&
        (owner === undefined || this.#maySee(owner, event)),
      carriesValues: false,
      tellWhenDisabled: [],
    };
  }

  /** As the owner's rights are now; a socket's are those that it had. */
  #maySee(owner: Owner, event: Parameters<EventMatcher>[0]): boolean {
    const rights = owner.via.startsWith("unix:") && owner.name.startsWith("socket:") ? owner : undefined;
    const current = rights ?? this.#options.rightsOf(owner.name);
    return current !== undefined && maySeeEvent(current, event);
  }

  async #start({ id, endpoint, isTrusted, ...options }: WantedSink): Promise<void> {
    const { context } = this.#options;
    // What it says of itself is told as an event too, but not to itself.
    const log = logWith(context.log, { sink: id });
    const sink = openSink(endpoint, isTrusted ? undefined : this.#guard, { ...context, log });
    await this.#options.dispatcher.add({ id, sink, ...options });
  }

  async #applyConfigured(sinks: readonly SinkConfig[]): Promise<void> {
    const wanted = new Set(sinks.map(({ name }) => `config:${name}`));
    for (const id of this.#configured.keys()) {
      if (wanted.has(id)) continue;
      this.#configured.delete(id);
      await this.#options.dispatcher.forget(id);
    }
    const results = [];
    for (const sink of sinks) results.push(...(await Promise.allSettled([this.#applyOne(sink)])));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  async #applyOne(sink: SinkConfig): Promise<void> {
    const id = `config:${sink.name}`;
    const endpoint = configuredEndpoint(sink);
    const version = JSON.stringify([sink, endpoint]);
    if (this.#configured.get(id) === version) return;
    const wants = matcherOf(sink.filter);
    await this.#start({ id, endpoint, isTrusted: true, wants, carriesValues: sink.values, tellWhenDisabled: [] });
    this.#configured.set(id, version);
  }

  #startAll(): Promise<void> {
    return this.#startEach([
      ...this.all.map((record): Start => [record.id, () => this.#sinksOf(record)]),
      ...[...this.#notifies.values()].map((record): Start => [record.id, () => [this.#notifySink(record)]]),
    ]);
  }

  /** One that leads where it may not (any more) is said, and the others go on. */
  async #startEach(starts: readonly Start[]): Promise<void> {
    for (const [id, sinksOf] of starts) {
      try {
        for (const sink of sinksOf()) await this.#start(sink);
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        this.#options.log.warn("subscription-not-started", { subscription: id, reason: error.message });
      }
    }
  }

  /** What was kept for sinks that nobody has any more would keep events in the log for them. Inventories speak later. */
  async #forgetStrays(): Promise<void> {
    const { store, dispatcher } = this.#options;
    for (const id of await store.feedNames()) {
      if (dispatcher.feed(id) !== undefined || id.startsWith("notify:")) continue;
      if (this.ownerOf(id) === undefined) await store.removeFeed(id);
    }
  }
}

export function contactSink(id: string): string {
  return `${id}.contact`;
}

/** Of its endpoints and its contact. */
export function sinkIdsOf({ id, urls, contact }: SubscriptionRecord): string[] {
  return [...urls.map((_, index) => `${id}.${index}`), ...(contact === undefined ? [] : [contactSink(id)])];
}

/** The same whenever the file is read. */
function recordOf(inventory: string, { vm, coordinates, vmId = vm.name }: NotifyWish): NotifyRecord {
  const identity = JSON.stringify([vm.id, vmId, coordinates]);
  const id = createHash("sha256").update(identity).digest("hex").slice(0, 16);
  return { id, createdAt: Date.now(), owner: undefined, by: inventory, vm, vmId, coordinates };
}
