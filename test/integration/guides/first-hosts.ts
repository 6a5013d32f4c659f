/**
 * The hosts of the guides for newcomers, each with the VM web1: one with libvirt, one with Proxmox VE, one with QEMU alone.
 * libvirt and the QEMUs are real, and have nothing to boot.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { vi } from "vitest";
import { CHANNEL_XML, LibvirtUnderTest } from "../support/libvirt.ts";
import { QmpClient } from "../../vm/harness/qmp.ts";

export const UUID = "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11";
const NAME = "web1";

/** A process begins or ends, a socket is made. */
const SOON = { timeout: 20_000, interval: 20 };

/** Less than the guides say, and it takes no time to make. */
const DISK_MIB = "64M";

/** web1's channel, as the guest that is not in it would have it. */
export interface Channel {
  /** Of its socket. */
  path: string;
  /** Ends QEMU's listening there and its connections. */
  release: () => Promise<void>;
}

/** Who is in web1. */
export interface Guest {
  /** @param channel none where the VM was not given one */
  started: (channel: Channel | undefined) => Promise<void>;
  stopping: () => Promise<void>;
}

/** What the lab lends a host. */
export interface Surroundings {
  guest: Guest;
  /** Where a documented file is. */
  path: (documented: string) => string;
  /** What a line of shell prints. */
  shell: (line: string) => Promise<string>;
}

export interface FirstHost extends AsyncDisposable {
  /** Programs at its prompt beside the machine's own: lines of shell. */
  readonly programs: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string>>;
  /** What the manager asks for VMs unless it is configured. */
  readonly inventory: object;
  /** Documented texts, and what they are here. */
  readonly replacements: readonly (readonly [documented: string, own: string])[];
  /** Settles with what a command prints that starts or stops web1; undefined for any other. */
  type: (command: string) => Promise<string> | undefined;
}

/** A real libvirt. A guest that is not there hears no wish to shut down: its QEMU is ended. */
export class LibvirtHost implements FirstHost {
  readonly programs = {};
  readonly #libvirt: LibvirtUnderTest;
  readonly #guest: Guest;

  private constructor(libvirt: LibvirtUnderTest, guest: Guest) {
    this.#libvirt = libvirt;
    this.#guest = guest;
  }

  /** web1 runs, and has no channel. */
  static async open({ guest }: Surroundings): Promise<LibvirtHost> {
    const host = new LibvirtHost(await LibvirtUnderTest.start(), guest);
    await host.#define("");
    await host.#libvirt.virsh("start", NAME);
    return host;
  }

  /** web1 runs, and has its channel. */
  static async openWithChannel({ guest }: Surroundings): Promise<LibvirtHost> {
    const host = new LibvirtHost(await LibvirtUnderTest.start(), guest);
    await host.#define(CHANNEL_XML);
    await host.#start();
    return host;
  }

