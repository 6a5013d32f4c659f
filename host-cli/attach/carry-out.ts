/** Makes the change, and looks at what libvirt made of it. */
import { CommandError } from "../../shared/cli/failure.ts";
import { attachDevice } from "./attach-device.ts";
import { type AttachableDomain, type Asking, readAttachableDomain } from "./attachable-domain.ts";
import { effectOf, type Plan } from "./plan.ts";

/**
 * Answers the domain as it is then. Throws CommandError; when only the plugging failed, its details say that the definition
 * was changed. @param asking makes the limits of each step
 */
export async function carryOut(domain: AttachableDomain, plan: Plan, asking: () => Asking): Promise<AttachableDomain> {
  const defined = plan.defines ? await attachTo("config", domain, asking) : domain;
  if (!plan.plugs) return defined;
  return attachTo("live", defined, asking).catch((error: unknown) => {
    throw error instanceof CommandError ? notPlugged(error, defined, plan) : error;
  });
}

/** Somebody else may have been faster: libvirt refuses a second channel of the name, and it is there all the same. */
async function attachTo(
  to: "config" | "live",
  domain: AttachableDomain,
  asking: () => Asking,
): Promise<AttachableDomain> {
  const look = (): Promise<AttachableDomain> => readAttachableDomain(domain.uuid, asking());
  try {
    await attachDevice(domain, to, asking());
  } catch (error) {
    const found = await look();
    const isThere = to === "config" ? found.definition.hasChannel : found.machine?.hasChannel === true;
    if (!isThere) throw error;
    return found;
  }
  return look();
}

function notPlugged(error: CommandError, domain: AttachableDomain, { defines }: Plan): CommandError {
  const { name: vm, uuid, isTransient } = domain;
  const rest = isTransient
    ? "the XML that creates it has to have the channel"
    : `its definition has the channel${defines ? " now" : ""}, which takes effect after a full stop and start`;
  const details = { vm, uuid, defined: defines, plugged: false, effect: effectOf(domain) };
  const message = `the channel was not plugged into the running VM '${vm}': ${error.message}; ${rest}`;
  return new CommandError(error.code, message, details, { cause: error });
}
