/** What is on the disks of guests whose power was cut: a guest that mounts them all, as its kernel does after a cut. */
import { type Guest, startGuest } from "../harness/guest.ts";
import { GuestFiles } from "../harness/qemu-args.ts";
import { runCommand } from "../harness/command.ts";

/** The first of the PCI slots that the machine's other devices leave free; each takes eight disks as its functions. */
const firstFreeSlot = 0x10;
const functionsOfSlot = 8;

export interface CachedEntry {
  key: string;
  value?: string;
  revision: number;
}

/** The entries of each guest's cache.json, in the guests' order. The disks stay as they are. */
export async function readCaches(guests: readonly Guest[]): Promise<CachedEntry[][]> {
  const disks = await Promise.all(guests.map(({ dir }) => overlayOn(new GuestFiles(dir).overlay)));
  await using reader = await startGuest({ qemuArgs: disks.flatMap(diskArgs) });
  const caches: CachedEntry[][] = [];
  for (const index of disks.keys()) caches.push(await readCache(reader, serialOf(index)));
  return caches;
}

/** Mounting replays the journal, which writes. */
async function overlayOn(disk: string): Promise<string> {
  const overlay = `${disk}.replay`;
  await runCommand("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", disk, overlay]);
  return overlay;
}

function serialOf(index: number): string {
  return `cut${index}`;
}

function diskArgs(file: string, index: number): string[] {
  const serial = serialOf(index);
  const slot = firstFreeSlot + Math.floor(index / functionsOfSlot);
  const address = `addr=${slot.toString(16)}.${index % functionsOfSlot},multifunction=on`;
  const drive = `if=none,id=${serial},file=${file},format=qcow2`;
  return ["-drive", drive, "-device", `virtio-blk-pci,drive=${serial},serial=${serial},${address}`];
}

async function readCache(reader: Guest, serial: string): Promise<CachedEntry[]> {
  const text = await reader.shell(`
    for device in /sys/block/vd*; do
      [ "$(cat $device/serial)" = ${serial} ] || continue
      mkdir -p /tmp/${serial}
      mount -t ext4 /dev/\${device##*/} /tmp/${serial} || exit 1
      cat /tmp/${serial}/var/lib/vmmessage/cache.json 2>&- || echo '{ "entries": [] }'
      umount /tmp/${serial}
    done`);
  return (JSON.parse(text) as { entries: CachedEntry[] }).entries;
}
