import type { Receipt } from "../../../shared/api/schemas.ts";
import { type Command, LISTED_MESSAGES } from "./command.ts";
import { fieldsLine, shownTime } from "./fields.ts";

/** What was sent is erased when the guest has it; what became of it stays. */
export const getVmSentMessages: Command = {
  verb: "getVmSentMessages",
  type: "Vm",
  required: {},
  optional: {},
  hasVm: true,
  summary: "lists what was sent to a virtual machine and what became of it, the newest first",
  async run({ service, who }, { vm }) {
    const receipts = await service.listSent(who, vm, LISTED_MESSAGES);
    return receipts.map(sentLine);
  },
};

function sentLine({ messageId, method, keys, state, by, queuedAt, refusal }: Receipt): string {
  return fieldsLine({
    key: keys.length === 0 ? undefined : keys.join(","),
    method: method === "set" ? undefined : method,
    state,
    reason: refusal?.message,
    by,
    time: shownTime(queuedAt),
    message: messageId,
  });
}
