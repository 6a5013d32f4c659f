/**
 * What may be asked of the events, by whichever door. As in service.ts, every method checks what its principal may do and
 * see: events of VMs that they may not see are not there, those of keys only of the keys that they may use, and those of
 * the manager itself are for an admin who may see every VM. A sink, a subscription, a notification or a saving that is not there,
 * or not theirs, is `failed` with the detail `unknown: true`.
 */
import type {
  DeadLetter,
  DeliveryAttempt,
  EventFilter,
  EventPage,
  ImageSave,
  NewImageSave,
  NewNotify,
  NewSubscription,
  Notify,
  ShownEvent,
  SinkSummary,
  Subscription,
  SubscriptionChange,
} from "../../shared/api/event-schemas.ts";
import type { Principal } from "../access/principal.ts";

export interface EventQuery {
  filter: EventFilter;
  /** After this cursor; without one the newest are listed, and a stream begins with the next. */
  since: string | undefined;
  values: boolean;
}

/**
 * `position`: everything before `next` that was asked for has been said. `missed`: events before `next` that were asked
 * for are no longer kept.
 */
export type EventStreamItem =
  { type: "event"; event: ShownEvent } | { type: "position"; next: string } | { type: "missed"; next: string };

export interface EventService {
  /** A cursor of another log, or from the future, is `conflict`. */
  list(who: Principal, query: EventQuery, limit?: number): Promise<EventPage>;
  /**
   * The first is a `position`, at once; there may be more of them, where a lot was passed over. Ends when aborted. A reader
   * that is slow is behind, and holds up nobody.
   */
  follow(who: Principal, query: EventQuery, signal: AbortSignal): AsyncIterable<EventStreamItem>;
}

/** For its owner, and for an admin; those of the configuration for an admin who may see every VM. An unknown one is `failed`. */
export interface SinkService {
  list(who: Principal): SinkSummary[];
  deadLetters(who: Principal, sink: string, limit?: number): Promise<DeadLetter[]>;
  deliveries(who: Principal, sink: string, limit?: number): Promise<DeliveryAttempt[]>;
  /** How many are to be delivered again. */
  redeliver(who: Principal, sink: string, events: readonly string[] | undefined): Promise<number>;
  enable(who: Principal, sink: string): Promise<SinkSummary>;
  /** Settles when the test event was delivered, or could not be. */
  test(who: Principal, sink: string, signal: AbortSignal): Promise<DeliveryAttempt>;
}

/** Needs the role `write`. Each sees their own; an admin sees all. */
export interface SubscriptionService {
  list(who: Principal): Subscription[];
  show(who: Principal, id: string): Subscription;
  create(who: Principal, subscription: NewSubscription): Promise<Subscription>;
  change(who: Principal, id: string, change: SubscriptionChange): Promise<Subscription>;
  remove(who: Principal, id: string): Promise<void>;

  listNotify(who: Principal, vm: string): Notify[];
  addNotify(who: Principal, vm: string, notify: NewNotify): Promise<Notify>;
  removeNotify(who: Principal, vm: string, id: string): Promise<void>;
}

/** Needs the role `admin` and the VM. */
export interface ImageService {
  save(who: Principal, vm: string, image: NewImageSave): Promise<ImageSave>;
  list(who: Principal, vm: string | undefined): ImageSave[];
  show(who: Principal, id: string): ImageSave;
  /** Each change of it, the first at once; ends when it is over, or when aborted. */
  follow(who: Principal, id: string, signal: AbortSignal): AsyncIterable<ImageSave>;
  cancel(who: Principal, id: string): Promise<ImageSave>;
}
