/** Events for tests, and a log of them in memory that behaves as the store's. */
import { EventLog } from "../../../../manager/events/event-log.ts";
import { type Event, type NewEvent, vmEvent } from "../../../../manager/events/event.ts";
import type { FeedProgress, ParkedEvent, StoredAttempt, StoredFeed } from "../../../../manager/store/store.ts";

export const LOG_ID = "00112233445566aa";

export function aVmEvent(vm: string, details: Partial<NewEvent> = {}): NewEvent {
  return { ...vmEvent("VM.RUNNING", { id: vm, name: `name-of-${vm}` }, 1_000), ...details };
}

/** The log, and the progress of sinks as the store keeps it. */
export class EventsInMemory {
  events: Event[] = [];
  readonly log = new EventLog(this, { id: LOG_ID, last: 0 });
  readonly feeds = new Map<string, StoredFeed>();
  readonly dead: { sink: string; position: number; error: string }[] = [];
  readonly attempts: StoredAttempt[] = [];
  saves = 0;

  append(...news: NewEvent[]): Event[] {
    const events = news.map((event, index): Event => {
      const position = this.log.last + index + 1;
      const sequence = this.events.filter(({ resourceUUID }) => resourceUUID === event.resourceUUID).length + 1;
      return { ...event, id: `event-${position}`, sequence, position };
    });
    this.events.push(...events);
    this.log.appended(events);
    return events;
  }

  appendEvents(news: readonly NewEvent[]): Promise<Event[]> {
    return Promise.resolve(this.append(...news));
  }

  /** Events up to there are no longer kept. */
  prune(upTo: number): void {
    this.events = this.events.filter(({ position }) => position > upTo);
  }

  eventsAfter(after: number, limit: number): Promise<Event[]> {
    return Promise.resolve(this.events.filter(({ position }) => position > after).slice(0, limit));
  }

  eventsAt(positions: readonly number[]): Promise<Event[]> {
    return Promise.resolve(this.events.filter(({ position }) => positions.includes(position)));
  }

  loadFeed(sink: string): Promise<StoredFeed | undefined> {
    return Promise.resolve(structuredClone(this.feeds.get(sink)));
  }

  saveProgress(progress: readonly FeedProgress[]): Promise<void> {
    this.saves += 1;
    for (const one of progress) this.#save(one);
    return Promise.resolve();
  }

  redeliver(sink: string, eventIds: readonly string[] | undefined, now: number): Promise<ParkedEvent[]> {
    const feed = this.feeds.get(sink);
    const positions = this.dead.filter((letter) => letter.sink === sink).map(({ position }) => position);
    const wanted = this.events.filter(({ id, position }) => eventIds?.includes(id) ?? positions.includes(position));
    const parked = wanted.map(({ position, resourceUUID: resource }) => {
      return { position, resource, attempts: 0, parkedAt: now, dueAt: now, holdsOthers: true, error: undefined };
    });
    if (feed !== undefined) this.feeds.set(sink, { ...feed, parked: [...feed.parked, ...parked], deadLetters: 0 });
    return Promise.resolve(parked);
  }

  removeFeed(sink: string): Promise<void> {
    this.feeds.delete(sink);
    return Promise.resolve();
  }

  #save({ sink, state, park, unpark, dead, attempts }: FeedProgress): void {
    const before = this.feeds.get(sink);
    const parked = new Map((before?.parked ?? []).map((event) => [event.position, event]));
    for (const event of park) parked.set(event.position, event);
    for (const position of [...unpark, ...dead.map((letter) => letter.position)]) parked.delete(position);
    this.dead.push(...dead.map(({ position, error }) => ({ sink, position, error })));
    this.attempts.push(...attempts);
    const inOrder = [...parked.values()].sort((one, other) => one.position - other.position);
    const deadLetters = (before?.deadLetters ?? 0) + dead.length;
    this.feeds.set(sink, structuredClone({ sink, ...state, parked: inOrder, deadLetters }));
  }
}
