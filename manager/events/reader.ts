/** Reads the log of events for somebody: pages of what was, and what comes. */
import { eventCursor, type EventPage, type ShownEvent } from "../../shared/api/event-schemas.ts";
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import { WakeUp } from "../wake-up.ts";
import { shownEvent, withoutValue } from "./bodies.ts";
import type { Event } from "./event.ts";
import { type EventLog, heldBytes } from "./event-log.ts";
import type { EventMatcher } from "./filter.ts";

const EVENTS_AT_ONCE = 500;

/** A page ends when it has about so many bytes of what guests wrote, and goes on with the next. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;

/** Looked at for one page: one that wants few of many events is answered with what there is so far. */
const MAX_EXAMINED = 20_000;

export interface Reading {
  wants: EventMatcher;
  /** As in an event's cursor. */
  since: string | undefined;
  values: boolean;
}

/** `position`: everything before that was asked for has been said. `missed`: events before it are no longer kept. */
export type ReadItem = { type: "event"; event: ShownEvent } | { type: "position" | "missed"; next: string };

export class EventReader {
  readonly #log: EventLog;

  constructor(log: EventLog) {
    this.#log = log;
  }

  /** The oldest first: those after the cursor, or the newest. */
  async page({ wants, since, values }: Reading, limit: number): Promise<EventPage> {
    if (since === undefined) return this.#newest({ wants, values }, limit);
    const found: Event[] = [];
    let position = this.#positionOf(since);
    let hasMissed = false;
    let examined = 0;
    const room = { events: limit, bytes: MAX_PAGE_BYTES };
    while (room.events > 0 && room.bytes > 0 && examined < MAX_EXAMINED) {
      const { events, next, missed } = await this.#log.read(position, EVENTS_AT_ONCE);
      hasMissed ||= missed;
      const enough = filling(room, events, wants);
      found.push(...enough.filter(wants));
      examined += enough.length;
      position = enough.at(-1)?.position ?? next;
      if (events.length === 0) break;
    }
    return this.#answer(found, position, hasMissed, values);
  }

  /** The first is a position, at once. Ends when aborted. */
  async *follow({ wants, since, values }: Reading, signal: AbortSignal): AsyncGenerator<ReadItem> {
    const wakeUp = new WakeUp();
    const stopListening = this.#log.onAppended(() => {
      wakeUp.call();
    });
    try {
      let position = since === undefined ? this.#log.last : this.#positionOf(since);
      yield { type: "position", next: this.#cursor(position) };
      while (!signal.aborted) {
        const { events, next, missed } = await this.#log.read(position, EVENTS_AT_ONCE);
        if (missed) yield { type: "missed", next: this.#cursor((events[0]?.position ?? next + 1) - 1) };
        for (const event of events) if (wants(event)) yield { type: "event", event: this.#shown(event, values) };
        position = next;
        if (events.length === 0) await wakeUp.wait(Infinity, signal);
      }
    } finally {
      stopListening();
    }
  }

  /** Window by window into the past. */
  async #newest({ wants, values }: Omit<Reading, "since">, limit: number): Promise<EventPage> {
    const { last } = this.#log;
    const room = { events: limit, bytes: MAX_PAGE_BYTES };
    let found: Event[] = [];
    for (let end = last; end > 0 && last - end < MAX_EXAMINED; end -= EVENTS_AT_ONCE) {
      const inWindow = await this.#newestUpTo(end, wants, room);
      found = [...inWindow, ...found];
      room.events -= inWindow.length;
      room.bytes -= inWindow.reduce((bytes, event) => bytes + heldBytes(event), 0);
      if (room.events <= 0 || room.bytes <= 0) break;
    }
    return this.#answer(found, last, false, values);
  }

  /** Of one window, which the log may answer in several pages: no more is held than there is room for. */
  async #newestUpTo(end: number, wants: EventMatcher, room: Readonly<Room>): Promise<Event[]> {
    let found: Event[] = [];
    for (let position = Math.max(0, end - EVENTS_AT_ONCE); position < end;) {
      const { events, next } = await this.#log.read(position, end - position);
      const wanted = events.filter((event) => event.position <= end && wants(event));
      found = newestFilling(room, [...found, ...wanted]);
      if (events.length === 0) break;
      position = next;
    }
    return found;
  }

  #answer(found: readonly Event[], position: number, missed: boolean, values: boolean): EventPage {
    const events = found.map((event) => this.#shown(event, values));
    return { events, next: this.#cursor(position), more: position < this.#log.last, missed };
  }

  #shown(event: Event, values: boolean): ShownEvent {
    return shownEvent(values ? event : withoutValue(event), this.#log.id);
  }

  #cursor(position: number): string {
    return `${this.#log.id}:${position}`;
  }

  #positionOf(cursor: string): number {
    if (!eventCursor.safeParse(cursor).success)
      throw usageError("a cursor must be LOG:POSITION, as in an event's cursor");
    const [log, position] = cursor.split(":");
    if (log === this.#log.id && Number(position) <= this.#log.last) return Number(position);
    throw new CommandError("conflict", `the cursor ${cursor} is of another log of events; begin anew without one`);
  }
}

/** What a page may still have. */
interface Room {
  events: number;
  bytes: number;
}

/** The last of them, from the one that fills the room, or all. */
function newestFilling({ events: most, bytes: mostBytes }: Readonly<Room>, events: Event[]): Event[] {
  let bytes = 0;
  const first = events.findLastIndex((event, index) => {
    bytes += heldBytes(event);
    return bytes >= mostBytes || events.length - index >= most;
  });
  return first === -1 ? events : events.slice(first);
}

/** Those up to the one that fills the room, or all; what is wanted of them takes it. */
function filling(room: Room, events: readonly Event[], wants: EventMatcher): readonly Event[] {
  const last = events.findIndex((event) => {
    if (!wants(event)) return false;
    room.events -= 1;
    room.bytes -= heldBytes(event);
    return room.events <= 0 || room.bytes <= 0;
  });
  return last === -1 ? events : events.slice(0, last + 1);
}
