/** An event on one line, in the shape of `virsh event --timestamp` (virsh(1)). */
import type { ShownEvent } from "../shared/api/event-schemas.ts";

/** Enough of what an event tells beside its states to understand it, and not enough to hide the next one. */
const MAX_SHORT = 64;
const MAX_FACTS = 8;

/** What needs no quotes to be told from what stands around it. */
const PLAIN_WORD = /^[\w.:/@+*-]+$/;

/** `2026-11-20 23:51:34.030+0000: event 'VM.PAUSED' for domain 'web1': Running -> Paused` */
export function eventLine(event: ShownEvent): string {
  const what = [states(event), facts(event)].filter((part) => part !== "").join(", ");
  const head = `${virshTime(event.time)}: event '${event.type}'${resourceInWords(event)}`;
  return `${head}${what === "" ? "" : `: ${what}`}${event.isResync ? " (found later)" : ""}`;
}

function virshTime(time: string): string {
  return new Date(time).toISOString().replace("T", " ").replace("Z", "+0000");
}

function resourceInWords({ resourceType, resourceUUID, resourceName }: ShownEvent): string {
  switch (resourceType) {
    case "VirtualMachine":
      return ` for domain '${resourceName ?? resourceUUID}'`;
    case "AsyncJob":
      return ` for job '${resourceUUID}'`;
    case "ManagementServer":
      return "";
  }
}

function states({ oldState, newState }: ShownEvent): string {
  if (newState === undefined) return oldState === undefined ? "" : `was ${oldState}`;
  return oldState === undefined ? newState : `${oldState} -> ${newState}`;
}

/** `key=com.example.ready value="it is"`. A value that was asked for is there as a whole. */
function facts({ type, data }: ShownEvent): string {
  const isOfKey = type.startsWith("KEY.");
  const all = Object.entries(data).map(
    ([name, value]) => `${word(name)}=${word(value, isOfKey ? Infinity : MAX_SHORT)}`,
  );
  const shown = isOfKey ? all : all.slice(0, MAX_FACTS);
  return [...shown, ...(shown.length < all.length ? ["..."] : [])].join(" ");
}

/** JSON has quotes around whatever could be taken for more than one word. */
function word(value: unknown, maxLength = MAX_SHORT): string {
  const text = typeof value === "string" && PLAIN_WORD.test(value) ? value : JSON.stringify(value);
  return text.length <= maxLength ? text : `${text.slice(0, maxLength - 3)}...`;
}
