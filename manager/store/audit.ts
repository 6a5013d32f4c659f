/** Who did what. Records are only added; the oldest go. */
import type { DatabaseSync } from "node:sqlite";
import type { AuditRecord } from "../../shared/api/schemas.ts";
import type { StoreLimits } from "./limits.ts";
import { Statement } from "./statement.ts";
import type { AuditQuery } from "./store.ts";

/** Records removed in one request, so that others need not wait for a million. */
const PRUNED_AT_ONCE = 5000;

interface AuditRow {
  id: number;
  record: string;
}

export class AuditTable {
  readonly #limits: StoreLimits;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, limits: StoreLimits) {
    this.#limits = limits;
    this.#statements = prepare(database);
  }

  add(records: readonly Omit<AuditRecord, "id">[]): void {
    for (const record of records) {
      const { time, who, vm } = record;
      this.#statements.insert.run({ time: Date.parse(time), who, vmId: vm?.id, record: JSON.stringify(record) });
    }
  }

  query({ vmId, who, before = Number.MAX_SAFE_INTEGER, limit }: AuditQuery): AuditRecord[] {
    return this.#rows({ vmId, who, before, limit }).map(({ id, record }) => {
      return { id, ...(JSON.parse(record) as Omit<AuditRecord, "id">) };
    });
  }

  #rows({ vmId, who, ...page }: AuditQuery): AuditRow[] {
    const { newest, ofVm, ofWho, ofBoth } = this.#statements;
    if (vmId === undefined) return who === undefined ? newest.all({ ...page }) : ofWho.all({ who, ...page });
    return who === undefined ? ofVm.all({ vmId, ...page }) : ofBoth.all({ vmId, who, ...page });
  }

  pruneSome(now: number): { more: boolean } {
    const { auditAgeMs, auditRecords } = this.#limits;
    const limit = PRUNED_AT_ONCE;
    const old = this.#statements.pruneOld.run({ before: now - auditAgeMs, limit });
    const many = this.#statements.pruneMany.run({ kept: auditRecords, limit });
    return { more: old === limit || many === limit };
  }
}

function prepare(database: DatabaseSync) {
  const where = (condition: string) => {
    const sql = `SELECT id, record FROM audit WHERE ${condition} id < :before ORDER BY id DESC LIMIT :limit`;
    return new Statement<AuditRow>(database, sql);
  };
  return {
    insert: new Statement(
      database,
      "INSERT INTO audit (time, who, vm_id, record) VALUES (:time, :who, :vmId, :record)",
    ),
    newest: where(""),
    ofVm: where("vm_id = :vmId AND"),
    ofWho: where("who = :who AND"),
    ofBoth: where("vm_id = :vmId AND who = :who AND"),
    pruneOld: new Statement(
      database,
      "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE time < :before LIMIT :limit)",
    ),
    // Ids have no gaps, so they say how many there are.
    pruneMany: new Statement(
      database,
      `DELETE FROM audit WHERE id IN (
         SELECT id FROM audit WHERE id <= (SELECT max(id) FROM audit) - :kept ORDER BY id LIMIT :limit
       )`,
    ),
  };
}
