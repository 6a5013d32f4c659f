/** The harness's guest as a domain of a libvirt under test. */
import { chown, copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LibvirtUnderTest } from "../../integration/support/libvirt.ts";
import type { GuestImage } from "../harness/image/guest-image.ts";
import { kernelArgs } from "../harness/qemu-args.ts";

const nobody = 65_534;

/** libvirt's user gets files of its own: it may not read everybody's. `channels` is XML. */
export async function defineGuest(
  libvirt: LibvirtUnderTest,
  image: GuestImage,
  { name, uuid, channels }: { name: string; uuid: string; channels: string },
): Promise<void> {
  const own = async (part: keyof GuestImage): Promise<string> => {
    const path = join(libvirt.directory, part);
    await copyFile(image[part], path);
    if (process.getuid?.() === 0) await chown(path, nobody, nobody);
    return path;
  };
  const disk = (path: string, device: string, more = ""): string =>
    `<disk type='file'><driver name='qemu' type='raw'/><source file='${path}'/><target dev='${device}' bus='virtio'/>${more}</disk>`;
  const xml = `<domain type='qemu'><name>${name}</name><uuid>${uuid}</uuid><memory unit='MiB'>256</memory>
    <os><type arch='x86_64' machine='q35'>hvm</type><kernel>${await own("kernel")}</kernel>
    <initrd>${await own("initrd")}</initrd><cmdline>${kernelArgs}</cmdline></os>
    <features><acpi/></features><cpu mode='maximum'/><on_reboot>restart</on_reboot><devices>
    ${disk(await own("rootDisk"), "vda")}${disk(await own("bundleDisk"), "vdb", "<readonly/>")}${channels}
    <serial type='file'><source path='${join(libvirt.directory, "console")}'/></serial><memballoon model='none'/>
    </devices></domain>`;
  const file = join(libvirt.directory, "guest.xml");
  await writeFile(file, xml);
  await libvirt.virsh("define", `--file=${file}`);
}
