// The command line of a guest's QEMU.
import { join } from "node:path";
import type { GuestImage } from "./image/guest-image.ts";

export const agentPort = "org.vmmessage.agent.0";
export const guestAgentPort = "org.qemu.guest_agent.0";
/** For port-echo, so that an agent's latency can be compared with the least possible one on the same machine. */
export const floorPort = "org.vmmessage.floor.0";

/** What a guest has, the same over power cuts and restores. */
export interface Hardware {
  memoryMb: number;
  uuid: string | undefined;
  hasVirtconsole: boolean;
  hasSerial: boolean;
  kernelArgs: string[];
  qemuArgs: string[];
  /** Until qemu-ga answers. */
  bootTimeoutMs: number;
}

/** Everything of a guest that lives on the host's disk, all in one private directory. */
export class GuestFiles {
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
  }

  get overlay(): string {
    return join(this.dir, "root.qcow2");
  }
  get consoleLog(): string {
    return join(this.dir, "console.log");
  }
  get qemuLog(): string {
    return join(this.dir, "qemu.log");
  }
  socket(name: SocketName): string {
    return join(this.dir, name);
  }
}

/** `qmp` is the harness's own monitor, `monitor` is a second one for tests. */
export type SocketName = "qmp" | "monitor" | "agent" | "qga" | "floor" | "hvc0" | "ttyS1";

/** Quiet and without the self-tests and mitigations that an emulated processor would spend seconds on. */
export const kernelArgs =
  "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on cryptomgr.notests";

export function qemuArgs(accelerator: string, image: GuestImage, hardware: Hardware, files: GuestFiles): string[] {
  return [
    ...["-machine", "q35", "-accel", accelerator, "-cpu", "max", "-smp", "1", "-m", `${hardware.memoryMb}`],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...(hardware.uuid === undefined ? [] : ["-uuid", hardware.uuid]),
    ...["-kernel", image.kernel, "-initrd", image.initrd, "-append", [kernelArgs, ...hardware.kernelArgs].join(" ")],
    ...["-qmp", `unix:${files.socket("qmp")},server=on,wait=off`],
    ...["-qmp", `unix:${files.socket("monitor")},server=on,wait=off`],
    ...["-chardev", `file,path=${files.consoleLog},append=on,id=console`, "-serial", "chardev:console"],
    ...disk("vda", `file=${files.overlay},format=qcow2,cache=writeback`),
    ...disk("vdb", `file=${image.bundleDisk},format=raw,readonly=on`),
    ...["-device", "virtio-serial-pci,id=ports"],
    ...port("agent", agentPort, files),
    ...port("qga", guestAgentPort, files),
    ...port("floor", floorPort, files),
    ...(hardware.hasVirtconsole ? [...chardev("hvc0", files), "-device", "virtconsole,chardev=hvc0,id=p_hvc0"] : []),
    ...(hardware.hasSerial ? [...chardev("ttyS1", files), "-serial", "chardev:ttyS1"] : []),
    ...hardware.qemuArgs,
  ];
}

function disk(name: string, drive: string): string[] {
  return ["-drive", `if=none,id=${name},${drive}`, "-device", `virtio-blk-pci,drive=${name}`];
}

function chardev(name: SocketName, files: GuestFiles): string[] {
  return ["-chardev", `socket,id=${name},path=${files.socket(name)},server=on,wait=off`];
}

/** Without an id QEMU announces no VSERPORT_CHANGE for a port. */
function port(name: SocketName, portName: string, files: GuestFiles): string[] {
  return [...chardev(name, files), "-device", `virtserialport,chardev=${name},name=${portName},id=p_${name}`];
}
