import type { VmSummary } from "../../shared/api/schemas.ts";
import { holderInWords, type Holder } from "../../shared/channel-holder.ts";
import { matchesVm } from "../../shared/vm-pattern.ts";
import type { VmsCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { agoInWords } from "../origin.ts";
import { printListing } from "../rows.ts";

const HEADER = ["NAME", "STATUS", "LINK", "PENDING", "LAST HEARD", "HOST", "UUID"];

/** `vms [PATTERN]`: the VMs that the manager knows and the asker may see. */
export async function vms(command: VmsCommand, context: Context): Promise<void> {
  using manager = await openNeededManager(command, context);
  const all = (await manager.read("listVms")).vms.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  const { pattern } = command;
  const items = pattern === undefined ? all : all.filter((vm) => matchesVm(pattern, vm));
  printListing(context.output, command.style, {
    items,
    header: HEADER,
    row,
    name: ({ name }) => name,
    json: { vms: items },
    none: pattern === undefined ? "the manager knows no VMs" : `no VM matches '${pattern}'`,
  });
}

function row({ name, status, link, pending, lastHeardAt, host, id }: VmSummary): string[] {
  return [name, status, linkInWords(link), pendingInWords(pending), heardInWords(lastHeardAt), host, id];
}

function linkInWords({ state, holder }: VmSummary["link"]): string {
  return state === "held" && holder !== undefined ? `held by ${holderInWords(holder as Holder)}` : state;
}

function pendingInWords(pending: number): string {
  return pending === 0 ? "" : String(pending);
}

function heardInWords(time: string | undefined): string {
  return time === undefined ? "never" : agoInWords(time);
}
