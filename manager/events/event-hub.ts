/** Everything that the manager has for events: the log, the bus, who is told of them, and what they are made from. */
import type { Log } from "../../shared/log.ts";
import type { EventsConfig } from "../config.ts";
import type { Principal } from "../access/principal.ts";
import type { SinkContext } from "../sinks/open-sink.ts";
import type { LibvirtEvent } from "../inventory/libvirt-events.ts";
import type { QmpEvent } from "../inventory/qmp.ts";
import type { Identity } from "../inventory/qmp-vm.ts";
import type { SourceListener } from "../inventory/sources.ts";
import type { NotifyWish } from "../inventory/static-file.ts";
import type { Store, StoredAttempt } from "../store/store.ts";
import type { NewEvent } from "./event.ts";
import { EventLog } from "./event-log.ts";
import { LifecycleKeeper } from "./lifecycle-keeper.ts";
import { LocalEventBus } from "./local-bus.ts";
import { Dispatcher } from "./outbox/dispatcher.ts";
import { EventReader } from "./reader.ts";
import { Subscriptions } from "./subscriptions.ts";

export interface EventHubOptions {
  store: Store;
  /** Of the store that {@link EventLog.appended} tells of. */
  eventLog: EventLog;
  log: Log;
  context: SinkContext;
  rightsOf: (user: string) => Pick<Principal, "role" | "vms" | "keys"> | undefined;
  /** What those may do at most who ask through other managers; undefined when there are none. */
  rightsOfOthers: () => Pick<Principal, "role" | "vms" | "keys"> | undefined;
  attempted: (sink: string, outcome: StoredAttempt["outcome"]) => void;
  /** The store failed: the manager cannot go on. */
  failed: (error: unknown) => void;
}

export class EventHub implements SourceListener {
  readonly log: EventLog;
  readonly bus: LocalEventBus;
  readonly reader: EventReader;
  readonly dispatcher: Dispatcher;
  readonly subscriptions: Subscriptions;
  readonly lifecycles: LifecycleKeeper;
  readonly #failed: (error: unknown) => void;

  static async open(options: EventHubOptions): Promise<EventHub> {
    const { store, eventLog, log, context, rightsOf, rightsOfOthers, attempted, failed } = options;
    const dispatcher = new Dispatcher({ store, log: eventLog, logger: log, attempted, failed });
    const subscriptions = await Subscriptions.load({
      store,
      dispatcher,
      context,
      log,
      rightsOf,
      rightsOfOthers,
      lastPosition: () => eventLog.last,
    });
    const lifecycles = await LifecycleKeeper.open({ store, log, failed });
    return new EventHub(options, dispatcher, subscriptions, lifecycles);
  }

  private constructor(
    { store, eventLog, log, failed }: EventHubOptions,
    dispatcher: Dispatcher,
    subscriptions: Subscriptions,
    lifecycles: LifecycleKeeper,
  ) {
    this.log = eventLog;
    this.bus = new LocalEventBus(store, eventLog, (error) => {
      log.error("event-handler-failed", { error });
    });
    this.reader = new EventReader(eventLog);
    this.dispatcher = dispatcher;
    this.subscriptions = subscriptions;
    this.lifecycles = lifecycles;
    this.#failed = failed;
  }

  // What inventories tell.

  libvirtEvent(source: string, event: LibvirtEvent, vmId: string | undefined): void {
    this.lifecycles.libvirtEvent(source, event, vmId);
  }

  qmpEvent(source: string, event: QmpEvent, vm: Identity | undefined): void {
    this.lifecycles.qmpEvent(source, event, vm);
  }

  notify(source: string, wishes: readonly NotifyWish[]): void {
    this.subscriptions.inventorySays(source, wishes).catch(this.#failed);
  }

  /** Publishes what nobody waits for. */
  tell(event: NewEvent): void {
    this.bus.publish([event]).catch(this.#failed);
  }

  apply(config: EventsConfig): Promise<void> {
    return this.subscriptions.apply(config);
  }

  async close(): Promise<void> {
    await this.lifecycles.close();
    await this.dispatcher.close();
  }
}
