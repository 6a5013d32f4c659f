/** A real QEMU with a QMP socket and our channel, and no guest in it: a machine that finds nothing to boot. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { vi } from "vitest";

export interface QemuOptions {
  /** Where its sockets are made. */
  directory: string;
  /** Its QMP socket is `NAME.qmp`, its channel's socket `NAME.sock`. */
  name: string;
  uuid?: string;
  /** The name of its port, when it is to be another than ours. */
  port?: string;
  /** Further arguments. */
  args?: string[];
}

export class QemuUnderTest implements AsyncDisposable {
  readonly qmpPath: string;
  readonly channelPath: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  private constructor({ directory, name }: QemuOptions, child: ChildProcess) {
    this.qmpPath = join(directory, `${name}.qmp`);
    this.channelPath = join(directory, `${name}.sock`);
    this.#child = child;
    this.#ended = once(child, "exit");
  }

  /** Settles when its QMP socket is there. It ends with this process. */
  static async start(options: QemuOptions): Promise<QemuUnderTest> {
    const args = ["--pdeathsig", "KILL", "qemu-system-x86_64", ...machine(options)];
    const child = spawn("setpriv", args, { stdio: ["ignore", "ignore", "inherit"] });
    const qemu = new QemuUnderTest(options, child);
    await vi.waitUntil(() => existsSync(qemu.qmpPath), { timeout: 20_000, interval: 20 });
    return qemu;
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error("QEMU did not start");
    return this.#child.pid;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill(signal);
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

function machine({ directory, name, uuid, port = "org.vmmessage.agent.0", args = [] }: QemuOptions): string[] {
  const chardev = `socket,id=channel,path=${join(directory, `${name}.sock`)},server=on,wait=off`;
  return [
    ...["-name", name, "-machine", "pc", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none"],
    ...(uuid === undefined ? [] : ["-uuid", uuid]),
    ...["-qmp", `unix:${join(directory, `${name}.qmp`)},server=on,wait=off`],
    ...["-device", "virtio-serial-pci", "-chardev", chardev],
    ...["-device", `virtserialport,chardev=channel,name=${port},id=port`],
    ...args,
  ];
}
