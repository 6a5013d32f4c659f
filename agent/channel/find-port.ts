/** Where a virtio port is, by its name: udev's link, or what the kernel says of its ports where udev made none. */
import { readdir, readFile, realpath } from "node:fs/promises";
import { join } from "node:path";

const UDEV_LINKS = "/dev/virtio-ports";
const KERNEL_PORTS = "/sys/class/virtio-ports";

export interface PortLocation {
  /** The device, `/dev/vport1p1`. */
  path: string;
  hasUdevLink: boolean;
}

/** Undefined when the machine has no port of that name. */
export async function findPort(name: string): Promise<PortLocation | undefined> {
  try {
    return { path: await realpath(join(UDEV_LINKS, name)), hasUdevLink: true };
  } catch {
    const device = (await listPorts()).find((port) => port.name === name);
    return device && { path: join("/dev", device.device), hasUdevLink: false };
  }
}

/** All named ports of the machine, for who looks for a misspelt one. */
export async function listPorts(): Promise<{ device: string; name: string }[]> {
  const devices = await readdir(KERNEL_PORTS).catch(() => []);
  return Promise.all(
    devices.map(async (device) => {
      const name = await readFile(join(KERNEL_PORTS, device, "name"), "utf8").catch(() => "");
      return { device, name: name.trim() };
    }),
  );
}
