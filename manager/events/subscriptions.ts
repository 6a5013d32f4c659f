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
import { mayDo } from "../access/permissions.ts";
import type { Principal } from "../access/principal.ts";
import type { EventsConfig, SinkConfig } from "../config.ts";
import type { NotifyWish } from "../inventory/static-file.ts";
import { configuredEndpoint, configuredFilter, configuredId } from "../sinks/configured-sinks.ts";
import type { Endpoint } from "../sinks/endpoint.ts";
import { parseEndpointUrl } from "../sinks/endpoint-url.ts";
import { parseCoordinates } from "../sinks/notify-coordinates.ts";
import { inParallel } from "../in-parallel.ts";
import { openSink, type SinkContext } from "../sinks/open-sink.ts";
import { TargetGuard } from "../sinks/target-guard.ts";
import type { Store, StoredSubscription } from "../store/store.ts";
import { Turns } from "../turns.ts";
import type { Event } from "./event.ts";
import { type EventMatcher, matcherOf, maySeeEvent } from "./filter.ts";
import type { Dispatcher } from "./outbox/dispatcher.ts";

/** Each endpoint costs a reading of every event. Not measured with as many. */
const MAX_SUBSCRIPTIONS = 10_000;
/** So that one user leaves some to the others. */
const MAX_SUBSCRIPTIONS_PER_OWNER = 2_000;
const MAX_NOTIFIES_PER_VM = 20;

/** Each waits for the disk, and those that wait together share it. */
const STARTS_AT_ONCE = 100;

type Owner = Pick<Principal, "name" | "via" | "role" | "vms" | "keys" | "limits">;

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
  endpoints: readonly NumberedUrl[];
  /** The highest number that any of its endpoints ever had. */
  lastNumber: number;
  secrets: readonly string[];
}

/** An endpoint keeps its number, and with it its sink, whatever becomes of the others. */
interface NumberedUrl {
  number: number;
  url: string;
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
  store: Pick<Store, "subscriptions" | "saveSubscription" | "removeSubscription" | "feedNames">;
  dispatcher: Dispatcher;
  context: SinkContext;
  log: Log;
  /** What a user may see now; undefined when there is none of that name. */
  rightsOf: (user: string) => Pick<Principal, "role" | "vms" | "keys"> | undefined;
  /** What those may do at most who ask through other managers; undefined when there are none. */
  rightsOfOthers: () => Pick<Principal, "role" | "vms" | "keys"> | undefined;
  /** Where a sink begins that is wished for now. */
  lastPosition: () => number;
}

interface WantedSink {
  id: string;
  endpoint: Endpoint;
  isTrusted: boolean;
  wants: EventMatcher;
  mayHave?: EventMatcher;
  carriesValues: boolean;
  tellWhenDisabled: readonly string[];
  from?: number;
}

/** A sink that is to be started; `make` throws CommandError when its endpoint cannot be meant, or leads where it may not. */
interface Start {
  id: string;
  make: () => WantedSink;
}

