/** The events that follow from what a VM's mirror is now and was before. */
import type { VmRef } from "../../shared/api/schemas.ts";
import type { WireEntry } from "../../shared/protocol/message.ts";
import { type EventValue, type NewEvent, vmEvent } from "./event.ts";

export interface MirrorStep {
  vm: VmRef;
  time: number;
  /** All keys were told anew: what is not among `set` is deleted, and nobody knows when any of it changed. */
  isReset: boolean;
  /** Some of it happened while nobody listened. */
  isLate: boolean;
  /** The entries before: all of them when it is a reset, else at least those of the keys that changed. */
  before: ReadonlyMap<string, WireEntry>;
  set: readonly WireEntry[];
  deleted: readonly string[];
}

/** What was told before and is told again gives none. */
export function keyEvents({ vm, time, isReset, isLate, before, set, deleted }: MirrorStep): NewEvent[] {
  const isResync = isReset || isLate;
  const deletions = isReset ? keysWithout(before, set) : deleted.filter((key) => before.has(key));
  return [
    ...deletions.map((key) => vmEvent("KEY.DELETED", vm, time, { isResync, data: { key } })),
    ...set
      .filter((entry) => isNews(entry, before.get(entry.key)))
      .map((entry) => entryEvent(entry, !before.has(entry.key), vm, time, isResync)),
  ];
}

function keysWithout(before: ReadonlyMap<string, WireEntry>, set: readonly WireEntry[]): string[] {
  const left = new Set(set.map(({ key }) => key));
  return [...before.keys()].filter((key) => !left.has(key));
}

/**
 * Revisions change at each start of an agent, ages and what is left of a TTL all the time, and whoever reads a key does
 * not change it.
 */
function isNews(entry: WireEntry, before: WireEntry | undefined): boolean {
  return before === undefined || identity(entry) !== identity(before);
}

function identity({ value, base64, setAt, setBy, messageId, ttlMs, secret, gone }: WireEntry): string {
  const hasTtl = ttlMs !== undefined;
  return JSON.stringify([value, base64, setAt, setBy, messageId, hasTtl, secret === true, gone === true]);
}

function entryEvent(entry: WireEntry, isNew: boolean, vm: VmRef, time: number, isResync: boolean): NewEvent {
  if (entry.gone === true) return vmEvent("KEY.GONE", vm, time, { isResync, data: described(entry) });
  const value = valueOf(entry);
  return vmEvent("KEY.SET", vm, time, { isResync, data: { ...described(entry), isNew }, ...(value && { value }) });
}

function described({ key, setBy, setAt, secret, readOnly, ttlMs, messageId }: WireEntry): NewEvent["data"] {
  return {
    key,
    setBy,
    setAt,
    ...(secret === true && { secret }),
    ...(readOnly === true && { readOnly }),
    ...(ttlMs !== undefined && { ttlMs }),
    ...(messageId !== undefined && { messageId }),
  };
}

/** A guest's list has no secrets' values; what a hostile one sends as such is not told either. */
function valueOf({ secret, value, base64 }: WireEntry): EventValue | undefined {
  if (secret === true) return undefined;
  if (value !== undefined) return { value };
  return base64 === undefined ? undefined : { base64 };
}
