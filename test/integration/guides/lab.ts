/**
 * The machines of the guides: a host with the VM web1, and its guest. QEMU, the manager, the agent, `vmmessage` and the
 * servers are real, and so are the tools of the system that are called. Stand-ins are only:
 *
 * - `virsh start|destroy web1`, which starts or ends a QEMU, of libvirt or without it; there is nothing to boot in it, and its
 *   channel's socket leads to an agent of this machine that is there as long as the VM, and begins anew with a reset;
 * - `systemctl restart vmmessaged`, which starts the manager, with that inventory beside what the guide configures;
 * - commands that a guide's test gives: they start or ask its server;
 * - the documented directories, which are private ones, and the ports of servers, which are free ones.
 */
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { AgentUnderTest } from "../support/agents.ts";
import { ManagerUnderTest } from "../support/managers.ts";
import { LibvirtMachine, type Machine, QemuMachine } from "./machines.ts";

export const prompts = ["host# ", "guest# "] as const;
export type Prompt = (typeof prompts)[number];

export const root = join(import.meta.dirname, "..", "..", "..");
const dist = join(root, "dist");

/** Below the lab's own root, as everything that the guides name. */
const DIRECTORIES = [
  ...["/etc/bind", "/etc/vmmessage", "/usr/local/sbin", "/usr/local/bin"],
  ...["/run/qmp", "/run/qemu", "/var/lib/bind", "/var/lib/vmmessage", "/var/log"],
];

/** Where the manager's own programs may write. */
const MANAGER_DIRECTORY = "/var/lib/vmmessage/manager";

const MANAGER_CONFIG = "/etc/vmmessage/manager.json";

/** libvirt's connection URI in the guides. */
const LIBVIRT_URI = "qemu:///system";

export interface LabOptions {
  /** Whose QEMU web1 is; the manager sees it through QMP unless it is libvirt's. */
  hypervisor?: "libvirt";
  /** Documented texts, and what they are here: addresses and ports. */
  replacements: readonly (readonly [documented: string, own: string])[];
  /** Programs with which the host's own are called, by their names: lines of shell. */
  wrappers?: Readonly<Record<string, string>>;
  /** Commands that are done by the test; each settles with what it prints. */
  standIns?: Readonly<Record<string, (lab: GuideLab, words: string[]) => Promise<string>>>;
}

export class GuideLab implements AsyncDisposable {
  readonly #root: string;
  readonly #agent: AgentUnderTest;
  readonly #options: LabOptions;
  #machine: Machine | undefined;
  #isResetting = false;
  #manager: ManagerUnderTest | undefined;

  private constructor(directory: string, agent: AgentUnderTest, options: LabOptions) {
    this.#root = directory;
    this.#agent = agent;
    this.#options = options;
  }

