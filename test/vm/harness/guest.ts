// A virtual machine for tests: boot it, run programs in it, cut its power, save it and restore it.
import { randomUUID } from "node:crypto";
import type { Log } from "../../../scripts/guest-tools.ts";
import { chooseAccelerator } from "./accelerator.ts";
import { runCommand } from "./command.ts";
import { type GuestImage, guestImage } from "./image/guest-image.ts";
import { type Power, turnOff, turnOn, type TurnOnOptions, untilReady } from "./power.ts";
import { agentPort, GuestFiles, type Hardware, qemuArgs } from "./qemu-args.ts";
import type { ExecOptions, ExecResult, QgaClient } from "./qga.ts";
import type { QmpClient } from "./qmp.ts";
import { Snapshot } from "./snapshot.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "./temporary-directory.ts";
import { withTimeout } from "./wait-for.ts";

export interface GuestOptions {
  /** 256 is enough for a few Node programs; what a guest has touched decides how long a snapshot takes. */
  memoryMb?: number;
  /** The DMI UUID; a random one if left out, "none" for a machine without. */
  uuid?: string;
  /** Arguments of `agent run`, to have the agent started at every boot. */
  agent?: string[];
  /** Adds /dev/hvc0, see `hvc0Path`. */
  hasVirtconsole?: boolean;
  /** Adds /dev/ttyS1, see `ttyS1Path`. */
  hasSerial?: boolean;
  kernelArgs?: string[];
  qemuArgs?: string[];
  /** A directory with an agent.js to use instead of the project's own. */
  bundleDir?: string;
  /** What to start, instead of a guest with little more than Node and busybox, whose agent is started by hand. */
  image?: GuestImage;
  /** Until qemu-ga answers. */
  bootTimeoutMs?: number;
  /** False: the guest is there as soon as QEMU runs, and `ready` waits for its boot, which is not repeated when it fails. */
  waitsForBoot?: boolean;
  /** Hears of setup steps and of boots that had to be repeated. */
  log?: Log;
}

const defaultBootTimeoutMs = 90_000;
const restoreTimeoutMs = 30_000;
const shutdownTimeoutMs = 60_000;
/** Emulated machines now and then turn themselves off early in the boot, for no known reason. */
const bootAttempts = 2;

/** Boots a guest with a fresh root disk; ready means that qemu-ga answers. See also debian/guest.ts. */
export async function startGuest(options: GuestOptions = {}): Promise<Guest> {
  const log = options.log ?? console.error;
  const image = options.image ?? (await guestImage(log, options.bundleDir));
  const files = new GuestFiles(await createTemporaryDirectory());
  await createOverlay(files.overlay, image.rootDisk, "raw");
  const guest = new Guest(image, hardwareOf(options), files, log);
  return openOrRemove(guest, () => (options.waitsForBoot === false ? guest.startBoot() : guest.boot()));
}

/** Goes on where `saveSnapshot` left off, as often as wanted and in about a second; the snapshot stays as it is. */
export async function restoreSnapshot(snapshot: Snapshot): Promise<Guest> {
  const files = new GuestFiles(await createTemporaryDirectory());
  await createOverlay(files.overlay, snapshot.disk, "qcow2");
  const guest = new Guest(snapshot.image, snapshot.hardware, files, snapshot.log);
  return openOrRemove(guest, () => guest.resumeFrom(snapshot));
}

async function openOrRemove(guest: Guest, open: () => Promise<void>): Promise<Guest> {
  try {
    await open();
    return guest;
  } catch (error) {
    await guest.stop();
    throw error;
  }
}

async function createOverlay(overlay: string, backing: string, format: "raw" | "qcow2"): Promise<void> {
  await runCommand("qemu-img", ["create", "-q", "-f", "qcow2", "-F", format, "-b", backing, overlay]);
}

function hardwareOf(options: GuestOptions): Hardware {
  const agentSwitch = options.agent === undefined ? [] : [`vmm_agent="${options.agent.join(" ")}"`];
  return {
    memoryMb: options.memoryMb ?? 256,
    uuid: options.uuid === "none" ? undefined : (options.uuid ?? randomUUID()),
    hasVirtconsole: options.hasVirtconsole ?? false,
    hasSerial: options.hasSerial ?? false,
    kernelArgs: [...agentSwitch, ...(options.kernelArgs ?? [])],
    qemuArgs: options.qemuArgs ?? [],
    bootTimeoutMs: options.bootTimeoutMs ?? defaultBootTimeoutMs,
  };
}

