import { describe, expect, test, vi } from "vitest";
import { EventLog } from "../../../../manager/events/event-log.ts";
import { LOG_ID } from "./event-makers.ts";

describe("the log of events", () => {
  test("has the store read a few pages at a time, and the others in their turn, also after one that fails", async () => {
    const reads: PromiseWithResolvers<never[]>[] = [];
    const eventsAfter = () => {
      const read = Promise.withResolvers<never[]>();
      reads.push(read);
      return read.promise;
    };
    const log = new EventLog({ eventsAfter }, { id: LOG_ID, last: 10 });
    const pages = Array.from({ length: 6 }, () => Promise.resolve(log.read(0, 1)).catch(() => "failed"));
    await vi.waitUntil(() => reads.length > 0);
    expect(reads).toHaveLength(4);
    reads[0]?.reject(new Error("the disk is gone"));
    expect(await pages[0]).toBe("failed");
    await vi.waitUntil(() => reads.length > 4);
    expect(reads).toHaveLength(5);
    for (const read of reads) read.resolve([]);
    await Promise.all(pages.slice(0, 5));
    await vi.waitUntil(() => reads.length > 5);
    expect(reads).toHaveLength(6);
    reads[5]?.resolve([]);
    expect(await pages[5]).toMatchObject({ events: [] });
  });
});
