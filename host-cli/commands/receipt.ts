import { CommandError } from "../../shared/cli/failure.ts";
import type { Receipt } from "../../shared/api/schemas.ts";
import { tableLines } from "../../shared/cli/table.ts";
import type { ReceiptCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { holdBackMs, WAIT_TIMEOUT_MS } from "../timing.ts";

/** `receipt MESSAGE-ID [--wait-ack]`: what became of a message. */
export async function receipt(command: ReceiptCommand, context: Context): Promise<void> {
  const { messageId, waitAck, style, timeoutMs = WAIT_TIMEOUT_MS } = command;
  using manager = await openNeededManager(command, context, { lasts: waitAck ? "wait" : "answer" });
  const query = waitAck ? { waitFor: "acknowledged", waitMs: holdBackMs(timeoutMs) } : {};
  const found = await manager.readLate("getReceipt", { params: { messageId }, query });
  if (style === "json") context.output.json(found);
  else if (style === "quiet") context.output.line(found.state);
  else for (const line of tableLines(["message", found.messageId], rows(found))) context.output.line(line);
  if (!waitAck || found.state === "acknowledged") return;
  const { vm, state } = found;
  const message = `the message to '${vm.name}' is ${state}, and nothing acknowledged it`;
  throw new CommandError("unconfirmed", message, { vm: vm.name, messageId, state });
}

function rows({ vm, state, method, keys, by, refusal, acknowledgement, ...receipt }: Receipt): string[][] {
  const all: [string, string | undefined][] = [
    ["vm", vm.name],
    ["state", state],
    ["change", [method, ...keys].join(" ")],
    ["by", by],
    ["queued", receipt.queuedAt],
    ["expires", state === "queued" ? receipt.expiresAt : undefined],
    ["delivered", receipt.deliveredAt],
    ["read", receipt.readAt],
    ["acknowledged", receipt.acknowledgedAt],
    ["result", acknowledgement?.result],
    ["ended", receipt.endedAt],
    ["refused", refusal?.message],
  ];
  return all.filter((line): line is [string, string] => line[1] !== undefined);
}
