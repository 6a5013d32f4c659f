/** The store's operations on a database in memory, and messages to try them with. */
import { DatabaseSync } from "node:sqlite";
import type { NewEntry } from "../../../../shared/protocol/message.ts";
import { DEFAULT_STORE_LIMITS, type StoreLimits } from "../../../../manager/store/limits.ts";
import type { Operations } from "../../../../manager/store/operations.ts";
import { migrate } from "../../../../manager/store/schema.ts";
import { SecretBox } from "../../../../manager/store/secret-box.ts";
import type { MessageToKeep } from "../../../../manager/store/store.ts";
import { operationsOn } from "../../../../manager/store/tables.ts";

export const web1 = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };
export const web2 = { id: "22222222-2222-4222-8222-222222222222", name: "web2" };

/** A time like any other. */
export const NOW = Date.UTC(2026, 0, 15, 12);

export const SECOND = 1000;
export const DAY = 24 * 60 * 60 * SECOND;

export const boxWithKey = (byte: number) => new SecretBox(Buffer.alloc(32, byte));

export function openTables(limits: Partial<StoreLimits> = {}): { tables: Operations; database: DatabaseSync } {
  const database = new DatabaseSync(":memory:", { enableForeignKeyConstraints: true });
  migrate(database);
  return { database, tables: reopen(database, limits) };
}

/** The same database with another key, as after the key's file was lost. */
export function reopen(database: DatabaseSync, limits: Partial<StoreLimits> = {}, secrets = boxWithKey(1)): Operations {
  return operationsOn(database, secrets, { ...DEFAULT_STORE_LIMITS, ...limits });
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