  async #define(devices: string): Promise<void> {
    await this.#libvirt.define(NAME, { devices, more: `<uuid>${UUID}</uuid>` });
  }

  get environment(): Record<string, string> {
    return { LIBVIRT_DEFAULT_URI: this.#libvirt.uri };
  }

  get inventory(): object {
    return { libvirt: [this.#libvirt.uri] };
  }

  get replacements(): FirstHost["replacements"] {
    const { uri, directory } = this.#libvirt;
    return [
      ["qemu:///system", uri],
      ["/var/lib/libvirt", `${directory}/c/libvirt`],
      ["/run/libvirt", `${directory}/r/libvirt`],
    ];
  }

  /** Its guests run on. */
  async stopLibvirt(): Promise<void> {
    await this.#libvirt.kill("SIGTERM");
  }

  startLibvirt(): Promise<void> {
    return this.#libvirt.start();
  }

  type(command: string): Promise<string> | undefined {
    switch (command) {
      case `virsh start ${NAME}`:
        return this.#start();
      case `virsh shutdown ${NAME}`:
        return this.#shutDown();
      default:
        return undefined;
    }
  }

  async #start(): Promise<string> {
    const said = await this.#libvirt.virsh("start", NAME);
    await this.#guest.started(await this.#channel());
    return `${said}\n\n`;
  }

  async #shutDown(): Promise<string> {
    await this.#guest.stopping();
    await this.#libvirt.virsh("destroy", NAME);
    return `Domain '${NAME}' is being shutdown\n\n`;
  }

  /** Of the socket of web1's channel, while it runs. */
  async channelPath(): Promise<string | undefined> {
    const xml = await this.#libvirt.virsh("dumpxml", NAME);
    const [, path] = /<source mode='bind' path='([^']+)'\/>/.exec(xml) ?? [];
    return path;
  }

  async #channel(): Promise<Channel | undefined> {
    const path = await this.channelPath();
    if (path === undefined) return undefined;
    const change = JSON.stringify({ execute: "chardev-change", arguments: begunAnew("charchannel0", path) });
    return {
      path,
      release: async () => {
        await this.#libvirt.virsh("qemu-monitor-command", NAME, change);
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#libvirt[Symbol.asyncDispose]();
  }
}

/**
 * No Proxmox VE: a stand-in for its `qm` keeps the VM's configuration, and starts a real QEMU with the name and UUID that it
 * has there, and with its `args`.
 */
export class ProxmoxHost implements FirstHost {
  readonly environment = {};
  readonly inventory = {};
  readonly replacements = [];
  readonly #lab: Surroundings;
  readonly #monitor: string;
  readonly #pidFile: string;

  private constructor(lab: Surroundings) {
    this.#lab = lab;
    this.#monitor = lab.path("/var/run/qemu-server/101.qmp");
    this.#pidFile = lab.path("/var/run/qemu-server/101.pid");
  }

  /** web1 is 101 here, and does not run. */
  static async open(lab: Surroundings): Promise<ProxmoxHost> {
    for (const directory of ["/var/run/qemu-server", "/etc/pve/qemu-server"]) {
      await mkdir(lab.path(directory), { recursive: true });
    }
    const host = new ProxmoxHost(lab);
    await writeFile(host.#config, `name: ${NAME}\nsmbios1: uuid=${UUID}\n`);
    return host;
  }

  get programs(): Record<string, string> {
    const qemu = `exec qemu-system-x86_64 ${SMALL} ${this.#daemon}`;
    const identity = "-name $(value 'name: ') -uuid $(value 'smbios1: uuid=')";
    return {
      qm: [
        `config='${this.#config}'`,
        'value() { sed -n "s/^$1//p" "$config"; }',
        'case "$1 $2" in',
        '"set 101") echo "update VM 101: -${3#--} $4"; echo "${3#--}: $4" >> "$config" ;;',
        '"config 101") cat "$config" ;;',
        `"start 101") eval "${qemu} ${identity} $(value 'args: ')" ;;`,
        '*) echo "this qm knows no $*" >&2; exit 1 ;;',
        "esac",
      ].join("\n"),
    };
  }

  type(command: string): Promise<string> | undefined {
    switch (command) {
      case "qm start 101":
        return this.#start(command);
      case "qm shutdown 101":
        return this.#shutDown();
      default:
        return undefined;
    }
  }

  get #config(): string {
    return this.#lab.path("/etc/pve/qemu-server/101.conf");
  }

  get #daemon(): string {
    return `-daemonize -pidfile '${this.#pidFile}' -qmp 'unix:${this.#monitor},server=on,wait=off'`;
  }

  async #start(command: string): Promise<string> {
    const said = await this.#lab.shell(command);
    await this.#lab.guest.started(await channelOf(this.#monitor));
    return said;
  }

  async #shutDown(): Promise<string> {
    await this.#lab.guest.stopping();
    await endQemu(this.#pidFile);
    return "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endQemu(this.#pidFile);
  }
}

