/**
 * The disks of a libvirt domain, from its XML (https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms). Of
 * other VMs only QEMU itself could tell: one that a guest has taken over would name any file of the host.
 */
import { XMLParser } from "fast-xml-parser";
import * as z from "zod/mini";
import { CommandError } from "../../shared/cli/failure.ts";
import { virsh } from "../../shared/libvirt/virsh.ts";
import type { Vm } from "../vms/vm.ts";
import type { Disk } from "./disk.ts";

/** How inventory/libvirt.ts calls itself, before the connection's URI. */
const INVENTORY = "libvirt ";

/** libvirt answers in milliseconds, later while it starts many VMs. */
const VIRSH_TIMEOUT_MS = 10_000;

/** An element without attributes and children is read as an empty string, and says as much as none. */
const perhaps = <T extends z.ZodMiniType>(element: T) => z.catch(z.optional(element), undefined);

const attribute = z.optional(z.string());
const domain = z.object({
  domain: z.object({ devices: perhaps(z.object({ disk: z.optional(z.array(z.unknown())) })) }),
});
const element = z.object({
  "@type": z.string(),
  "@device": attribute,
  driver: perhaps(z.object({ "@type": attribute })),
  source: perhaps(z.object({ "@file": attribute, "@dev": attribute, encryption: z.optional(z.unknown()) })),
  target: z.object({ "@dev": z.string() }),
  encryption: z.optional(z.unknown()),
});

/** A name of a QEMU block driver. */
const FORMAT = /^[a-z][a-z0-9-]{0,31}$/;

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  parseTagValue: false,
  parseAttributeValue: false,
  isArray: (_name, path) => path === "domain.devices.disk",
});

/**
 * Of a domain that is defined, on or off. Rejects with CommandError when libvirt cannot tell, when it is of another
 * machine, or when the domain has moved to one: its disk is in use there.
 */
export async function libvirtDisks(vm: Pick<Vm, "id" | "name">, inventory: string): Promise<Disk[]> {
  const uri = localUri(inventory, vm);
  const options = { uri, signal: AbortSignal.timeout(VIRSH_TIMEOUT_MS) };
  const state = (await virsh(["domstate", "--reason", vm.id], options)).trim();
  if (state === "shut off (migrated)") {
    throw new CommandError("failed", `the VM '${vm.name}' has moved to another host; save its image there`);
  }
  return readDisks(await virsh(["dumpxml", vm.id], options));
}

/** The disks in files and on block devices that QEMU itself can read without a secret, in the order of the XML. */
export function readDisks(xml: string): Disk[] {
  const parsed = domain.safeParse(parser.parse(xml));
  return (parsed.data?.domain.devices?.disk ?? []).flatMap((disk) => readDisk(disk) ?? []);
}

function readDisk(disk: unknown): Disk | undefined {
  const parsed = element.safeParse(disk);
  if (!parsed.success) return undefined;
  const { "@type": type, "@device": device = "disk", driver, source, target, encryption } = parsed.data;
  const path = type === "file" ? source?.["@file"] : type === "block" ? source?.["@dev"] : undefined;
  // What libvirt itself takes a disk for that has no driver.
  const format = driver?.["@type"] ?? "raw";
  const isEncrypted = encryption !== undefined || source?.encryption !== undefined || format === "luks";
  if (device !== "disk" || path?.startsWith("/") !== true || isEncrypted || !FORMAT.test(format)) return undefined;
  return { name: target["@dev"], path, format };
}

function localUri(inventory: string, { name }: Pick<Vm, "name">): string {
  if (inventory === "none") {
    throw new CommandError(
      "failed",
      `the VM '${name}' is in no inventory any more, so nothing says where its disks are`,
    );
  }
  if (!inventory.startsWith(INVENTORY)) {
    const reason = "which is not trusted with where its disks are; name them in images.disks of the configuration";
    throw new CommandError("failed", `the VM '${name}' is known from ${inventory}, ${reason}`);
  }
  const uri = inventory.slice(INVENTORY.length);
  if (URL.parse(uri)?.hostname === "") return uri;
  throw new CommandError(
    "failed",
    `the disks of '${name}' are on another machine (${inventory}); save its image there`,
  );
}
