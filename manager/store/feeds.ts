/** How far each sink has come in the log of events, and what stays behind: events that wait, dead letters, attempts. */
import type { DatabaseSync } from "node:sqlite";
import { CommandError } from "../../shared/cli/failure.ts";
import type { Event } from "../events/event.ts";
import type { EventTable } from "./events.ts";
import { KEPT_DEAD_LETTER_BYTES, KEPT_DEAD_LETTERS, type StoreLimits } from "./limits.ts";
import { Statement } from "./statement.ts";
import type { FeedProgress, ParkedEvent, StoredAttempt, StoredDeadLetter, StoredFeed } from "./store.ts";

/** The newest of a sink. Not measured. */
const KEPT_ATTEMPTS = 100;

/** Dead letters removed in one request for their age, so that others need not wait for long. */
const PRUNED_AT_ONCE = 100;

interface FeedRow {
  position: number;
  failures: number;
  failing_since: number | null;
  disabled: string | null;
  last_delivered_at: number | null;
}

interface ParkedRow {
  position: number;
  resource: string;
  attempts: number;
  parked_at: number;
  due_at: number;
  holds_others: number;
  error: string | null;
}

interface DeadLetterRow {
  event: string;
  attempts: number;
  error: string;
  at: number;
}

export class Feeds {
  readonly #log: EventTable;
  readonly #limits: Pick<StoreLimits, "eventAgeMs">;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, log: EventTable, limits: Pick<StoreLimits, "eventAgeMs">) {
    this.#log = log;
    this.#limits = limits;
    this.#statements = prepare(database);
  }

  load(sink: string): StoredFeed | undefined {
    const row = this.#statements.feed.first({ sink });
    if (row === undefined) return undefined;
    return {
      sink,
      position: row.position,
      failures: row.failures,
      failingSince: row.failing_since ?? undefined,
      disabled: row.disabled ?? undefined,
      lastDeliveredAt: row.last_delivered_at ?? undefined,
      parked: this.#statements.parked.all({ sink }).map(parkedEvent),
      deadLetters: this.#statements.deadLetterCount.first({ sink })?.count ?? 0,
    };
  }

  save(progress: readonly FeedProgress[]): void {
    for (const one of progress) this.#saveOne(one);
  }

  #saveOne({ sink, state, park, unpark, dead, attempts }: FeedProgress): void {
    const row = this.#statements.saveFeed.first({ sink, ...state, made: attempts.length });
    for (const parked of park) this.#park(sink, parked);
    for (const position of unpark) this.#statements.unpark.run({ sink, position });
    for (const letter of dead) this.#bury(sink, letter);
    if (dead.length > 0) {
      this.#statements.trimDeadLetters.run({ sink, kept: KEPT_DEAD_LETTERS, bytes: KEPT_DEAD_LETTER_BYTES });
    }
    const before = (row?.attempts ?? attempts.length) - attempts.length;
    for (const [index, attempt] of attempts.entries()) this.#note(sink, before + index, attempt);
  }

  /** @param copy the event as JSON, of one that the log may have no more */
  #park(sink: string, { holdsOthers, ...parked }: ParkedEvent, copy?: string): void {
    this.#statements.park.run({ sink, ...parked, holdsOthers: Number(holdsOthers), copy });
  }

  /** Nothing to be seen is left of an event that is no longer kept. */
  #bury(sink: string, { position, ...death }: FeedProgress["dead"][number]): void {
    const copy = this.#statements.unpark.first({ sink, position })?.copy;
    const event = copy === null || copy === undefined ? this.#log.at(position) : (JSON.parse(copy) as Event);
    if (event === undefined) return;
    this.#statements.bury.run({ sink, eventId: event.id, event: JSON.stringify(event), ...death });
  }

  #note(sink: string, number: number, attempt: StoredAttempt): void {
    const slot = number % KEPT_ATTEMPTS;
    this.#statements.note.run({ sink, slot, number, attempt: JSON.stringify(attempt) });
  }

  /** Those that are still in the log, or were brought along by a sink that tries a dead letter again. */
  eventsAt(positions: readonly number[]): Event[] {
    return [...positions].sort((one, other) => one - other).flatMap((position) => this.#eventAt(position) ?? []);
  }

  #eventAt(position: number): Event | undefined {
    const event = this.#log.at(position);
    if (event !== undefined) return event;
    const row = this.#statements.copyOf.first({ position });
    return row && (JSON.parse(row.copy) as Event);
  }

  deadLetters(sink: string, limit: number): StoredDeadLetter[] {
    return this.#statements.deadLetters.all({ sink, limit }).map(({ event, ...letter }) => {
      return { event: JSON.parse(event) as Event, ...letter };
    });
  }

  /** A step of removing the dead letters that are too old. */
  pruneSome(now: number): { more: boolean } {
    const before = now - this.#limits.eventAgeMs;
    return { more: this.#statements.pruneDeadLetters.run({ before, limit: PRUNED_AT_ONCE }) === PRUNED_AT_ONCE };
  }

  /** @throws CommandError for a sink that has no feed, or an event that is neither a dead letter of it nor in the log */
  redeliver(sink: string, eventIds: readonly string[] | undefined, now: number): ParkedEvent[] {
    if (this.#statements.feed.first({ sink }) === undefined) {
      throw new CommandError("failed", `nothing is kept for a sink ${sink}; was it removed?`);
    }
    const events = eventIds === undefined ? this.#exhumeAll(sink) : this.#eventsWithIds(sink, eventIds);
    return events.map(({ event, copy }) => {
      const { position, resourceUUID: resource } = event;
      const when = { parkedAt: now, dueAt: now };
      const parked: ParkedEvent = { position, resource, attempts: 0, ...when, holdsOthers: true, error: undefined };
      this.#park(sink, parked, copy);
      return parked;
    });
  }

  #exhumeAll(sink: string): Exhumed[] {
    return inOrder(this.#statements.exhumeAll.all({ sink }).map(exhumed));
  }

  #eventsWithIds(sink: string, ids: readonly string[]): Exhumed[] {
    const found = [...new Set(ids)].map((eventId): Exhumed => {
      const letter = this.#statements.exhume.first({ sink, eventId });
      if (letter !== undefined) return exhumed(letter);
      const event = this.#log.withId(eventId);
      if (event === undefined) throw new CommandError("failed", `no event ${eventId} is kept; it may be too old`);
      return { event, copy: undefined };
    });
    return inOrder(found);
  }

  attempts(sink: string, limit: number): StoredAttempt[] {
    return this.#statements.attempts.all({ sink, limit }).map(({ attempt }) => JSON.parse(attempt) as StoredAttempt);
  }

  remove(sink: string): void {
    this.#statements.remove.run({ sink });
    this.#statements.forgetSent.run({ sink });
  }

  names(): string[] {
    return this.#statements.names.all().map(({ sink }) => sink);
  }
}