export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #subscriptions = new Map<string, SubscriptionRecord>();
  readonly #notifies = new Map<string, NotifyRecord>();
  /** By the inventory's name. */
  readonly #inventoryNotifies = new Map<string, NotifyRecord[]>();
  /** What is kept and cannot be decrypted. */
  readonly #unreadable = new Set<string>();
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
      }
      await this.#applyConfigured(config.sinks);
      await this.#forgetStrays(config.sinks);
    });
  }

  /** All inventories have said what they wish: what is left of notifications that none of them wishes is forgotten. */
  inventoriesSpoke(): Promise<void> {
    return this.#changes.take(async () => {
      const wished = [...this.#inventoryNotifies.values()].flat().map(({ id }) => id);
      const known = new Set([...this.#unreadable, ...this.#notifies.keys(), ...wished].map((id) => `notify:${id}`));
      await this.#forgetFeeds((sink) => sink.startsWith("notify:") && !known.has(sink));
    });
  }

  create(request: NewSubscription, owner: Principal): Promise<SubscriptionRecord> {
    return this.#changes.take(async () => {
      this.#assertRoomFor(owner);
      const { endpoints: urls, secrets = [], contact, ...rest } = request;
      const id = randomUUID();
      const endpoints = urls.map((url, number) => ({ number, url }));
      const lastNumber = endpoints.length - 1;
      const record = {
        ...rest,
        id,
        createdAt: Date.now(),
        owner: ownerOf(owner),
        contact,
        endpoints,
        lastNumber,
        secrets,
      };
      await this.#keep(record);
      return record;
    });
  }

  change(id: string, change: SubscriptionChange): Promise<SubscriptionRecord> {
    return this.#changes.take(async () => {
      const before = this.#expect(id);
      const { name, filter, values, format, contact, endpoints: urls, secrets } = change;
      const record: SubscriptionRecord = {
        ...before,
        name: name ?? before.name,
        filter: filter ?? before.filter,
        values: values ?? before.values,
        format: format ?? before.format,
        contact: contact === undefined ? before.contact : (contact ?? undefined),
        secrets: secrets ?? before.secrets,
        ...(urls !== undefined && renumbered(before, urls)),
      };
      await this.#keep(record);
      const now = sinkIdsOf(record);
      for (const sink of sinkIdsOf(before)) if (!now.includes(sink)) await this.#options.dispatcher.forget(sink);
      return record;
    });
  }

  remove(id: string): Promise<void> {
    return this.#changes.take(() => this.#remove(this.#expect(id)));
  }

  /** Another user of that name shall not get what this one subscribed to. */
  removeOwnedBy(user: string): Promise<void> {
    return this.#changes.take(async () => {
      for (const record of this.all) if (record.owner.name === user) await this.#remove(record);
      for (const { id, owner } of [...this.#notifies.values()]) if (owner?.name === user) await this.#removeNotify(id);
    });
  }

  addNotify(vm: VmRef, request: NewNotify, owner: Principal): Promise<NotifyRecord> {
    return this.#changes.take(async () => {
      if (this.notifiesOf(vm.id).length >= MAX_NOTIFIES_PER_VM) {
        throw new CommandError("over-limit", `'${vm.name}' has ${MAX_NOTIFIES_PER_VM} notifications already`);
      }
      const record: NotifyRecord = {
        id: randomUUID(),
        createdAt: Date.now(),
        owner: ownerOf(owner),
        by: owner.name,
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
    return this.#changes.take(() => this.#removeNotify(id));
  }

  /** Nobody asks for the VM any more. */
  async forgetVm(vmId: string): Promise<void> {
    for (const { id, vm } of [...this.#notifies.values()]) if (vm.id === vmId) await this.removeNotify(id);
  }

  /** What an inventory's file says now, instead of what it said before. */
  inventorySays(inventory: string, wishes: readonly NotifyWish[]): Promise<void> {
    // What the inventory says next of these VMs is to be told.
    const from = this.#options.lastPosition();
    return this.#changes.take(async () => {
      const before = this.#inventoryNotifies.get(inventory) ?? [];
      const now = wishes.map((wish) => recordOf(inventory, wish));
      this.#inventoryNotifies.set(inventory, now);
      const changed = now.filter(({ id, coordinates }) => {
        return !before.some((known) => known.id === id && known.coordinates === coordinates);
      });
      await this.#startEach(changed.map((record) => this.#notifyStart(record, from)));
      const gone = before.filter(({ id }) => !now.some((wanted) => wanted.id === id));
      for (const { id } of gone) await this.#options.dispatcher.forget(`notify:${id}`);
    });
  }

  /** One whose endpoints cannot be decrypted any more leads nowhere; it stays on disk, should its key come back. */
  #takeUp({ id, kind, record, secrets }: StoredSubscription): void {
    if (secrets === undefined) {
      this.#unreadable.add(id);
      const reason = "its endpoints cannot be decrypted: the manager's secrets.key was lost or replaced";
      this.#options.log.warn("subscription-not-started", { subscription: id, reason });
    } else if (kind === "subscription") {
      this.#subscriptions.set(id, { ...(record as object), ...(secrets as object) } as SubscriptionRecord);
    } else {
      this.#notifies.set(id, { ...(record as object), ...(secrets as object) } as NotifyRecord);
    }
  }

  async #keep(record: SubscriptionRecord): Promise<void> {
    const sinks = this.#startsOf(record).map(({ make }) => make());
    const { endpoints, secrets, ...open } = record;
    const { id, createdAt } = record;
    const kind = "subscription";
    await this.#options.store.saveSubscription({ id, kind, createdAt, record: open, secrets: { endpoints, secrets } });
    this.#subscriptions.set(id, record);
    for (const sink of sinks) await this.#start(sink);
  }

  async #remove(record: SubscriptionRecord): Promise<void> {
    await this.#options.store.removeSubscription(record.id);
    this.#subscriptions.delete(record.id);
    for (const sink of sinkIdsOf(record)) await this.#options.dispatcher.forget(sink);
  }

  async #removeNotify(id: string): Promise<boolean> {
    if (!this.#notifies.delete(id)) return false;
    await this.#options.store.removeSubscription(id);
    await this.#options.dispatcher.forget(`notify:${id}`);
    return true;
  }

  #assertRoomFor(owner: Owner): void {
    const own = this.all.filter((record) => record.owner.name === owner.name).length;
    const [limit, whose] =
      own >= MAX_SUBSCRIPTIONS_PER_OWNER
        ? [MAX_SUBSCRIPTIONS_PER_OWNER, `${owner.name} has`]
        : [MAX_SUBSCRIPTIONS, "there are"];
    if (own < MAX_SUBSCRIPTIONS_PER_OWNER && this.#subscriptions.size < MAX_SUBSCRIPTIONS) return;
    throw new CommandError("over-limit", `${whose} ${limit} subscriptions already`, { limit });
  }

  #expect(id: string): SubscriptionRecord {
    const record = this.#subscriptions.get(id);
    if (record === undefined) throw new CommandError("failed", `there is no subscription '${id}'`);
    return record;
  }

  /** Its endpoints', then its contact's. */
  #startsOf(record: SubscriptionRecord): Start[] {
    const { id, endpoints, filter, values: carriesValues, contact } = record;
    const ids = sinkIdsOf(record);
    const wants = matcherOf(filter);
    const mayHave: EventMatcher = (event) => this.#maySee(record.owner, event);
    const starts = endpoints.map(({ number, url }): Start => {
      const sink = endpointSink(id, number);
      const tellWhenDisabled = ids.filter((other) => other !== sink);
      const options = { id: sink, isTrusted: false, wants, mayHave, carriesValues, tellWhenDisabled };
      return { id: sink, make: () => ({ ...options, endpoint: this.#endpointOf(url, record) }) };
    });
    if (contact === undefined) return starts;
    const told = { id: contactSink(id), isTrusted: false, wants: () => false, carriesValues: false };
    const make = (): WantedSink => ({ ...told, tellWhenDisabled: [], endpoint: this.#endpointOf(contact, record) });
    return [...starts, { id: told.id, make }];
  }

  #endpointOf(url: string, { format, secrets }: SubscriptionRecord): Endpoint {
    const endpoint = parseEndpointUrl(url, format, secrets, this.#options.context.config());
    if (endpoint.type === "webhook") this.#guard?.assertAddress(new URL(endpoint.url).hostname);
    if (endpoint.type === "amqp") this.#guard?.assertAddress(endpoint.broker.host);
    return endpoint;
  }

  #notifyStart(record: NotifyRecord, from?: number): Start {
    return { id: `notify:${record.id}`, make: () => this.#notifySink(record, from) };
  }

  #notifySink({ id, vm, vmId, coordinates, owner }: NotifyRecord, from?: number): WantedSink {
    const { broker, queue } = parseCoordinates(coordinates);
    if (owner !== undefined) this.#guard?.assertAddress(broker.host);
    return {
      id: `notify:${id}`,
      endpoint: { type: "notify", broker, queue, vmId },
      isTrusted: owner === undefined,
      wants: (event) => event.resourceUUID === vm.id && event.data["stages"] !== undefined,
      ...(owner !== undefined && { mayHave: (event) => this.#maySee(owner, event) }),
      carriesValues: false,
      tellWhenDisabled: [],
      ...(from !== undefined && { from }),
    };
  }

  /**
   * As the owner's rights are now; a socket's are those that it had, and so are those of one who asked through another
   * manager, as far as such may do that now: only that manager knows more.
   */
  #maySee(owner: Owner, event: Event): boolean {
    const isSocket = owner.via.startsWith("unix:") && owner.name.startsWith("socket:");
    const isElsewhere = owner.via.startsWith("amqp:");
    const rights = isSocket || isElsewhere ? owner : this.#options.rightsOf(owner.name);
    if (isElsewhere && !maySubscribe(this.#options.rightsOfOthers(), event)) return false;
    return maySubscribe(rights, event);
  }

  async #start({ id, endpoint, isTrusted, ...options }: WantedSink): Promise<void> {
    const { context } = this.#options;
    // What it says of itself is told as an event too, but not to itself.
    const log = logWith(context.log, { sink: id });
    const sink = openSink(endpoint, isTrusted ? undefined : this.#guard, { ...context, log });
    await this.#options.dispatcher.add({ id, sink, ...options });
  }

  async #applyConfigured(sinks: readonly SinkConfig[]): Promise<void> {
    const wanted = new Set(sinks.map(configuredId));
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
    const id = configuredId(sink);
    const endpoint = configuredEndpoint(sink, this.#options.context.host);
    const version = JSON.stringify([sink, endpoint]);
    if (this.#configured.get(id) === version) return;
    const wants = matcherOf(configuredFilter(sink));
    // Masakari's has no place for values.
    const carriesValues = sink.type !== "masakari" && sink.values;
    await this.#start({ id, endpoint, isTrusted: true, wants, carriesValues, tellWhenDisabled: [] });
    this.#configured.set(id, version);
  }

  #startAll(): Promise<void> {
    return this.#startEach([
      ...this.all.flatMap((record) => this.#startsOf(record)),
      ...[...this.#notifies.values()].map((record) => this.#notifyStart(record)),
    ]);
  }

  /** One that leads where it may not (any more) ends, which is said, and the others go on. */
  async #startEach(starts: readonly Start[]): Promise<void> {
    await inParallel(starts, STARTS_AT_ONCE, async ({ id, make }) => {
      try {
        await this.#start(make());
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        await this.#options.dispatcher.remove(id);
        this.#options.log.warn("subscription-not-started", { sink: id, reason: error.message });
      }
    });
  }

  /** What was kept for sinks that nobody has any more would keep events in the log for them. */
  #forgetStrays(configured: readonly SinkConfig[]): Promise<void> {
    const known = new Set(configured.map(configuredId));
    for (const record of this.all) for (const sink of sinkIdsOf(record)) known.add(sink);
    return this.#forgetFeeds((sink) => {
      const isUnreadable = this.#unreadable.has(sink.split(".")[0] ?? "");
      const isOfOthers = sink.startsWith("notify:") || sink.startsWith("recovery:");
      return !known.has(sink) && !isUnreadable && !isOfOthers;
    });
  }

  async #forgetFeeds(isStray: (sink: string) => boolean): Promise<void> {
    const { store, dispatcher } = this.#options;
    for (const sink of (await store.feedNames()).filter(isStray)) await dispatcher.forget(sink);
  }
}

