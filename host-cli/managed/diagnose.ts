/** The steps of `doctor` through a manager: the manager, what it knows of the VM, its link to it, the agent. */
import type { Health, VmSummary } from "../../shared/api/schemas.ts";
import { type Holder, holderInWords } from "../../shared/channel-holder.ts";
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import { version } from "../../shared/version.ts";
import type { PlainCommand } from "../command.ts";
import type { Report } from "../commands/doctor.ts";
import type { Context } from "../context.ts";
import type { ManagerAddress } from "../door.ts";
import { agoInWords, awayInWords } from "../origin.ts";
import type { Manager } from "./manager.ts";
import { openManager } from "./open-manager.ts";

/** The VM's name. */
export async function diagnose(
  address: ManagerAddress,
  { command, context, report }: { command: PlainCommand; context: Context; report: Report },
): Promise<string> {
  const name = command.target.vm;
  if (name === undefined) throw usageError("which VM? name it with -v VM");
  using manager = await openManager(address, { command, context });
  foundManager(report, manager, await report.check("manager", () => manager.read("health")));
  const vm = await report.check("VM", () => manager.read("showVm", { params: { vm: name } }));
  report.found(`'${vm.name}' (${vm.inventory}, on ${vm.host}): ${vm.status}, channel ${vm.channel ?? "none"}`);
  if (vm.contestedBy !== undefined) {
    report.note(`the manager on ${vm.contestedBy} has a VM with this UUID running, too; who asks elsewhere is refused`);
  }
  if (vm.pending > 0) report.note(`${vm.pending} ${vm.pending === 1 ? "message waits" : "messages wait"} for it`);
  await report.check("link", () => linkOf(vm));
  report.found(`up since ${agoInWords(vm.link.since)}`);
  const { roundTripMs } = await report.check("agent", () => manager.read("pingVm", { params: { vm: vm.id } }));
  report.found(`${vm.agent?.software ?? "it"} answers in ${roundTripMs} ms; this is vmmessage ${version}`);
  report.foundCache(await report.check("cache", () => manager.read("infoVm", { params: { vm: vm.id } })));
  return vm.name;
}

function foundManager(report: Report, manager: Manager, health: Health): void {
  report.found(`${manager.where}: vmmessaged ${health.version}, ${health.status}`);
  for (const { name, isConnected, reason } of health.inventory) {
    if (!isConnected) report.note(`the manager cannot ask ${name} for VMs${reason === undefined ? "" : `: ${reason}`}`);
  }
}

/** Throws CommandError: held, unreachable. */
function linkOf(vm: VmSummary): Promise<void> {
  const { state, holder, reason } = vm.link;
  if (state === "up") return Promise.resolve();
  const details = { vm: vm.name, link: vm.link, pending: vm.pending };
  if (state === "held") {
    const message = `the channel of '${vm.name}' is held by ${holderInWords((holder ?? {}) as Holder)}, and it serves one client at a time`;
    return Promise.reject(new CommandError("held", message, details));
  }
  const hint = state === "silent" && reason === undefined ? "; is vmmessage's agent installed and running in it?" : "";
  return Promise.reject(new CommandError("unreachable", `${awayInWords(vm)}${hint}`, details));
}