/** QEMU with the command line that a guide has. Beside it the lab has a monitor of its own. */
export class QemuHost implements FirstHost {
  readonly environment = {};
  readonly inventory = {};
  readonly #lab: Surroundings;
  readonly #monitor: string;
  readonly #pidFile: string;

  private constructor(lab: Surroundings) {
    this.#lab = lab;
    this.#monitor = lab.path("/lab.qmp");
    this.#pidFile = lab.path("/run/vms/web1.pid");
  }

  /** web1 has a disk, and does not run. */
  static async open(lab: Surroundings): Promise<QemuHost> {
    await mkdir(lab.path("/var/lib/vms"), { recursive: true });
    await lab.shell(`qemu-img create -q -f qcow2 '${lab.path("/var/lib/vms/web1.qcow2")}' ${DISK_MIB}`);
    return new QemuHost(lab);
  }

  get programs(): Record<string, string> {
    // The machine's program, not this one again.
    const qemu = `PATH='${process.env["PATH"] ?? ""}'; exec qemu-system-x86_64`;
    return {
      "qemu-system-x86_64": `${qemu} "$@" -nodefaults -display none -qmp 'unix:${this.#monitor},server=on,wait=off'`,
    };
  }

  /** KVM need not be there. */
  get replacements(): FirstHost["replacements"] {
    return [
      ["-accel kvm -m 2048", "-accel tcg -m 64"],
      ["-display none -daemonize", "-daemonize"],
    ];
  }

  type(command: string): Promise<string> | undefined {
    if (command.startsWith("qemu-system-x86_64 ")) return this.#start(command);
    if (command === 'kill "$(cat /run/vms/web1.pid)"') return this.#stop();
    return undefined;
  }

  async #start(command: string): Promise<string> {
    const said = await this.#lab.shell(command);
    if (!existsSync(this.#pidFile)) throw new Error(`QEMU did not start: ${said}`);
    await this.#lab.guest.started(await channelOf(this.#monitor));
    return said;
  }

  async #stop(): Promise<string> {
    await this.#lab.guest.stopping();
    await endQemu(this.#pidFile);
    return "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endQemu(this.#pidFile);
  }
}

/** Of a machine that finds nothing to boot. */
const SMALL = "-machine pc -accel tcg -m 32 -nodefaults -display none";

/**
 * QMP's arguments that begin a listening character device anew, which ends its connections. The old one removes the socket
 * that the new one has made; QEMU goes on saying that it listens there.
 */
function begunAnew(id: string, path: string): Record<string, unknown> {
  const data = { addr: { type: "unix", data: { path } }, server: true, wait: false };
  return { id, backend: { type: "socket", data } };
}

/** The first that listens on a socket of its own, but for QEMU's monitors. */
async function channelOf(monitor: string): Promise<Channel | undefined> {
  const qmp = await QmpClient.connect(monitor);
  const devices = (await qmp.execute("query-chardev")) as { label: string; filename: string }[];
  qmp.close();
  for (const { label, filename } of devices) {
    const [, path] = /^(?:disconnected:)?unix:([^,]+),server/.exec(filename) ?? [];
    if (path !== undefined && !label.startsWith("compat_monitor"))
      return { path, release: () => beginAnew(monitor, label, path) };
  }
  return undefined;
}

async function beginAnew(monitor: string, label: string, path: string): Promise<void> {
  const qmp = await QmpClient.connect(monitor);
  await qmp.execute("chardev-change", begunAnew(label, path));
  qmp.close();
}

async function endQemu(pidFile: string): Promise<void> {
  if (!existsSync(pidFile)) return;
  const pid = Number(await readFile(pidFile, "utf8"));
  // The number may be another process's by now, which is not ours to end.
  const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  if (command.includes(pidFile)) {
    process.kill(pid, "SIGTERM");
    await vi.waitUntil(() => !existsSync(`/proc/${pid}`), SOON);
  }
  await rm(pidFile, { force: true });
}
