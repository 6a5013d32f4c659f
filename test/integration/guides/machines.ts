/** The machine of web1, with nothing to boot in it: a QEMU that is the lab's own, or one of a real libvirt's. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { vi } from "vitest";
import { CHANNEL_XML, LibvirtUnderTest } from "../support/libvirt.ts";
import { QemuUnderTest } from "../support/qemu.ts";

const NAME = "web1";
const UUID = "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11";

/** A socket is made, a process begins. */
const SOON = { timeout: 20_000, interval: 20 };

export interface Machine extends AsyncDisposable {
  /** As the manager's configuration has it. */
  readonly inventory: object;
  /** Settles when it runs and its channel leads to `agentSocket`. */
  start(agentSocket: string): Promise<void>;
  /** Ends it as somebody wished. */
  destroy(): Promise<void>;
}

/** The manager sees it through QMP. Its process id is in `/run/qemu/web1.pid`. */
export class QemuMachine implements Machine {
  readonly #path: (documented: string) => string;
  #qemu: QemuUnderTest | undefined;

  /** @param path where a documented file is */
  constructor(path: (documented: string) => string) {
    this.#path = path;
  }

  get inventory(): object {
    return { qmp: [this.#path("/run/qmp")] };
  }

  /** Its QMP socket comes last: by then all that the manager reads of it is so. */
  async start(agentSocket: string): Promise<void> {
    const directory = await mkdtemp(this.#path("/vm-"));
    this.#qemu = await QemuUnderTest.start({ directory, name: NAME, uuid: UUID });
    await leadTo(agentSocket, this.#qemu.channelPath);
    await mkdir(this.#path("/run/qemu"), { recursive: true });
    await writeFile(this.#path(`/run/qemu/${NAME}.pid`), `${this.#qemu.pid}\n`);
    await rename(this.#qemu.qmpPath, this.#path(`/run/qmp/${NAME}.qmp`));
  }

  async destroy(): Promise<void> {
    await this.#qemu?.kill("SIGTERM");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#qemu?.kill();
  }
}

/** The manager sees it through libvirt. */
export class LibvirtMachine implements Machine {
  readonly #libvirt: LibvirtUnderTest;
  readonly #resets: ChildProcess;

  private constructor(libvirt: LibvirtUnderTest, resets: ChildProcess) {
    this.#libvirt = libvirt;
    this.#resets = resets;
  }

  /** @param onReset called some times for one reset */
  static async define(onReset: () => void): Promise<LibvirtMachine> {
    const libvirt = await LibvirtUnderTest.start();
    await libvirt.define(NAME, { devices: CHANNEL_XML, more: `<uuid>${UUID}</uuid>` });
    const words = ["--pdeathsig=KILL", "virsh", `--connect=${libvirt.uri}`, "event", "--event=reboot", "--loop"];
    const resets = spawn("setpriv", words, { stdio: ["ignore", "pipe", "ignore"] });
    resets.stdout.on("data", onReset);
    return new LibvirtMachine(libvirt, resets);
  }

  /** libvirt's connection URI. */
  get uri(): string {
    return this.#libvirt.uri;
  }

  get inventory(): object {
    return { libvirt: [this.uri] };
  }

  async start(agentSocket: string): Promise<void> {
    await this.#libvirt.virsh("start", NAME);
    const xml = await this.#libvirt.virsh("dumpxml", NAME);
    const [, channelPath = ""] = /<source mode='bind' path='([^']+)'\/>/.exec(xml) ?? [];
    await leadTo(agentSocket, channelPath);
  }

  async destroy(): Promise<void> {
    await this.#libvirt.virsh("destroy", NAME);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#resets, "exit");
    if (this.#resets.kill("SIGKILL")) await ended;
    await this.#libvirt[Symbol.asyncDispose]();
  }
}

/** Puts the agent behind a machine's channel. */
async function leadTo(agentSocket: string, channelPath: string): Promise<void> {
  await vi.waitUntil(() => existsSync(channelPath), SOON);
  await rm(channelPath);
  await symlink(agentSocket, channelPath);
}
