/** The log of events: only added to at its end, only cut at its beginning, so that neither positions nor sequences have gaps. */
import type { DatabaseSync } from "node:sqlite";
import type { Event, NewEvent } from "../events/event.ts";
import type { StoreLimits } from "./limits.ts";
import { Statement } from "./statement.ts";
import type { EventLogState } from "./store.ts";

/** Events removed in one request, so that others need not wait for a million. */
const PRUNED_AT_ONCE = 1000;

/**
 * The events of one answer have so many bytes, and one event more. Measured with forty readers that were far behind: they
 * took some 120 MiB for a moment, with answers four times as large 460 MiB, and as long.
 */
const PAGE_BYTES = 256 * 1024;

/** Whether the log is far too long is looked up once for so many events: at each one it would cost as much as writing it. */
const CUT_EVERY = 256;

/** What somebody still needs stays until the log is so many times as long, or as old, as it is to be. */
const NEEDED_LIMIT = 2;

interface EventRow {
  position: number;
  id: string;
  resource: string;
  sequence: number;
  time: number;
  event: string;
}

/** What has no column of its own. */
type Rest = Omit<NewEvent, "resourceUUID" | "time">;

/** Where an event stands, for how long it stays. */
interface Place {
  position: number;
  time: number;
  bytes_so_far: number;
}

export interface EventTableOptions {
  limits: StoreLimits;
  /** Ids that grow with time (as UUIDs of version 7 do) make the log several times faster than random ones. */
  newId: () => string;
  /** Gets every event that is appended, for who knows when it is committed. */
  uncommitted: Event[];
}

export class EventTable {
  readonly #options: EventTableOptions;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, options: EventTableOptions) {
    this.#options = options;
    this.#statements = prepare(database);
  }

  append(events: readonly NewEvent[]): Event[] {
    const { newId, uncommitted } = this.#options;
    if (events.length === 0) return [];
    const sequences = new Map<string, number>();
    let bytesSoFar = this.#newest()?.bytes_so_far ?? 0;
    let position = 0;
    const appended = events.map((event): Event => {
      const { resourceUUID: resource, time, ...rest } = event;
      const id = newId();
      const sequence = (sequences.get(resource) ?? this.#lastSequence(resource)) + 1;
      sequences.set(resource, sequence);
      const json = JSON.stringify(rest satisfies Rest);
      bytesSoFar += Buffer.byteLength(json);
      position = this.#statements.insert.insert({ id, resource, sequence, time, bytesSoFar, event: json });
      return { ...event, id, sequence, position };
    });
    for (const [resource, last] of sequences) this.#statements.saveSequence.run({ resource, last, position });
    for (const event of appended) uncommitted.push(event);
    if (position % CUT_EVERY < appended.length) this.#cutWhatIsFarOver(appended.length + CUT_EVERY);
    return appended;
  }

  /** Up to so many, or as many as an answer holds. None is there when none is answered. */
  after(position: number, limit: number): Event[] {
    const events: Event[] = [];
    let bytes = 0;
    for (const row of this.#statements.after.each({ position, limit })) {
      events.push(eventOf(row));
      bytes += Buffer.byteLength(row.event);
      if (bytes > PAGE_BYTES) break;
    }
    return events;
  }

  at(position: number): Event | undefined {
    const row = this.#statements.at.first({ position });
    return row && eventOf(row);
  }

  withId(id: string): Event | undefined {
    const row = this.#statements.withId.first({ id });
    return row && eventOf(row);
  }

  state(): EventLogState {
    const last = this.#statements.lastWritten.first()?.seq ?? 0;
    const [first] = this.#statements.oldest.all({ limit: 1 });
    return { id: this.#statements.name.first()?.value ?? "", first: first?.position ?? last + 1, last };
  }

  /** A step of it; nobody needs the numbers of resources that are no more. */
  pruneSome(now: number): { more: boolean } {
    const neededFrom = this.#statements.neededFrom.first()?.position ?? Infinity;
    const more = this.#cut(PRUNED_AT_ONCE, (place, newest) => {
      const times = place.position < neededFrom ? 1 : NEEDED_LIMIT;
      return this.#isTooOld(place, now, times) || this.#isTooFar(place, newest, times);
    });
    if (!more) this.#statements.forgetSequences.run();
    return { more };
  }

  /** Between two prunings nobody fills the disk. More may be cut than was appended, so that it comes to an end. */
  #cutWhatIsFarOver(appended: number): void {
    const [oldest] = this.#statements.oldest.all({ limit: 1 });
    const newest = this.#newest();
    if (oldest === undefined || newest === undefined || !this.#isTooFar(oldest, newest, NEEDED_LIMIT)) return;
    this.#cut(2 * appended, (place) => this.#isTooFar(place, newest, NEEDED_LIMIT));
  }

  /** Removes the oldest, up to so many, as long as each may go; true when all of those went. */
  #cut(limit: number, mayGo: (place: Place, newest: Place) => boolean): boolean {
    const newest = this.#newest();
    if (newest === undefined) return false;
    const oldest = this.#statements.oldest.all({ limit });
    const kept = oldest.findIndex((place) => !mayGo(place, newest));
    const last = oldest.at(kept === -1 ? oldest.length - 1 : kept - 1);
    if (kept === 0 || last === undefined) return false;
    this.#statements.remove.run({ upTo: last.position });
    this.#statements.unpark.run({ upTo: last.position });
    return kept === -1 && oldest.length === limit;
  }

  #isTooOld({ time }: Place, now: number, times: number): boolean {
    return time < now - times * this.#options.limits.eventAgeMs;
  }

  #isTooFar({ position, bytes_so_far }: Place, newest: Place, times: number): boolean {
    const { eventCount, eventBytes } = this.#options.limits;
    return newest.position - position >= times * eventCount || newest.bytes_so_far - bytes_so_far >= times * eventBytes;
  }

  #newest(): Place | undefined {
    return this.#statements.newest.first();
  }

  #lastSequence(resource: string): number {
    return this.#statements.lastSequence.first({ resource })?.last ?? 0;
  }
}

