/** Says what is done, or would be, and from when on it holds. */
import { CHANNEL_NAME } from "../../shared/channel-name.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { AttachableDomain, Machine } from "./attachable-domain.ts";
import { effectOf, type Plan } from "./plan.ts";

/** @param domain as the plan leaves it. @param isDone false while it is only a plan */
export function attachedInWords(domain: AttachableDomain, plan: Plan, isDone: boolean): string[] {
  const plugged = isDone ? "It was plugged into the running VM." : "It would be plugged into the running VM.";
  return [definitionInWords(domain, plan, isDone), ...(plan.plugs ? [plugged] : []), effectInWords(domain)];
}

function definitionInWords({ name, isTransient }: AttachableDomain, { defines }: Plan, isDone: boolean): string {
  const subject = `The definition of '${name}'`;
  if (isTransient) return `'${name}' is transient: whatever creates it again has to give it the channel again.`;
  if (!defines) return `${subject} has the channel ${CHANNEL_NAME} already.`;
  return isDone
    ? `${subject} has the channel ${CHANNEL_NAME} now.`
    : `${subject} would get the channel ${CHANNEL_NAME}.`;
}

function effectInWords({ machine }: AttachableDomain): string {
  const effect = effectOf({ machine });
  switch (effect) {
    case "now":
      return "The running VM has it.";
    case "next-start":
      return "The VM has it from its next start on.";
    case "full-stop":
      return untilFullStop(machine);
    default:
      return unreachable(effect);
  }
}

function untilFullStop(machine: Machine | undefined): string {
  if (machine?.is === "saved") {
    return "The saved state of the VM is without it: after the next start it takes a full stop and another start.";
  }
  const stop =
    "The running VM is without it until a full stop and start (virsh shutdown, virsh start); a reboot inside the guest is not enough.";
  return machine?.hasController === true ? `${stop} --update plugs it in at once.` : stop;
}
