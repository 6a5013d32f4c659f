/** What there is to do for a domain, and when it takes effect. */
import { CommandError } from "../../shared/cli/failure.ts";
import type { AttachableDomain } from "./attachable-domain.ts";
import { withChannel } from "./definition-change.ts";

export interface Plan {
  /** The definition gets the channel. */
  defines: boolean;
  /** The running VM gets it. */
  plugs: boolean;
}

/** From when on the VM has its channel: it has it, gets it when it is started, or has to be stopped before that. */
export type Effect = "now" | "next-start" | "full-stop";

/** Throws CommandError (failed) when it cannot be done as it was asked; then no part of it is to be done. */
export function planFor(domain: AttachableDomain, { updates }: { updates: boolean }): Plan {
  const { isTransient, definition, machine } = domain;
  const runsWithout = machine?.is === "running" && !machine.hasChannel;
  if (runsWithout && updates && !machine.hasController) {
    // libvirt 9.0: "'virtio-serial' controller cannot be hot plugged".
    const saw = "runs without a virtio-serial controller, and libvirt plugs none into a running VM";
    const remedy = isTransient
      ? "add the channel to the XML that creates it"
      : "leave --update out, and stop and start it";
    throw cannot(domain, `${saw}; ${remedy}`);
  }
  if (runsWithout && !updates && isTransient) {
    const remedy = "plug the channel into the running VM with --update, and add it to the XML that creates the VM";
    throw cannot(domain, `is transient: libvirt keeps no definition of it; ${remedy} (vmmessage attach --print-xml)`);
  }
  return { defines: !isTransient && !definition.hasChannel, plugs: updates && runsWithout };
}

function cannot({ name, uuid }: AttachableDomain, why: string): CommandError {
  return new CommandError("failed", `'${name}' ${why}; nothing was changed`, { vm: name, uuid });
}

/** The domain as the plan would leave it, but for the addresses that libvirt finds. */
export function afterPlan(domain: AttachableDomain, { defines, plugs }: Plan): AttachableDomain {
  const { isTransient, definition, machine } = domain;
  const isChanged = defines || (isTransient && plugs);
  return {
    ...domain,
    definition: isChanged ? { xml: withChannel(definition.xml), hasChannel: true } : definition,
    machine: plugs ? { is: "running", hasChannel: true, hasController: true } : machine,
  };
}

/** Of a domain whose definition has the channel. */
export function effectOf({ machine }: Pick<AttachableDomain, "machine">): Effect {
  if (machine === undefined) return "next-start";
  if (!machine.hasChannel) return "full-stop";
  return machine.is === "running" ? "now" : "next-start";
}
