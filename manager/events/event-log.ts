/** The log of events as the manager's parts read it: the newest from memory, older ones from the store. */
import type { EventLogState, Store } from "../store/store.ts";
import { WorkSlots } from "../work-slots.ts";
import type { Event } from "./event.ts";

/** Events that are held in memory, and about how many bytes: every sink reads the newest, and most are there already. */
const TAIL_EVENTS = 4_096;
const TAIL_BYTES = 8 * 1024 * 1024;

/** Pages that the store reads at the same time: however many readers and sinks are behind, so many pages are on their way. */
const STORED_READS_AT_ONCE = 4;

/** What an event takes beside what others wrote into it. A guess. */
const EVENT_BYTES = 600;

/** `missed`: events after the asked position are no longer kept. `next` is where to go on reading. */
export interface LogPage {
  events: readonly Event[];
  next: number;
  missed: boolean;
}

type LogStore = Pick<Store, "eventsAfter">;

export class EventLog {
  readonly id: string;
  readonly #store: LogStore;
  readonly #listeners = new Set<() => void>();
  readonly #storedReads = new WorkSlots({ slots: STORED_READS_AT_ONCE, maxWaiting: Infinity });
  /** The newest events, without a gap. */
  #tail: Event[] = [];
  #tailBytes = 0;
  #last: number;

  constructor(store: LogStore, { id, last }: Pick<EventLogState, "id" | "last">) {
    this.#store = store;
    this.id = id;
    this.#last = last;
  }

  /** The position of the newest event; 0 when there never was one. */
  get last(): number {
    return this.#last;
  }

  /** What the store has just committed. */
  appended(events: readonly Event[]): void {
    for (const event of events) {
      if (event.position <= this.#last) continue;
      this.#last = event.position;
      this.#tail.push(event);
      this.#tailBytes += heldBytes(event);
    }
    this.#trim();
    for (const listener of this.#listeners) listener();
  }

  /** Calls back whenever there are new events, till the returned function is called. */
  onAppended(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What came after a position, at most so many; without waiting when it is in memory. */
  read(after: number, limit: number): LogPage | Promise<LogPage> {
    if (after >= this.#last) return { events: [], next: after, missed: false };
    const first = this.#tail[0]?.position;
    if (first === undefined || after < first - 1) return this.#storedReads.run(() => this.#readStored(after, limit));
    const start = after - first + 1;
    return pageOf(this.#tail.slice(start, start + limit), after);
  }

  async #readStored(after: number, limit: number): Promise<LogPage> {
    const last = this.#last;
    const events = await this.#store.eventsAfter(after, limit);
    if (events.length > 0) return pageOf(events, after);
    return { events, next: last, missed: last > after };
  }

  #trim(): void {
    let dropped = 0;
    while (this.#tail.length - dropped > TAIL_EVENTS || this.#tailBytes > TAIL_BYTES) {
      const event = this.#tail[dropped];
      if (event === undefined) break;
      this.#tailBytes -= heldBytes(event);
      dropped += 1;
    }
    if (dropped > 0) this.#tail = this.#tail.slice(dropped);
  }
}

function pageOf(events: readonly Event[], after: number): LogPage {
  const [first] = events;
  return { events, next: events.at(-1)?.position ?? after, missed: first !== undefined && first.position > after + 1 };
}

/** About so many bytes are held for an event. A guest's data is as large as the guest likes, within a frame. */
export function heldBytes({ source, data, value }: Event): number {
  const said = source === "guest" ? JSON.stringify(data).length : 0;
  const held = value === undefined ? 0 : "value" in value ? value.value.length : value.base64.length;
  return EVENT_BYTES + said + held;
}
