/** Events as the log would give them to a sink, and a log that keeps what it is told. */
import { randomUUID } from "node:crypto";
import type { Event, NewEvent } from "../../../../manager/events/event.ts";
import type { Log } from "../../../../shared/log.ts";

/** Numbered for each resource and in the log, as they stand here. */
export function numbered(events: readonly NewEvent[]): Event[] {
  const sequences = new Map<string, number>();
  return events.map((event, index) => {
    const sequence = (sequences.get(event.resourceUUID) ?? 0) + 1;
    sequences.set(event.resourceUUID, sequence);
    return { ...event, id: randomUUID(), sequence, position: index + 1 };
  });
}

export interface LogLine {
  event: string;
  [field: string]: unknown;
}

export function keptLog(): { log: Log; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const keep = (event: string, fields = {}): void => void lines.push({ event, ...fields });
  return { log: { info: keep, warn: keep, error: keep }, lines };
}
