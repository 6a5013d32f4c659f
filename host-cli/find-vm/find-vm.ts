/** Finds a VM's channel: the socket that was named, a directory of sockets, or libvirt. */
import { statSync } from "node:fs";
import { basename, join } from "node:path";
import { CommandError, systemCode, usageError } from "../../shared/cli/failure.ts";
import type { Target } from "../command.ts";
import { SilentGuestError } from "../guest.ts";
import { CHANNEL_NAME } from "../../shared/channel-name.ts";

/** A VM as it was found; not necessarily one that answers. */
export interface FoundVm {
  name: string;
  /** In the transcript's words: `Running`, or why it cannot answer. */
  status: "Running" | "Stopped" | "Paused" | "Crashed" | "Suspended" | "Unknown";
  /** The Unix socket of its channel; a VM that is not running may have none. */
  socketPath: string | undefined;
  /** For messages: where it was looked up. */
  foundIn: string;
  /** What the hypervisor says about the guest's end of the channel, where it can tell. */
  isOpenInGuest?: boolean | undefined;
}

/** Throws CommandError when there is no such VM or none with a channel of ours. */
export async function findVm(
  { vm, socket, socketDirectory, libvirtUri }: Target,
  signal: AbortSignal,
): Promise<FoundVm> {
  if (socket !== undefined) {
    const name = vm ?? basename(socket, ".sock");
    return { name, status: "Running", socketPath: socket, foundIn: "--socket" };
  }
  if (vm === undefined) throw usageError("which VM? name it with -v VM");
  if (socketDirectory !== undefined) return findInDirectory(vm, socketDirectory);
  const { findInLibvirt } = await import("./libvirt.ts");
  return findInLibvirt(vm, libvirtUri, signal);
}

function findInDirectory(name: string, directory: string): FoundVm {
  if (name.includes("/") || name.includes("\0") || name === "." || name === "..") {
    throw usageError(`'${name}' cannot be the name of a VM in a directory of sockets`);
  }
  const candidates = [`${name}.sock`, name, join(name, CHANNEL_NAME)];
  for (const candidate of candidates) {
    const socketPath = join(directory, candidate);
    if (isSocket(socketPath)) return { name, status: "Running", socketPath, foundIn: directory };
  }
  throw new SilentGuestError(
    `there is no socket for '${name}' in ${directory} (looked for ${candidates.join(", ")}); is the VM running?`,
    { vm: name, directory },
  );
}

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch (error) {
    if (systemCode(error) === "EACCES") {
      throw new CommandError("not-permitted", `not permitted to look at ${path}; run vmmessage as root`, { path });
    }
    return false;
  }
}
