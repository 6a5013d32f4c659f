/** What Masakari was told, or may have been: written down before it is told, so that no failure is told as two. */
import type { JournalEntry, Store } from "../../store/store.ts";
import { masakariEvents } from "../endpoint.ts";
import { putNewest } from "./newest.ts";
import { DUPLICATE_WINDOW_MS, type Failure, payloadOf } from "./notification.ts";

/**
 * What is read when the manager starts. An older event that is delivered again has the time of its first attempt all the same,
 * which is its own, and Masakari refuses it as known.
 */
const REMEMBERED_MS = 24 * 60 * 60 * 1000;

export interface SentJournalOptions {
  store: Pick<Store, "journal" | "saveJournalEntry" | "removeJournalEntry">;
  /** The sink's name. */
  sink: string;
  /** Milliseconds since 1970. */
  now: () => number;
}

/** An event's notification. */
export type Entry = JournalEntry & Failure;

export class SentJournal {
  readonly #options: SentJournalOptions;
  /** By event, the oldest first. */
  readonly #entries = new Map<string, Entry>();
  /** By what Masakari compares: when the last of it was generated. */
  readonly #lastGenerated = new Map<string, number>();
  #loading: Promise<void> | undefined;

  constructor(options: SentJournalOptions) {
    this.#options = options;
  }

  /** Settles when what was written before is known; rejects as the store does, and is tried again by the next who asks. */
  load(): Promise<void> {
    this.#loading ??= this.#load().catch((error: unknown) => {
      this.#loading = undefined;
      throw error;
    });
    return this.#loading;
  }

  entryOf(eventId: string): Entry | undefined {
    return this.#entries.get(eventId);
  }

  /** The `generated_time` from which a notification of this payload is none that Masakari knows already. */
  newFrom(failure: Pick<Failure, "vmId" | "event">): number {
    return (this.#lastGenerated.get(payloadOf(failure)) ?? -Infinity) + DUPLICATE_WINDOW_MS;
  }

  /** Settles when it is on disk. */
  async save(entry: Entry): Promise<void> {
    const { store, sink } = this.#options;
    await store.saveJournalEntry(sink, entry);
    this.#remember(entry);
  }

  /** Masakari has nothing of it, so that it keeps none from its window. Settles when it is gone from the disk. */
  async forget(entry: Entry): Promise<void> {
    const { store, sink } = this.#options;
    await store.removeJournalEntry(sink, entry.eventId);
    this.#entries.delete(entry.eventId);
    this.#lastGenerated.delete(payloadOf(entry));
    for (const other of this.#entries.values()) {
      if (payloadOf(other) === payloadOf(entry)) this.#noteGenerated(other);
    }
  }

  async #load(): Promise<void> {
    const { store, sink, now } = this.#options;
    for (const entry of await store.journal(sink, now() - REMEMBERED_MS)) if (isOurs(entry)) this.#remember(entry);
  }

  #remember(entry: Entry): void {
    putNewest(this.#entries, entry.eventId, entry);
    this.#noteGenerated(entry);
  }

  #noteGenerated(entry: Entry): void {
    const payload = payloadOf(entry);
    const last = this.#lastGenerated.get(payload) ?? -Infinity;
    putNewest(this.#lastGenerated, payload, Math.max(entry.generatedAt, last));
  }
}

function isOurs(entry: JournalEntry): entry is Entry {
  return Object.hasOwn(masakariEvents, entry.event);
}
