/**
 * Does the work and writes down how it went, before anybody is told. A manager that is killed between the two leaves what
 * it did without its record.
 */
import type { VmRef } from "../../shared/api/schemas.ts";
import { asFailure, CommandError } from "../../shared/cli/failure.ts";
import type { AuditLog } from "../access/audit-log.ts";
import type { Principal } from "../access/principal.ts";

/** What somebody did, for the audit log. */
export interface Deed {
  action: string;
  vm?: VmRef;
  keys?: string[];
  messageId?: string | undefined;
  values?: Record<string, string> | undefined;
}

/** Settles as the work does, when the record is on disk. */
export type Audited = <T>(who: Principal, deed: Deed, work: () => Promise<T>) => Promise<T>;

/** `failureAudited`: the caller writes down the success. */
export function auditedBy(audit: AuditLog): { audited: Audited; failureAudited: Audited } {
  const failureAudited: Audited = async (who, deed, work) => {
    try {
      return await work();
    } catch (error) {
      const failure = asFailure(error);
      const outcome = failure instanceof CommandError ? failure.code : "internal";
      await audit.record({ who, ...deed, outcome });
      throw failure;
    }
  };
  const audited: Audited = async (who, deed, work) => {
    const done = await failureAudited(who, deed, work);
    await audit.record({ who, ...deed, outcome: "ok" });
    return done;
  };
  return { audited, failureAudited };
}
