import type { AskedManager, VmSummary } from "../../shared/api/schemas.ts";
import { holderInWords, type Holder } from "../../shared/channel-holder.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { matchesVm } from "../../shared/vm-pattern.ts";
import type { VmsCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { agoInWords } from "../origin.ts";
import { printListing } from "../rows.ts";

const HEADER = ["NAME", "STATUS", "LINK", "PENDING", "LAST HEARD", "HOST", "UUID"];

/** `vms [--everywhere] [PATTERN]`: the VMs that the manager knows and the asker may see. */
export async function vms(command: VmsCommand, context: Context): Promise<void> {
  const { pattern, everywhere } = command;
  using manager = await openNeededManager(command, context);
  const { vms, managers } = await manager.read("listVms", { query: { everywhere: everywhere ? true : undefined } });
  const all = vms.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  const items = pattern === undefined ? all : all.filter((vm) => matchesVm(pattern, vm));
  printListing(context.output, command.style, {
    items,
    header: HEADER,
    row,
    name: ({ name }) => name,
    json: { vms: items, ...(managers !== undefined && { managers }) },
    none: noneInWords(command),
  });
  tellOfSilent(managers ?? [], context);
}

function noneInWords({ pattern, everywhere }: VmsCommand): string {
  if (pattern !== undefined) return `no VM matches '${pattern}'`;
  return everywhere ? "no manager that answered knows a VM" : "the manager knows no VMs";
}

/** Throws CommandError (partial) when there are any. */
function tellOfSilent(managers: readonly AskedManager[], { output }: Context): void {
  const silent = managers.filter(({ reason }) => reason !== undefined);
  if (silent.length === 0) return;
  for (const { host, reason = "" } of silent) output.note(`${host} did not answer: ${reason}`);
  const message = `the list is without the VMs of ${silent.length} of ${managers.length} managers`;
  throw new CommandError("partial", message, { managers: managers.length, silent: silent.map(({ host }) => host) });
}

function row(vm: VmSummary): string[] {
  const { name, status, pending, lastHeardAt, host, id } = vm;
  return [name, status, linkInWords(vm), pendingInWords(pending), heardInWords(lastHeardAt), host, id];
}

/** `up` · `held by socat (4711)` · `at kvm2`, where another manager has it · `up, also on kvm2`, where another one has it, too. */
function linkInWords({ link: { state, holder }, heldBy, contestedBy }: VmSummary): string {
  if (heldBy !== undefined) return `at ${heldBy}`;
  const link = state === "held" && holder !== undefined ? `held by ${holderInWords(holder as Holder)}` : state;
  return contestedBy === undefined ? link : `${link}, also on ${contestedBy}`;
}

function pendingInWords(pending: number): string {
  return pending === 0 ? "" : String(pending);
}

function heardInWords(time: string | undefined): string {
  return time === undefined ? "never" : agoInWords(time);
}
