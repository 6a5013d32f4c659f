import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

export function messageHandlers(
  service: Service,
): Handlers<"sendMessage" | "listSent" | "listReceived" | "getReceipt"> {
  return {
    sendMessage: ({ who, params, body, signal }) => service.send(who, params.vm, body, signal),
    listSent: async ({ who, params, query }) => ({ receipts: await service.listSent(who, params.vm, query.limit) }),
    listReceived: async ({ who, params, query }) => ({
      received: await service.listReceived(who, params.vm, query.limit),
    }),
    getReceipt: ({ who, params, query, signal }) => service.receipt(who, params.messageId, query, signal),
  };
}
