import type { Health } from "../../shared/api/schemas.ts";
import type { HealthCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { agoInWords } from "../origin.ts";
import { tableLines } from "../table.ts";

/** `health`: what works in the manager and what does not. */
export async function health(command: HealthCommand, context: Context): Promise<void> {
  const { output } = context;
  using manager = await openNeededManager(command, context);
  const found = await manager.read("health");
  if (command.style === "json") output.json(found);
  else if (command.style === "quiet") output.line(found.status);
  else for (const line of tableLines(["manager", manager.where], rows(found))) output.line(line);
}

function rows({ status, version, startedAt, inventory, links, messages }: Health): string[][] {
  return [
    ["status", status],
    ["version", version],
    ["started", agoInWords(startedAt)],
    ...inventory.map(({ name, isConnected, reason, vms }) => {
      const state = isConnected ? `${vms} VMs` : `not connected${reason === undefined ? "" : `: ${reason}`}`;
      return [name, state];
    }),
    ["links", counted(links)],
    ["messages", counted(messages)],
  ];
}

/** `3 up, 1 silent` */
function counted(counts: Readonly<Record<string, number>>): string {
  const some = Object.entries(counts).filter(([, count]) => count > 0);
  return some.length === 0 ? "none" : some.map(([state, count]) => `${count} ${state}`).join(", ");
}
