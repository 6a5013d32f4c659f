import type { ReceivedMessage, Receipt } from "../../shared/api/schemas.ts";
import type { MessagesCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { agoInWords } from "../origin.ts";
import { printListing } from "../rows.ts";
import { shortValue } from "../transcript.ts";

/** `messages -v VM [--received]`: what was sent to a VM, or came from it. */
export async function messages(command: MessagesCommand, context: Context): Promise<void> {
  const { vm, limit, style } = command;
  const { output } = context;
  using manager = await openNeededManager(command, context);
  const asked = { params: { vm }, query: { limit } };
  if (command.direction === "sent") {
    const { receipts } = await manager.read("listSent", asked);
    printListing(output, style, {
      items: receipts,
      header: ["MESSAGE", "STATE", "SENT", "BY", "CHANGE", "NOTE"],
      row: receiptRow,
      name: ({ messageId }) => messageId,
      json: { receipts },
      none: `nothing was sent to '${vm}'`,
    });
  } else {
    const { received } = await manager.read("listReceived", asked);
    printListing(output, style, {
      items: received,
      header: ["RECEIVED", "KIND", "NAME", "VALUE", "NOTE"],
      row: receivedRow,
      name: ({ key, name = "" }) => key ?? name,
      json: { received },
      none: `nothing came from '${vm}'`,
    });
  }
}

function receiptRow(receipt: Receipt): string[] {
  const { messageId, state, queuedAt, by, method, keys } = receipt;
  return [messageId, state, agoInWords(queuedAt), by, [method, ...keys].join(" "), note(receipt)];
}

function note({ refusal, acknowledgement, expiresAt, state }: Receipt): string {
  if (refusal !== undefined) return refusal.message;
  if (acknowledgement?.result !== undefined) return `result '${acknowledgement.result}'`;
  return state === "queued" && expiresAt !== undefined ? `expires at ${expiresAt}` : "";
}

function receivedRow(message: ReceivedMessage): string[] {
  const { receivedAt, kind, key, name, of } = message;
  return [agoInWords(receivedAt), kind, key ?? name ?? "", content(message), of === undefined ? "" : `of ${of}`];
}

function content({ value, base64, data, result }: ReceivedMessage): string {
  if (value !== undefined || base64 !== undefined) return shortValue({ value, base64 });
  return result ?? (data === undefined ? "" : JSON.stringify(data));
}