export class Guest implements AsyncDisposable {
  readonly uuid: string | undefined;
  readonly #image: GuestImage;
  readonly #hardware: Hardware;
  readonly #files: GuestFiles;
  readonly #log: Log;
  #power: Power | undefined;

  constructor(image: GuestImage, hardware: Hardware, files: GuestFiles, log: Log) {
    this.uuid = hardware.uuid;
    this.#image = image;
    this.#hardware = hardware;
    this.#files = files;
    this.#log = log;
  }

  /** The host's end of org.vmmessage.agent.0: a socket that serves one client at a time. */
  get channelPath(): string {
    return this.#files.socket("agent");
  }
  /** The host's end of org.vmmessage.floor.0, for port-echo. */
  get floorPath(): string {
    return this.#files.socket("floor");
  }
  get hvc0Path(): string {
    return this.#files.socket("hvc0");
  }
  get ttyS1Path(): string {
    return this.#files.socket("ttyS1");
  }
  /** A monitor that the harness itself does not use. */
  get monitorPath(): string {
    return this.#files.socket("monitor");
  }
  /** Private to this guest, removed by `stop`. */
  get dir(): string {
    return this.#files.dir;
  }
  /** QEMU's process id on this machine. */
  get pid(): number {
    return this.#on.qemu.pid;
  }
  get qmp(): QmpClient {
    return this.#on.qmp;
  }
  get qga(): QgaClient {
    return this.#on.qga;
  }
  get isOn(): boolean {
    return this.#power !== undefined;
  }

