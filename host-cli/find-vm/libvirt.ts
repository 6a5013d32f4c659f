/** Asks libvirt for a VM: its state and the socket of its channel. */
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import { channelProblem, isOpenInGuest } from "../../shared/libvirt/channel-problem.ts";
import { domainStatus } from "../../shared/libvirt/domain-state.ts";
import { readNamedDomain } from "../../shared/libvirt/named-domain.ts";
import { virsh, VirshMissingError } from "../../shared/libvirt/virsh.ts";
import type { FoundVm } from "./find-vm.ts";

/** Throws CommandError when libvirt cannot be asked, or does not know the VM, or the VM has no channel of ours. */
export async function findInLibvirt(name: string, uri: string | undefined, signal: AbortSignal): Promise<FoundVm> {
  const details = { vm: name };
  const ask = (subcommand: string): Promise<string> =>
    virsh([subcommand, `--domain=${name}`], { uri, signal, details });
  const [state, xml] = await Promise.all([ask("domstate"), ask("dumpxml")]).catch((error: unknown) => {
    throw error instanceof VirshMissingError ? otherWays(name) : error;
  });
  const { channel } = readNamedDomain(xml, name);
  const status = domainStatus(state.trim());
  const found: FoundVm = {
    name,
    status,
    socketPath: channel?.socketPath,
    foundIn: uri === undefined ? "libvirt" : `libvirt at ${uri}`,
  };
  if (status !== "Running") return found;
  const problem = channelProblem(name, channel);
  if (problem !== undefined) throw new CommandError("failed", problem, details);
  return { ...found, isOpenInGuest: isOpenInGuest(channel) };
}

function otherWays(name: string): CommandError {
  return usageError(
    `cannot tell where '${name}' has its channel: name the socket with --socket PATH, or a directory of sockets ` +
      "with --socket-dir DIR (or VMMESSAGE_SOCKET_DIR), or install libvirt's virsh",
  );
}
