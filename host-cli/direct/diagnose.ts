/** The steps of `doctor` straight over a VM's channel. */
import { version } from "../../shared/version.ts";
import type { PlainCommand } from "../command.ts";
import type { Report } from "../commands/doctor.ts";
import type { Context } from "../context.ts";
import { findVm } from "../find-vm/find-vm.ts";
import { timeLimits } from "../timing.ts";
import { GreetedAgent } from "./greeted-agent.ts";

/** The VM's name. */
export async function diagnose({
  command,
  context,
  report,
}: {
  command: PlainCommand;
  context: Context;
  report: Report;
}): Promise<string> {
  const limits = timeLimits(command.timeoutMs, "answer", context.interrupt);
  const vm = await report.check("VM", () => findVm(command.target, limits.signal));
  report.found(`'${vm.name}' (${vm.foundIn}): ${vm.status}, channel ${vm.socketPath ?? "none"}`);
  await using agent = await report.check("agent", () => GreetedAgent.open(vm, limits));
  const { software, version: protocol, clonedFrom } = agent.greeting;
  report.found(`${software} answers in protocol version ${protocol}; this is vmmessage ${version}`);
  if (clonedFrom !== undefined) report.note(`a clone of ${clonedFrom}: the keys of that VM were set aside`);
  report.foundCache(await report.check("cache", () => agent.read("info", {})));
  return vm.name;
}
