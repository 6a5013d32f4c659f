/** A VM's disk, as its hypervisor describes it. */
import { CommandError } from "../../shared/cli/failure.ts";
import type { Vm } from "../vms/vm.ts";

export interface Disk {
  /** `vda` */
  name: string;
  /** Of the file or block device, absolute. */
  path: string;
  /**
   * As the hypervisor uses it (`raw`, `qcow2`), never as it looks: a guest can write what looks like a qcow2 header with a
   * backing file into its raw disk, and would get that file into its image.
   */
  format: string;
}

/** What root says of a VM's disks; undefined when nothing. */
export function configuredDisks(
  disks: Readonly<Record<string, readonly Disk[]>>,
  { id, name }: Pick<Vm, "id" | "name">,
): readonly Disk[] | undefined {
  const known = new Map(Object.entries(disks).map(([vm, its]) => [vm.toLowerCase() === id ? id : vm, its]));
  return known.get(id) ?? known.get(name);
}

/** An off VM's disks stand still. One that crashed is off too: what its disk has is what it would boot from. */
export function isOff({ status }: Pick<Vm, "status">): boolean {
  return status === "Stopped" || status === "Crashed";
}

/** A VM that is not off; of one whose inventory is away, nothing is known. */
export function isOn({ status }: Pick<Vm, "status">): boolean {
  return !isOff({ status }) && status !== "Unknown";
}

/** The one that was asked for, or the first. */
export function chooseDisk(disks: readonly Disk[], wanted: string | undefined, vm: Pick<Vm, "name">): Disk {
  const disk = wanted === undefined ? disks[0] : disks.find(({ name }) => name === wanted);
  if (disk !== undefined) return disk;
  const names = disks.map(({ name }) => name).join(", ");
  const saw = names === "" ? "no disk in a file or on a block device" : `the disks ${names}`;
  throw new CommandError(
    "failed",
    `the VM '${vm.name}' has ${saw}${wanted === undefined ? "" : `, and no '${wanted}'`}`,
  );
}
