/** The order that a sink owes its receiver: events of one resource one after the other, those of different ones side by side. */
import type { Event } from "../events/event.ts";
import { inParallel } from "../in-parallel.ts";
import type { Attempted, Outcome } from "./sink.ts";

/** Of an attempt that the manager's end cut short: the receiver may have the event or not. */
export const stopped: Outcome = { type: "unavailable", reason: "the manager stops" };

export interface OrderedDeliveryOptions {
  /** Of how many resources events are tried at the same time. */
  resourcesAtOnce: number;
  /** Never rejects; ends soon after it is aborted. */
  attempt: (event: Event, signal: AbortSignal) => Promise<Outcome>;
}

export class OrderedDelivery {
  readonly #options: OrderedDeliveryOptions;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  constructor(options: OrderedDeliveryOptions) {
    this.#options = options;
  }

  /**
   * As {@link Sink.deliver}. When nothing can be delivered, or nobody wants it any more, whatever was not yet begun is held too.
   */
  async deliver(events: readonly Event[], signal: AbortSignal): Promise<Attempted[]> {
    const delivery = this.#deliver(events, AbortSignal.any([signal, this.#closing.signal]));
    this.#running.add(delivery);
    try {
      return await delivery;
    } finally {
      this.#running.delete(delivery);
    }
  }

  /** Aborts what runs; settles when nothing does. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#running);
  }

  async #deliver(events: readonly Event[], signal: AbortSignal): Promise<Attempted[]> {
    const { resourcesAtOnce, attempt } = this.#options;
    const attempted = new Map<Event, Attempted>();
    let isOver = false;
    await inParallel(byResource(events), resourcesAtOnce, async (ofOneResource) => {
      for (const event of ofOneResource) {
        if (isOver) return;
        const startedAt = performance.now();
        const outcome = signal.aborted ? stopped : await attempt(event, signal);
        attempted.set(event, { outcome, durationMs: performance.now() - startedAt });
        isOver ||= outcome.type === "gone" || outcome.type === "unavailable";
        if (holdsLater(outcome)) return;
      }
    });
    return events.map((event) => attempted.get(event) ?? { outcome: { type: "held" }, durationMs: 0 });
  }
}

function holdsLater(outcome: Outcome): boolean {
  if (outcome.type === "postponed") return outcome.holdsOthers ?? true;
  return outcome.type !== "delivered" && outcome.type !== "obsolete";
}

function byResource(events: readonly Event[]): Event[][] {
  return [...Map.groupBy(events, ({ resourceType, resourceUUID }) => `${resourceType} ${resourceUUID}`).values()];
}

/** The signal of one attempt: its time is over, or it is to stop. Disposed of when the attempt is over. */
export class AttemptLimit implements Disposable {
  readonly signal: AbortSignal;
  readonly #timer: NodeJS.Timeout;

  constructor(timeoutMs: number, stop: AbortSignal) {
    const timeout = new AbortController();
    this.#timer = setTimeout(() => {
      timeout.abort();
    }, timeoutMs);
    this.signal = AbortSignal.any([stop, timeout.signal]);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
