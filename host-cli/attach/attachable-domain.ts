/** A libvirt domain as far as it matters to its channel: what defines it, and what runs. */
import { CHANNEL_NAME } from "../../shared/channel-name.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { channelXmlInline } from "../../shared/libvirt/channel-xml.ts";
import { readDomainInfo } from "../../shared/libvirt/domain-info.ts";
import { type Domain, hasVirtioSerialController } from "../../shared/libvirt/domain-xml.ts";
import { readNamedDomain } from "../../shared/libvirt/named-domain.ts";
import { virsh } from "../../shared/libvirt/virsh.ts";
import type { VmStatus } from "../../shared/vm-status.ts";

export interface AttachableDomain {
  name: string;
  uuid: string;
  status: VmStatus;
  /** libvirt keeps no definition: the one here is that of what runs. */
  isTransient: boolean;
  definition: { xml: string; hasChannel: boolean };
  machine: Machine | undefined;
}

/** A QEMU, or the saved memory of one with which the next start goes on. Its devices are those it was started with. */
export interface Machine {
  is: "running" | "saved";
  hasChannel: boolean;
  /** What a channel is plugged into. */
  hasController: boolean;
}

export interface Asking {
  /** Undefined is virsh's own default. */
  uri: string | undefined;
  signal: AbortSignal;
}

/** @param name or the UUID. Throws CommandError: what virsh() throws, and failed for a channel that cannot be ours */
export async function readAttachableDomain(name: string, asking: Asking): Promise<AttachableDomain> {
  const details = { vm: name };
  const ask = (...args: string[]): Promise<string> => virsh(args, { ...asking, details });
  const [facts, xml] = await Promise.all([
    ask("dominfo", `--domain=${name}`),
    ask("dumpxml", "--inactive", `--domain=${name}`),
  ]);
  const info = readDomainInfo(facts);
  const domain = readNamedDomain(xml, name);
  if (info === undefined || domain.uuid === undefined) {
    throw new CommandError("failed", `virsh dominfo '${name}' told nothing of it; does 'virsh list' work?`, details);
  }
  const { uuid } = domain;
  const machineXml = async (is: Machine["is"], subcommand: string): Promise<Machine> => {
    const printed = await ask(subcommand, `--domain=${uuid}`);
    return {
      is,
      hasChannel: hasChannel(readNamedDomain(printed, uuid)),
      hasController: hasVirtioSerialController(printed),
    };
  };
  return {
    name: domain.name,
    uuid,
    status: info.status,
    isTransient: info.isTransient,
    definition: { xml, hasChannel: hasChannel(domain) },
    machine: info.isActive
      ? await machineXml("running", "dumpxml")
      : info.hasSavedState
        ? await machineXml("saved", "managedsave-dumpxml")
        : undefined,
  };
}

function hasChannel({ name, channel }: Domain): boolean {
  if (channel === undefined || channel.type === "unix") return channel !== undefined;
  const saw = `the channel ${CHANNEL_NAME} of '${name}' has the type '${channel.type}'`;
  throw new CommandError("failed", `${saw}; make it ${channelXmlInline} with virsh edit`, { vm: name });
}