function eventOf({ event, resource, ...numbers }: EventRow): Event {
  return { ...(JSON.parse(event) as Rest), ...numbers, resourceUUID: resource };
}

function prepare(database: DatabaseSync) {
  const rows = (condition: string) => {
    const sql = `SELECT position, id, resource, sequence, time, event FROM events WHERE ${condition}`;
    return new Statement<EventRow>(database, sql);
  };
  const places = (end: string) => {
    return new Statement<Place>(database, `SELECT position, time, bytes_so_far FROM events ORDER BY position ${end}`);
  };
  return {
    insert: new Statement(
      database,
      `INSERT INTO events (id, resource, sequence, time, bytes_so_far, event)
       VALUES (:id, :resource, :sequence, :time, :bytesSoFar, :event)`,
    ),
    lastSequence: new Statement<{ last: number }>(database, "SELECT last FROM sequences WHERE resource = :resource"),
    saveSequence: new Statement(
      database,
      `INSERT INTO sequences (resource, last, last_position) VALUES (:resource, :last, :position)
       ON CONFLICT (resource) DO UPDATE SET last = excluded.last, last_position = excluded.last_position`,
    ),
    after: rows("position > :position ORDER BY position LIMIT :limit"),
    at: rows("position = :position"),
    withId: rows("id = :id"),
    name: new Statement<{ value: string }>(database, "SELECT value FROM facts WHERE name = 'event-log'"),
    lastWritten: new Statement<{ seq: number }>(database, "SELECT seq FROM sqlite_sequence WHERE name = 'events'"),
    oldest: places("LIMIT :limit"),
    newest: places("DESC LIMIT 1"),
    // What was a dead letter has a copy, and needs the log no more.
    neededFrom: new Statement<{ position: number | null }>(
      database,
      `SELECT min(position) AS position FROM (
         SELECT min(position) + 1 AS position FROM feeds
         UNION ALL SELECT min(position) FROM parked WHERE copy IS NULL
       )`,
    ),
    remove: new Statement(database, "DELETE FROM events WHERE position <= :upTo"),
    unpark: new Statement(database, "DELETE FROM parked WHERE position <= :upTo AND copy IS NULL"),
    // A resource whose last event is gone and that is no VM we know has nobody who could see a gap.
    forgetSequences: new Statement(
      database,
      `DELETE FROM sequences WHERE resource <> '' AND resource NOT IN (SELECT id FROM vms)
         AND last_position < (SELECT coalesce(min(position), 9e18) FROM events)`,
    ),
  };
}
