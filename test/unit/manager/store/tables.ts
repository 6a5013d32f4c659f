/** The store's operations on a database in memory, and messages and events to try them with. */
import { DatabaseSync } from "node:sqlite";
import { type Event, type NewEvent, vmEvent } from "../../../../manager/events/event.ts";
import type { Transacting } from "../../../../manager/store/commit-together.ts";
import { DEFAULT_STORE_LIMITS, type StoreLimits } from "../../../../manager/store/limits.ts";
import type { Operations } from "../../../../manager/store/operations.ts";
import { migrate } from "../../../../manager/store/schema.ts";
import { SecretBox } from "../../../../manager/store/secret-box.ts";
import type { AgentFacts, MessageToKeep, MirrorChange } from "../../../../manager/store/store.ts";
import { operationsOn } from "../../../../manager/store/tables.ts";
import type { NewEntry, WireEntry } from "../../../../shared/protocol/message.ts";

export const web1 = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };
export const web2 = { id: "22222222-2222-4222-8222-222222222222", name: "web2" };

/** A time like any other. */
export const NOW = Date.UTC(2026, 0, 15, 12);

export const SECOND = 1000;
export const DAY = 24 * 60 * 60 * SECOND;

/** Of the guest's cache. */
export const REVISION = 3;

export const boxWithKey = (byte: number) => new SecretBox(Buffer.alloc(32, byte));

let ids = 0;
const newId = () => `00000000-0000-7000-8000-${String((ids += 1)).padStart(12, "0")}`;

/** `uncommitted`: every event that was appended. */
export function openTables(limits: Partial<StoreLimits> = {}): Transacting & { tables: Operations } {
  const database = new DatabaseSync(":memory:", { enableForeignKeyConstraints: true });
  migrate(database);
  const uncommitted: Event[] = [];
  const tables = reopen(database, limits, boxWithKey(1), uncommitted);
  return { database, tables, operations: tables, uncommitted };
}

/** The same database with another key, as after the key's file was lost. */
export function reopen(
  database: DatabaseSync,
  limits: Partial<StoreLimits> = {},
  secrets = boxWithKey(1),
  uncommitted: Event[] = [],
): Operations {
  return operationsOn(database, { secrets, limits: { ...DEFAULT_STORE_LIMITS, ...limits }, newId, uncommitted });
}

type Parts = Partial<Omit<MessageToKeep, "change">> & { entries?: NewEntry[] };

/** Sets `k` to `v`, unless it says otherwise. */
export function message(
  messageId: string,
  { entries = [{ key: "k", value: "v" }], ...rest }: Parts = {},
): MessageToKeep {
  const change = { method: "set", params: { messageId, entries } } as const;
  return { vm: web1, change, by: "alice", queuedAt: NOW, expiresAt: undefined, ...rest };
}

export const delivered = {
  type: "delivered" as const,
  result: { epoch: "e", revision: 7, replaced: [] as string[] },
};
export const refused = { type: "refused" as const, refusal: { code: "over-limit" as const, message: "no room" } };

export const resumed = (vm = web1, time = NOW): NewEvent => vmEvent("VM.RUNNING", vm, time, { newState: "Running" });

export const agent: AgentFacts = {
  software: "agent 0.1.0",
  uuid: null,
  bootId: "b",
  nonce: "n",
  epoch: "e",
  revision: 3,
  limitBytes: 8192,
  uptimeMs: 5,
  clonedFrom: undefined,
  greetedAt: NOW,
};

/** Of a key that the guest has set. */
export const entry = (key: string, more: Partial<WireEntry> = {}): WireEntry => {
  return { key, value: "v", setBy: "guest", setAt: "2026-01-15T12:00:00.000Z", ageMs: 0, revision: 1, ...more };
};

/** To the mirror of `web1`. */
export const mirrorChange = (change: Partial<MirrorChange>): MirrorChange => {
  const head = { vmId: web1.id, vmName: web1.name, epoch: "e", revision: 3, limitBytes: 8192, asOf: NOW, agent };
  return { ...head, isReset: false, isLate: false, set: [], deleted: [], ...change };
};
