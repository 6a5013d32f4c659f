/** The event bus within the manager: what is published is kept, and then told to whoever subscribed. */
import type { Store } from "../store/store.ts";
import { WakeUp } from "../wake-up.ts";
import type { EventBus, EventHandler, EventSubscription } from "./bus.ts";
import type { Event, NewEvent } from "./event.ts";
import type { EventLog } from "./event-log.ts";
import { type EventTopic, matchesTopic } from "./topic.ts";

const EVENTS_AT_ONCE = 256;

interface Running {
  stop: AbortController;
  ended: Promise<void>;
}

export class LocalEventBus implements EventBus {
  readonly #store: Pick<Store, "appendEvents">;
  readonly #log: EventLog;
  readonly #failed: (error: unknown) => void;
  readonly #running = new Map<EventSubscription, Running>();

  /** @param failed is told what a handler throws; the handler gets the next event all the same */
  constructor(store: Pick<Store, "appendEvents">, log: EventLog, failed: (error: unknown) => void) {
    this.#store = store;
    this.#log = log;
    this.#failed = failed;
  }

  async publish(events: readonly NewEvent[]): Promise<void> {
    await this.#store.appendEvents(events);
  }

  subscribe(topic: EventTopic, handler: EventHandler): Promise<EventSubscription> {
    const subscription = { topic };
    const stop = new AbortController();
    const ended = this.#follow(topic, handler, stop.signal).catch(this.#failed);
    this.#running.set(subscription, { stop, ended });
    return Promise.resolve(subscription);
  }

  async unsubscribe(subscription: EventSubscription): Promise<void> {
    const running = this.#running.get(subscription);
    this.#running.delete(subscription);
    running?.stop.abort();
    await running?.ended;
  }

  async #follow(topic: EventTopic, handler: EventHandler, signal: AbortSignal): Promise<void> {
    const wakeUp = new WakeUp();
    const stopListening = this.#log.onAppended(() => {
      wakeUp.call();
    });
    let position = this.#log.last;
    try {
      while (!signal.aborted) {
        const { events, next } = await this.#log.read(position, EVENTS_AT_ONCE);
        for (const event of events) {
          if (matchesTopic(topic, event)) await this.#tell(handler, event, signal);
        }
        position = next;
        if (events.length === 0) await wakeUp.wait(Infinity, signal);
      }
    } finally {
      stopListening();
    }
  }

  async #tell(handler: EventHandler, event: Event, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    try {
      await handler(event);
    } catch (error) {
      this.#failed(error);
    }
  }
}
