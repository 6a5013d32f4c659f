/** The event bus, as CloudStack's event framework has it: publish, subscribe, unsubscribe. */
import type { Event, NewEvent } from "./event.ts";
import type { EventTopic } from "./topic.ts";

export type EventHandler<Received = Event> = (event: Received) => void | Promise<void>;

/** Ends when it is given to `unsubscribe`. */
export interface EventSubscription {
  readonly topic: EventTopic;
}

/** Within the manager, events are made and written down when they are published; over AMQP they have been, and come as text. */
export interface EventBus<Published = NewEvent, Received = Event> {
  /** Settles when the events are kept, and will reach whoever subscribed. */
  publish(events: readonly Published[]): Promise<void>;
  /** Events that match the topic from now on, in their order, each when the handler has settled with the one before. */
  subscribe(topic: EventTopic, handler: EventHandler<Received>): Promise<EventSubscription>;
  /** Settles when the handler is not called any more. Nothing happens the second time. */
  unsubscribe(subscription: EventSubscription): Promise<void>;
}
