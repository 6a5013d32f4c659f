/** What became of a message, for programs. */
import type { ChangeMethod, Receipt } from "../shared/api/schemas.ts";
import type { Sent } from "./guest.ts";

/** The guest's own answer stands where it stands without a manager; the receipt's further facts stand beside it. */
export function sentFacts(vm: string, messageId: string, { state, result, receipt }: Sent<ChangeMethod>): object {
  return { vm, messageId, ...result, state, ...(receipt && receiptFacts(receipt)) };
}

/** Who sent it and when what happened. */
function receiptFacts({ by, queuedAt, expiresAt, deliveredAt }: Receipt): object {
  return { by, queuedAt, ...(expiresAt && { expiresAt }), ...(deliveredAt && { deliveredAt }) };
}
