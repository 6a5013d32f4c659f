/**
 * Has libvirt add the channel (`virsh attach-device`). libvirt makes the change in what it holds itself, under the domain's
 * lock: what somebody else changes at the same moment stays, and so do the secrets that no dumpxml prints, which a definition
 * that is read, edited and defined again would lose. It adds the controller too, and finds the addresses.
 */
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { channelXmlLines } from "../../shared/libvirt/channel-xml.ts";
import { virsh } from "../../shared/libvirt/virsh.ts";
import type { AttachableDomain, Asking } from "./attachable-domain.ts";

/** `config` is the definition, `live` the running VM. Throws CommandError. */
export async function attachDevice(
  { name, uuid }: AttachableDomain,
  to: "config" | "live",
  asking: Asking,
): Promise<void> {
  await using directory = await mkdtempDisposable(join(tmpdir(), "vmmessage-"));
  const file = join(directory.path, "channel.xml");
  await writeFile(file, `${channelXmlLines.join("\n")}\n`);
  await virsh(["attach-device", `--${to}`, `--domain=${uuid}`, `--file=${file}`], { ...asking, details: { vm: name } });
}
