/** A log whose warnings and errors are also events, so that whoever is told of events is told of the manager's troubles. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Log } from "../../shared/log.ts";
import { AtMostEvery } from "./at-most-every.ts";
import { managerEvent, type NewEvent } from "./event.ts";

/** A trouble that lasts is logged often. */
const ALERT_EVERY_MS = 60_000;

/** Names are the manager's own, but what they are about has others' names: the longest ago makes room. */
const MAX_TROUBLES = 1_000;

const MAX_TYPE_LENGTH = 64;
const MAX_FIELDS = 32;
const MAX_FIELD_LENGTH = 1_000;

type Fields = Record<string, unknown>;

/**
 * Every `warn` and `error` also becomes `ALERT.` and its name in capitals, with its fields as data; one that recurs for the
 * same sink, inventory or VM once a minute, with `suppressed`, how often it was not told since. A `sink` among the fields
 * is what the event is about, which is not told of it.
 *
 * What is logged because an event is being published makes no event: a store that fails would else fail again for each.
 * @param publish must not wait; what it begins may fail later
 * @param now the clock, ms since 1970
 */
export function alertingLog(log: Log, publish: (event: NewEvent) => void, now: () => number = Date.now): Log {
  const publishing = new AsyncLocalStorage<true>();
  const troubles = new Map<string, AtMostEvery>();

  const alert = (name: string, fields: Fields): void => {
    if (publishing.getStore()) return;
    const time = now();
    const turn = limitOf(troubles, name, fields).take(time);
    if (turn === undefined) return;
    const event = alertEvent(name, fields, turn.suppressed, time);
    try {
      publishing.run(true, publish, event);
    } catch (error) {
      log.error("alert-not-published", { name, error });
    }
  };

  return {
    info: (name, fields) => {
      log.info(name, fields);
    },
    warn: (name, fields = {}) => {
      log.warn(name, fields);
      alert(name, fields);
    },
    error: (name, fields = {}) => {
      log.error(name, fields);
      alert(name, fields);
    },
  };
}

function limitOf(troubles: Map<string, AtMostEvery>, name: string, fields: Fields): AtMostEvery {
  const key = [name, fields["sink"], fields["inventory"], fields["id"] ?? fields["vm"]].map(textOf).join("\n");
  const limit = troubles.get(key) ?? new AtMostEvery(ALERT_EVERY_MS);
  troubles.delete(key);
  troubles.set(key, limit);
  const [oldest] = troubles.keys();
  if (troubles.size > MAX_TROUBLES && oldest !== undefined) troubles.delete(oldest);
  return limit;
}

function alertEvent(name: string, fields: Fields, suppressed: number, time: number): NewEvent {
  const type = name
    .toUpperCase()
    .replaceAll(/[^A-Z0-9._-]/g, "-")
    .slice(0, MAX_TYPE_LENGTH);
  const kept = Object.entries(fields).flatMap(([field, value]) => {
    const safe = jsonSafe(value);
    return safe === undefined ? [] : [[field, safe] as const];
  });
  const data = { ...Object.fromEntries(kept.slice(0, MAX_FIELDS)), ...(suppressed > 0 && { suppressed }) };
  const { sink } = fields;
  return managerEvent(`ALERT.${type}`, time, { data, ...(typeof sink === "string" && { about: sink }) });
}

/** Undefined for what JSON has no word for. An error is its message; its stack is in the log. */
function jsonSafe(value: unknown): unknown {
  if (value instanceof Error) return bounded(value.message);
  switch (typeof value) {
    case "string":
      return bounded(value);
    case "number":
    case "boolean":
      return value;
    case "object":
      return value === null ? null : bounded(jsonOf(value));
    default:
      return undefined;
  }
}

/** What has members is told as its JSON text, which has a bound. */
function jsonOf(value: object): string {
  try {
    return JSON.stringify(value);
  } catch {
    return "(not JSON)";
  }
}

function bounded(text: string): string {
  return text.slice(0, MAX_FIELD_LENGTH).toWellFormed();
}

function textOf(value: unknown): string {
  return typeof value === "string" ? bounded(value) : "";
}