  /** web1 runs, and no manager does. */
  static async open(options: LabOptions): Promise<GuideLab> {
    const lab = new GuideLab(await mkdtemp(join(tmpdir(), "guide-")), await AgentUnderTest.make(), options);
    try {
      for (const directory of [...DIRECTORIES, MANAGER_DIRECTORY, "/bin"])
        await mkdir(lab.path(directory), { recursive: true });
      lab.#machine = await lab.#defineMachine();
      await lab.#startVm();
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
    return lab;
  }

  get manager(): ManagerUnderTest {
    if (this.#manager === undefined) throw new Error("no manager runs in the lab yet");
    return this.#manager;
  }

  /** Where a documented file is. */
  path(documented: string): string {
    return join(this.#root, documented);
  }

  /** Puts a guide's file in its place. */
  async place(documented: string, text: string): Promise<void> {
    await mkdir(dirname(this.path(documented)), { recursive: true });
    await writeFile(this.path(documented), this.#toOwn(text));
  }

  /** Types a line of shell at a machine's prompt; settles with what it prints, in the guide's paths and names. */
  async type(prompt: Prompt, command: string): Promise<string> {
    if (command === "systemctl restart vmmessaged") return this.#startManager();
    const [name = "", ...words] = command.split(" ");
    const standIn = this.#standIns[name];
    if (standIn !== undefined) return standIn(this, words);
    return this.toDocumented(await this.#shell(prompt, this.#toOwn(command, prompt)));
  }

  get #standIns(): NonNullable<LabOptions["standIns"]> {
    return {
      virsh: (_lab, [action]) => (action === "start" ? this.#virshStart() : this.#virshDestroy()),
      ...this.#options.standIns,
    };
  }

  async #startManager(): Promise<string> {
    this.#manager = await ManagerUnderTest.start([], await this.#wholeConfig());
    await this.#manager.untilLink("web1", "up");
    return "";
  }

  /** What the guide configures, and where this machine's VMs are. */
  async #wholeConfig(): Promise<object> {
    const config = JSON.parse(await readFile(this.path(MANAGER_CONFIG), "utf8")) as object;
    return { ...config, inventory: this.#machine?.inventory };
  }

  #defineMachine(): Machine | Promise<Machine> {
    if (this.#options.hypervisor === undefined) return new QemuMachine((documented) => this.path(documented));
    return LibvirtMachine.define(() => void this.#restartAgent());
  }

  /** As a machine that is reset does with all that runs in it. */
  async #restartAgent(): Promise<void> {
    if (this.#isResetting) return;
    this.#isResetting = true;
    await this.#agent.kill("SIGKILL");
    await this.#agent.start();
    this.#isResetting = false;
  }

  async #virshStart(): Promise<string> {
    await this.#startVm();
    return "Domain 'web1' started\n\n";
  }

  async #virshDestroy(): Promise<string> {
    await this.#agent.kill("SIGTERM");
    await this.#machine?.destroy();
    return "Domain 'web1' destroyed\n\n";
  }

  /** Of a machine that died, the agent is there still. */
  async #startVm(): Promise<void> {
    await this.#agent.kill("SIGKILL");
    await this.#agent.start();
    await this.#machine?.start(this.#agent.channelPath);
  }

  async #shell(prompt: Prompt, line: string): Promise<string> {
    const path = [await this.#programsOf(prompt), process.env["PATH"] ?? "", "/usr/sbin"].join(delimiter);
    const env = { PATH: path, HOME: this.#root, LANG: "C.UTF-8", TZ: "UTC" };
    return new Promise((resolve) => {
      const child = execFile("sh", ["-c", `exec 2>&1\n${line}`], { cwd: root, env }, (_error, stdout) => {
        resolve(stdout);
      });
      child.stdin?.end();
    });
  }

  /** The directory of what can be called at this prompt beside the machine's own programs. */
  async #programsOf(prompt: Prompt): Promise<string> {
    const bin = this.path("/bin");
    for (const [name, script] of Object.entries(await this.#scripts(prompt))) {
      await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
      await chmod(join(bin, name), 0o755);
    }
    return bin;
  }

  async #scripts(prompt: Prompt): Promise<Record<string, string>> {
    if (prompt === "guest# ") return { agent: ours("agent", "--run-dir", this.#agent.runDirectory) };
    const vmmessage = this.#manager && { vmmessage: ours("vmmessage", "--manager", this.#manager.socketPath) };
    const vmmessaged = await this.#checkingScript();
    // The programs of this machine, not these scripts again.
    const original = `PATH='${process.env["PATH"] ?? ""}:/usr/sbin'`;
    const wrappers = Object.entries(this.#options.wrappers ?? {});
    return {
      vmmessaged,
      ...vmmessage,
      ...Object.fromEntries(wrappers.map(([name, line]) => [name, `${original}; ${line}`])),
    };
  }

  /** `vmmessaged check`, with the manager's configuration as it is now. */
  async #checkingScript(): Promise<string> {
    const whole = this.path("/manager.json");
    const config = await this.#wholeConfig().catch(() => ({}));
    await writeFile(whole, JSON.stringify(config));
    return ours("vmmessaged", "--config", whole, "--state-dir", this.path("/state"), "--run-dir", this.path("/run"));
  }

  #toOwn(text: string, prompt: Prompt = "host# "): string {
    const paths = DIRECTORIES.map((directory) => [directory, this.path(directory)] as const);
    const ofGuest = prompt === "guest# " ? [["/run/vmmessage", this.#agent.runDirectory] as const] : [];
    return [...paths, ...ofGuest, ...this.#replacements].reduce(
      (all, [documented, own]) => all.replaceAll(documented, own),
      text,
    );
  }

  /** What was printed or sent, in the guide's paths and names. */
  toDocumented(printed: string): string {
    const text = this.#replacements.reduce((all, [documented, own]) => all.replaceAll(own, documented), printed);
    return text.replaceAll(this.#root, "");
  }

  get #replacements(): LabOptions["replacements"] {
    const { replacements } = this.#options;
    return this.#machine instanceof LibvirtMachine ? [...replacements, [LIBVIRT_URI, this.#machine.uri]] : replacements;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#manager?.[Symbol.asyncDispose]();
    await this.#agent[Symbol.asyncDispose]();
    await this.#machine?.[Symbol.asyncDispose]();
    await rm(this.#root, { recursive: true, force: true });
  }
}

/** The line of shell that becomes one of our programs, with these words before any others. */
function ours(program: string, ...words: string[]): string {
  return `exec ${[process.execPath, join(dist, `${program}.js`), ...words].map((word) => `'${word}'`).join(" ")} "$@"`;
}
