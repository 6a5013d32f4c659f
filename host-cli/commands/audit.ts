import type { AuditRecord } from "../../shared/api/schemas.ts";
import type { AuditCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { printListing } from "../rows.ts";

const HEADER = ["ID", "TIME", "WHO", "VIA", "ACTION", "VM", "OUTCOME", "KEYS", "MESSAGE"];

/** `audit`: who did what, the newest first. */
export async function audit(command: AuditCommand, context: Context): Promise<void> {
  const { vm, who, before, limit, style } = command;
  using manager = await openNeededManager(command, context);
  const { records } = await manager.read("listAudit", { query: { vm, who, before, limit } });
  printListing(context.output, style, {
    items: records,
    header: HEADER,
    row,
    name: ({ id }) => String(id),
    json: { records },
    none: "the audit log has no such records",
  });
}

function row({ id, time, who, via, action, vm, outcome, keys, values = {}, messageId = "" }: AuditRecord): string[] {
  const shown = keys.map((key) => (Object.hasOwn(values, key) ? `${key}='${values[key] ?? ""}'` : key));
  return [String(id), time, who, via, action, vm?.name ?? "", outcome, shown.join(" "), messageId];
}
