import { type Asking, readAttachableDomain } from "../attach/attachable-domain.ts";
import { carryOut } from "../attach/carry-out.ts";
import { isConfirmed } from "../attach/confirm.ts";
import { afterPlan, planFor } from "../attach/plan.ts";
import { type Change, printChange } from "../attach/print-change.ts";
import type { AttachCommand, ChannelXmlCommand } from "../attach-command.ts";
import type { Context } from "../context.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { channelXmlLines } from "../../shared/libvirt/channel-xml.ts";
import { timeLimits } from "../timing.ts";

/** `attach -v VM`: gives a domain of libvirt its channel, as virt-xml would; one that has it stays as it is. */
export async function attach(command: AttachCommand, context: Context): Promise<void> {
  const { output, interrupt } = context;
  const asking = (): Asking => {
    return { uri: command.target.libvirtUri, signal: timeLimits(command.timeoutMs, "wait", interrupt).signal };
  };
  const before = await readAttachableDomain(command.vm, asking()).catch(rethrowWithHint(command, context));
  const plan = planFor(before, command);
  const planned = (): Change => ({ before, after: afterPlan(before, plan), plan, isDone: false });
  if (command.isDryRun) {
    printChange(planned(), command, output);
    return;
  }
  const wasShown = command.confirms && (plan.defines || plan.plugs);
  if (wasShown) {
    printChange(planned(), command, output);
    await assertConfirmed(before.name, context);
  }
  const after = await carryOut(before, plan, asking);
  printChange({ before, after, plan, isDone: true }, command, output, { wasShown });
}

/** `attach --print-xml`: for whatever else defines VMs. */
export function printChannelXml({ style }: ChannelXmlCommand, { output }: Context): void {
  if (style === "json") output.json({ xml: channelXmlLines.join("\n") });
  else for (const line of channelXmlLines) output.line(line);
}

async function assertConfirmed(vm: string, context: Context): Promise<void> {
  if (await isConfirmed("Make this change?", context)) return;
  throw new CommandError("failed", "not confirmed; nothing was changed", { vm });
}

/** Of everybody but root, libvirt's default connection is to a daemon of their own, which has other VMs. */
function rethrowWithHint({ target: { libvirtUri } }: AttachCommand, { uid, environment }: Context) {
  return (error: unknown): never => {
    const isDefault = libvirtUri === undefined && !environment["LIBVIRT_DEFAULT_URI"] && uid !== 0;
    if (!isDefault || !(error instanceof CommandError) || !error.message.includes("failed to get domain")) throw error;
    const message = `${error.message}; the VMs of the machine itself are at --connect qemu:///system`;
    throw new CommandError(error.code, message, error.details, { cause: error });
  };
}
