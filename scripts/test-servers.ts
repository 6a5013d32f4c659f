/** Makes sure that this machine has the real servers and clients that the integration tests run. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { command, ensureInstalled, isAccessible, type Log, type Requirement } from "./system-packages.ts";

const requirements: Requirement[] = [
  command("virsh", "libvirt-clients"),
  command("libvirtd", "libvirt-daemon"),
  { name: "libvirt's driver for QEMU", debianPackage: "libvirt-daemon-driver-qemu", isPresent: hasQemuDriver },
  command("ssh", "openssh-client"),
  command("curl", "curl"),
  command("openssl", "openssl"),
];

/** Installs what is missing (as root, with apt-get; otherwise the error names it). */
export async function ensureTestServers(log: Log): Promise<void> {
  await ensureInstalled("the integration tests", requirements, log);
}

/** In a folder that is named after the machine's architecture. */
async function hasQemuDriver(): Promise<boolean> {
  for (const folder of await readdir("/usr/lib")) {
    if (await isAccessible(join("/usr/lib", folder, "libvirt/connection-driver/libvirt_driver_qemu.so"))) return true;
  }
  return false;
}