  /** Turns the guest on, also again after `kill` and `powerOff`: the disk is as it was left. */
  async boot(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#turnOn([], { timeoutMs: this.#hardware.bootTimeoutMs });
        return;
      } catch (error) {
        if (attempt === bootAttempts) throw error;
        this.#log(`guest: boot ${attempt} of ${bootAttempts} failed, trying again: ${String(error)}`);
      }
    }
  }

  /** Turns the guest on and does not wait for it. */
  async startBoot(): Promise<void> {
    await this.#turnOn([], { timeoutMs: this.#hardware.bootTimeoutMs, waitsForBoot: false });
  }

  /** Waits until qemu-ga answers, after `startBoot`. */
  async ready(): Promise<void> {
    await untilReady(this.#on, this.#files, this.#hardware.bootTimeoutMs);
  }

  /** Used by `restoreSnapshot`. */
  async resumeFrom(snapshot: Snapshot): Promise<void> {
    await this.#turnOn(["-incoming", `exec:cat '${snapshot.memory}'`], { timeoutMs: restoreTimeoutMs });
  }

  /** Ends the guest and keeps its state: memory, devices and disk as they are now. */
  async saveSnapshot(): Promise<Snapshot> {
    const snapshot = await Snapshot.create(this.#image, this.#hardware, this.#log);
    await this.qmp.execute("stop");
    await snapshot.takeMemory(this.qmp);
    await this.kill();
    await snapshot.takeDisk(this.#files.overlay);
    await this.stop();
    return snapshot;
  }

  /** Runs a program to its end. `argv[0]` is looked up in the guest's PATH. */
  async exec(argv: string[], options: ExecOptions = {}): Promise<ExecResult> {
    const pid = await this.qga.spawn(argv, options.input);
    return this.qga.waitForExit(pid, options.timeoutMs, options.pollMs);
  }

  /** Runs a shell script, throws if it fails, and returns what it printed, without the last newline. */
  async shell(script: string, options: ExecOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.exec(["sh", "-c", script], options);
    if (exitCode !== 0) throw new Error(`exit code ${exitCode} in the guest from: ${script}\n${stderr}`);
    return stdout.replace(/\n$/, "");
  }

  readFile(path: string): Promise<Buffer> {
    return this.qga.readFile(path);
  }

  async readText(path: string): Promise<string> {
    return (await this.readFile(path)).toString();
  }

  writeFile(path: string, content: string | Buffer): Promise<void> {
    return this.qga.writeFile(path, content);
  }

  /** The device of the port with this name, e.g. /dev/vport1p2, or undefined. */
  async findPort(name: string): Promise<string | undefined> {
    const script = `cd /sys/class/virtio-ports; for p in *; do [ "$(cat $p/name 2>&-)" = ${name} ] && echo /dev/$p; done; :`;
    return (await this.shell(script)) || undefined;
  }

  /** Starts the agent under its supervisor, which starts it again when it exits. */
  async startAgent(args: string[] = []): Promise<void> {
    await this.shell(["agent-service start", ...args].join(" "));
  }

  /** SIGTERM to the agent, and no restart; returns when it is gone. */
  async stopAgent(): Promise<void> {
    await this.shell("agent-service stop");
  }

  /** The running agent's process id, or undefined. */
  async agentPid(): Promise<number | undefined> {
    return Number(await this.shell("cat /run/agent.pid 2>&- || :")) || undefined;
  }

  /** All that the agent has written since the boot. */
  agentLog(): Promise<string> {
    return this.readText("/run/agent.log");
  }

  /** Pulls the agent's port out of the running machine. */
  async unplugAgentPort(): Promise<void> {
    const deleted = this.qmp.waitForEvent("DEVICE_DELETED", ({ device }) => device === "p_agent");
    await Promise.all([deleted, this.qmp.execute("device_del", { id: "p_agent" })]);
  }

  /** Puts it back: the same name and host socket, maybe another device in the guest. */
  async plugAgentPort(): Promise<void> {
    await this.qmp.execute("device_add", {
      driver: "virtserialport",
      chardev: "agent",
      name: agentPort,
      id: "p_agent",
    });
  }

  /** The reset button: nothing in the guest is asked. Ready again on return. */
  async reset(): Promise<void> {
    await this.#untilBootedAgain(() => this.qmp.execute("system_reset"));
  }

  /** An orderly restart from inside: processes get SIGTERM. Ready again on return. */
  async reboot(): Promise<void> {
    await this.#untilBootedAgain(() => this.qga.spawn(["reboot"]));
  }

  /** An orderly shutdown from inside; `boot` turns the guest on again. */
  async powerOff(): Promise<void> {
    const { exited } = this.#on.qemu;
    await this.qga.spawn(["poweroff"]).catch(() => undefined); // the answer may get lost
    await withTimeout("the guest's power off", exited, shutdownTimeoutMs);
    await this.kill();
  }

  /** The power cut: SIGKILL to QEMU. `boot` turns the guest on again, with what had reached its disk. */
  async kill(): Promise<void> {
    const power = this.#power;
    this.#power = undefined;
    if (power !== undefined) await turnOff(power);
  }

  /** Boots another machine, with its own DMI UUID, from a copy of this one's disk. This one must be off, and stay off. */
  async clone(uuid: string): Promise<Guest> {
    const files = new GuestFiles(await createTemporaryDirectory());
    await createOverlay(files.overlay, this.#files.overlay, "qcow2");
    const clone = new Guest(this.#image, { ...this.#hardware, uuid }, files, this.#log);
    return openOrRemove(clone, () => clone.boot());
  }

  /** Ends the guest and removes all that is left of it; may be called twice. */
  async stop(): Promise<void> {
    await this.kill();
    await removeTemporaryDirectory(this.#files.dir);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #on(): Power {
    if (this.#power === undefined) throw new Error("the guest is off");
    return this.#power;
  }

  async #turnOn(extraArgs: string[], options: TurnOnOptions): Promise<void> {
    if (this.#power !== undefined) throw new Error("the guest is already on");
    const accelerator = await chooseAccelerator(this.#image);
    const args = [...qemuArgs(accelerator, this.#image, this.#hardware, this.#files), ...extraArgs];
    this.#power = await turnOn(args, this.#files, options);
  }

  async #untilBootedAgain(trigger: () => Promise<unknown>): Promise<void> {
    const reset = this.qmp.waitForEvent("RESET", undefined, shutdownTimeoutMs);
    trigger().catch(() => undefined); // the answer may get lost in the reset
    await reset;
    await this.ready();
  }
}
