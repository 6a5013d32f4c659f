/** What somebody does, with its record in the audit log, whatever becomes of it. */
import type { VmRef } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { AuditLog } from "../access/audit-log.ts";
import type { Principal } from "../access/principal.ts";

/** Settles as the work does, when the record is on disk. */
export type Audited = <T>(who: Principal, action: string, work: () => Promise<T>, vm?: VmRef) => Promise<T>;

export function auditedBy(audit: AuditLog): Audited {
  return async (who, action, work, vm) => {
    const record = (outcome: string) => audit.record({ who, action, vm, outcome });
    let done;
    try {
      done = await work();
    } catch (error) {
      await record(error instanceof CommandError ? error.code : "internal");
      throw error;
    }
    await record("ok");
    return done;
  };
}
