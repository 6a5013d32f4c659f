import type { Service } from "../../service/service.ts";
import type { Handlers } from "../handler.ts";

export function auditHandlers(service: Service): Handlers<"listAudit"> {
  return { listAudit: async ({ who, query }) => ({ records: await service.listAudit(who, query) }) };
}
