/** What is known of guests' health, and what Masakari was told of it. */
import type { DatabaseSync } from "node:sqlite";
import type { StoreLimits } from "./limits.ts";
import { Statement } from "./statement.ts";
import type { JournalEntry, StoredMonitor } from "./store.ts";

interface JournalRow {
  event_id: string;
  vm_id: string;
  event: string;
  generated_at: number;
  sent_at: number | null;
  notification_id: string | null;
}

export class Monitors {
  readonly #limits: StoreLimits;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, limits: StoreLimits) {
    this.#limits = limits;
    this.#statements = prepare(database);
  }

  load(part: StoredMonitor["part"]): StoredMonitor[] {
    return this.#statements.all.all({ part }).map(({ vm_id, state }) => {
      return { vmId: vm_id, part, state: JSON.parse(state) as unknown };
    });
  }

  save(monitors: readonly StoredMonitor[]): void {
    for (const { vmId, part, state } of monitors) {
      this.#statements.save.run({ vmId, part, state: JSON.stringify(state) });
    }
  }

  forgetVm(vmId: string): void {
    this.#statements.forget.run({ vmId });
  }

  journal(sink: string, since: number): JournalEntry[] {
    return this.#statements.journal.all({ sink, since }).map((row) => ({
      eventId: row.event_id,
      vmId: row.vm_id,
      event: row.event,
      generatedAt: row.generated_at,
      sentAt: row.sent_at ?? undefined,
      notificationId: row.notification_id ?? undefined,
    }));
  }

  saveJournalEntry(sink: string, entry: JournalEntry): void {
    this.#statements.saveEntry.run({ sink, ...entry });
  }

  removeJournalEntry(sink: string, eventId: string): void {
    this.#statements.removeEntry.run({ sink, eventId });
  }

  /** Kept for as long as the events that it tells of: an older one is not sent again. */
  prune(now: number): void {
    this.#statements.prune.run({ before: now - 2 * this.#limits.eventAgeMs });
  }
}

function prepare(database: DatabaseSync) {
  return {
    all: new Statement<{ vm_id: string; state: string }>(
      database,
      "SELECT vm_id, state FROM monitors WHERE part = :part ORDER BY vm_id",
    ),
    save: new Statement(
      database,
      `INSERT INTO monitors (vm_id, part, state) VALUES (:vmId, :part, :state)
       ON CONFLICT (vm_id, part) DO UPDATE SET state = excluded.state`,
    ),
    forget: new Statement(database, "DELETE FROM monitors WHERE vm_id = :vmId"),
    journal: new Statement<JournalRow>(
      database,
      `SELECT event_id, vm_id, event, generated_at, sent_at, notification_id FROM journal
       WHERE sink = :sink AND generated_at >= :since ORDER BY generated_at, event_id`,
    ),
    saveEntry: new Statement(
      database,
      `INSERT INTO journal (sink, event_id, vm_id, event, generated_at, sent_at, notification_id)
       VALUES (:sink, :eventId, :vmId, :event, :generatedAt, :sentAt, :notificationId)
       ON CONFLICT (sink, event_id) DO UPDATE SET generated_at = excluded.generated_at, sent_at = excluded.sent_at,
         notification_id = excluded.notification_id`,
    ),
    removeEntry: new Statement(database, "DELETE FROM journal WHERE sink = :sink AND event_id = :eventId"),
    prune: new Statement(database, "DELETE FROM journal WHERE generated_at < :before"),
  };
}
