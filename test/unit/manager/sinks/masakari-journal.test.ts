import { describe, expect, test } from "vitest";
import { type Entry, SentJournal } from "../../../../manager/sinks/masakari/sent-journal.ts";
import type { JournalEntry } from "../../../../manager/store/store.ts";
import { NOON, web1, web2 } from "./events.ts";

const HUNG = { vmId: web1.id, event: "QEMU_GUEST_AGENT_ERROR" } as const;

function entry(eventId: string, changes: Partial<Entry> = {}): Entry {
  return { eventId, ...HUNG, generatedAt: NOON, sentAt: NOON, notificationId: undefined, ...changes };
}

/** The store's side of it, and the journal over it. */
function journalOver(...written: JournalEntry[]) {
  const asked: unknown[] = [];
  const removed: string[] = [];
  let failures = 0;
  const store = {
    journal: (sink: string, since: number) => {
      asked.push([sink, since]);
      if (failures > 0) return Promise.reject(new Error(`the disk is full, ${(failures -= 1)}`));
      return Promise.resolve(written);
    },
    saveJournalEntry: (_sink: string, one: JournalEntry) => {
      if (failures > 0) return Promise.reject(new Error(`the disk is full, ${(failures -= 1)}`));
      written.push(one);
      return Promise.resolve();
    },
    removeJournalEntry: (_sink: string, eventId: string) => {
      if (failures > 0) return Promise.reject(new Error(`the disk is full, ${(failures -= 1)}`));
      removed.push(eventId);
      return Promise.resolve();
    },
  };
  const journal = new SentJournal({ store, sink: "config:ha", now: () => NOON });
  return { journal, asked, failNext: () => (failures += 1), written, removed };
}

describe("what Masakari was told", () => {
  test("is read once, of a day", async () => {
    const { journal, asked } = journalOver(entry("one"));
    await Promise.all([journal.load(), journal.load()]);
    await journal.load();
    expect(asked).toEqual([["config:ha", NOON - 86_400_000]]);
    expect(journal.entryOf("one")).toEqual(entry("one"));
    expect(journal.entryOf("two")).toBeUndefined();
  });

  test("is read again after the store failed", async () => {
    const { journal, failNext } = journalOver(entry("one"));
    failNext();
    await expect(journal.load()).rejects.toThrow("the disk is full");
    await journal.load();
    expect(journal.entryOf("one")).toBeDefined();
  });

  test("is known only when it is on disk", async () => {
    const { journal, failNext } = journalOver();
    failNext();
    await expect(journal.save(entry("one"))).rejects.toThrow("the disk is full");
    expect(journal.entryOf("one")).toBeUndefined();
    expect(journal.newFrom(HUNG)).toBe(-Infinity);
  });

  test("keeps the next of its payload from its window, and no other", async () => {
    const { journal } = journalOver(entry("one"), entry("late", { generatedAt: NOON + 5, sentAt: undefined }));
    await journal.load();
    await journal.save(entry("early", { generatedAt: NOON - 9_000 }));
    expect(journal.newFrom(HUNG)).toBe(NOON + 5 + 181_000);
    expect(journal.newFrom({ ...HUNG, event: "LIFECYCLE" })).toBe(-Infinity);
    expect(journal.newFrom({ ...HUNG, vmId: web2.id })).toBe(-Infinity);
  });

  test("and refused keeps none from its window, once that is on disk; what was told before still does", async () => {
    const { journal, failNext, removed } = journalOver(entry("one"), entry("other", { vmId: web2.id }));
    await journal.load();
    const refused = entry("refused", { generatedAt: NOON + 200_000, sentAt: undefined });
    await journal.save(refused);
    failNext();
    await expect(journal.forget(refused)).rejects.toThrow("the disk is full");
    expect(journal.newFrom(HUNG)).toBe(NOON + 200_000 + 181_000);
    await journal.forget(refused);
    expect(removed).toEqual(["refused"]);
    expect(journal.entryOf("refused")).toBeUndefined();
    expect(journal.newFrom(HUNG)).toBe(NOON + 181_000);
    await journal.forget(entry("one"));
    expect(journal.newFrom(HUNG)).toBe(-Infinity);
    expect(journal.newFrom({ ...HUNG, vmId: web2.id })).toBe(NOON + 181_000);
  });

  test("of an event that Masakari has no word for any more is passed over", async () => {
    const { journal } = journalOver({ ...entry("one"), event: "constructor" });
    await journal.load();
    expect(journal.entryOf("one")).toBeUndefined();
  });

  test("is held in memory with a bound, the newest of it", async () => {
    const { journal } = journalOver();
    for (let index = 0; index < 10_050; index += 1) await journal.save(entry(`e${index}`, { vmId: `vm${index}` }));
    expect(journal.entryOf("e49")).toBeUndefined();
    expect(journal.entryOf("e50")).toBeDefined();
    expect(journal.newFrom({ ...HUNG, vmId: "vm49" })).toBe(-Infinity);
    expect(journal.newFrom({ ...HUNG, vmId: "vm10049" })).toBe(NOON + 181_000);
  });
});