/** Nobody subscribes who may only read. */
function maySubscribe(rights: Pick<Principal, "role" | "vms" | "keys" | "limits"> | undefined, event: Event): boolean {
  return rights !== undefined && mayDo(rights, "write") && maySeeEvent(rights, event);
}

/** What is kept of whoever asked for something. */
function ownerOf({ name, via, role, vms, keys, limits }: Principal): Owner {
  return { name, via, role, vms, keys, ...(limits !== undefined && { limits }) };
}

export function endpointSink(id: string, number: number): string {
  return `${id}.${number}`;
}

/** An endpoint that stays has its number still. */
function renumbered(
  { endpoints, lastNumber }: SubscriptionRecord,
  urls: readonly string[],
): Pick<SubscriptionRecord, "endpoints" | "lastNumber"> {
  const free = [...endpoints];
  let last = lastNumber;
  const now = urls.map((url) => {
    const at = free.findIndex((known) => known.url === url);
    const [kept] = at === -1 ? [] : free.splice(at, 1);
    return kept ?? { number: (last += 1), url };
  });
  return { endpoints: now, lastNumber: last };
}

export function contactSink(id: string): string {
  return `${id}.contact`;
}

/** Of its endpoints and its contact. */
export function sinkIdsOf({ id, endpoints, contact }: SubscriptionRecord): string[] {
  return [
    ...endpoints.map(({ number }) => endpointSink(id, number)),
    ...(contact === undefined ? [] : [contactSink(id)]),
  ];
}

/** The same whenever the file is read. The password is not in it: the id is shown. */
function recordOf(inventory: string, { vm, coordinates, vmId = vm.name }: NotifyWish): NotifyRecord {
  const { broker, queue } = parseCoordinates(coordinates);
  const identity = JSON.stringify([vm.id, vmId, broker.host, broker.port, broker.vhost, broker.user, queue]);
  const id = createHash("sha256").update(identity).digest("hex").slice(0, 16);
  return { id, createdAt: Date.now(), owner: undefined, by: inventory, vm, vmId, coordinates };
}
