/** Events as the log of events has them. */
import { type Event, type NewEvent, vmEvent } from "../../../../manager/events/event.ts";

export const HOST = "hv1.example.com";
export const web1 = { id: "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11", name: "web1" };
export const web2 = { id: "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e12", name: "web2" };

/** 2026-11-20T12:00:00Z */
export const NOON = Date.UTC(2026, 10, 20, 12);

let position = 0;

/** The next one in the log, of web1 unless said otherwise. */
export function nextEvent(changes: Partial<Event> = {}): Event {
  position += 1;
  const made: NewEvent = vmEvent("VM.RUNNING", web1, NOON, { oldState: "stopped", newState: "running" });
  const id = `0192f1d0-0000-7000-8000-${String(position).padStart(12, "0")}`;
  return { ...made, id, sequence: position, position, ...changes };
}

export function nextEvents(count: number, changes: Partial<Event> = {}): Event[] {
  return Array.from({ length: count }, () => nextEvent(changes));
}

export function nextEventOf(vm: typeof web1): Event {
  return nextEvent({ resourceUUID: vm.id, resourceName: vm.name });
}