/** An event to be delivered again. Of one that was a dead letter there is a copy, as JSON. */
interface Exhumed {
  event: Event;
  copy: string | undefined;
}

function exhumed({ event }: Pick<DeadLetterRow, "event">): Exhumed {
  return { event: JSON.parse(event) as Event, copy: event };
}

function inOrder(events: Exhumed[]): Exhumed[] {
  return events.sort((one, other) => one.event.position - other.event.position);
}

function parkedEvent({ parked_at, due_at, holds_others, error, ...row }: ParkedRow): ParkedEvent {
  return { ...row, parkedAt: parked_at, dueAt: due_at, holdsOthers: holds_others === 1, error: error ?? undefined };
}

function prepare(database: DatabaseSync) {
  return {
    feed: new Statement<FeedRow>(
      database,
      "SELECT position, failures, failing_since, disabled, last_delivered_at FROM feeds WHERE sink = :sink",
    ),
    saveFeed: new Statement<{ attempts: number }>(
      database,
      `INSERT INTO feeds (sink, position, failures, failing_since, disabled, last_delivered_at, attempts)
       VALUES (:sink, :position, :failures, :failingSince, :disabled, :lastDeliveredAt, :made)
       ON CONFLICT (sink) DO UPDATE SET position = excluded.position, failures = excluded.failures,
         failing_since = excluded.failing_since, disabled = excluded.disabled,
         last_delivered_at = excluded.last_delivered_at, attempts = attempts + excluded.attempts
       RETURNING attempts`,
    ),
    remove: new Statement(database, "DELETE FROM feeds WHERE sink = :sink"),
    forgetSent: new Statement(database, "DELETE FROM journal WHERE sink = :sink"),
    names: new Statement<{ sink: string }>(database, "SELECT sink FROM feeds ORDER BY sink"),

    park: new Statement(
      database,
      `INSERT INTO parked (sink, position, resource, attempts, parked_at, due_at, holds_others, error, copy)
       VALUES (:sink, :position, :resource, :attempts, :parkedAt, :dueAt, :holdsOthers, :error, :copy)
       ON CONFLICT (position, sink) DO UPDATE SET attempts = excluded.attempts, parked_at = excluded.parked_at,
         due_at = excluded.due_at, holds_others = excluded.holds_others, error = excluded.error,
         copy = coalesce(excluded.copy, copy)`,
    ),
    unpark: new Statement<{ copy: string | null }>(
      database,
      "DELETE FROM parked WHERE sink = :sink AND position = :position RETURNING copy",
    ),
    parked: new Statement<ParkedRow>(
      database,
      `SELECT position, resource, attempts, parked_at, due_at, holds_others, error FROM parked
       WHERE sink = :sink ORDER BY position`,
    ),
    copyOf: new Statement<{ copy: string }>(
      database,
      "SELECT copy FROM parked WHERE position = :position AND copy IS NOT NULL LIMIT 1",
    ),

    bury: new Statement(
      database,
      `INSERT OR REPLACE INTO dead_letters (sink, event_id, event, attempts, error, at)
       VALUES (:sink, :eventId, :event, :attempts, :error, :at)`,
    ),
    trimDeadLetters: new Statement(
      database,
      `DELETE FROM dead_letters WHERE sequence IN (
         SELECT sequence FROM (
           SELECT sequence, row_number() OVER newest AS number, sum(octet_length(event)) OVER newest AS bytes
           FROM dead_letters WHERE sink = :sink WINDOW newest AS (ORDER BY sequence DESC ROWS UNBOUNDED PRECEDING)
         ) WHERE number > :kept OR bytes > :bytes
       )`,
    ),
    // They became dead letters in this order, so that the oldest are the first.
    pruneDeadLetters: new Statement(
      database,
      `DELETE FROM dead_letters WHERE at < :before AND sequence IN (
         SELECT sequence FROM dead_letters ORDER BY sequence LIMIT :limit
       )`,
    ),
    deadLetters: new Statement<DeadLetterRow>(
      database,
      "SELECT event, attempts, error, at FROM dead_letters WHERE sink = :sink ORDER BY sequence DESC LIMIT :limit",
    ),
    deadLetterCount: new Statement<{ count: number }>(
      database,
      "SELECT count(*) AS count FROM dead_letters WHERE sink = :sink",
    ),
    exhume: new Statement<Pick<DeadLetterRow, "event">>(
      database,
      "DELETE FROM dead_letters WHERE sink = :sink AND event_id = :eventId RETURNING event",
    ),
    exhumeAll: new Statement<Pick<DeadLetterRow, "event">>(
      database,
      "DELETE FROM dead_letters WHERE sink = :sink RETURNING event",
    ),

    note: new Statement(
      database,
      "INSERT OR REPLACE INTO attempts (sink, slot, number, attempt) VALUES (:sink, :slot, :number, :attempt)",
    ),
    attempts: new Statement<{ attempt: string }>(
      database,
      "SELECT attempt FROM attempts WHERE sink = :sink ORDER BY number DESC LIMIT :limit",
    ),
  };
}
