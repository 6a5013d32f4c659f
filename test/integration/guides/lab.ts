/**
 * The machines of the guides: a host with the VM web1, and its guest. QEMU, the manager, the agent, `vmmessage` and the
 * servers are real, and so are the tools of the system that are called. Stand-ins are only:
 *
 * - `virsh start|destroy web1`, which starts or ends a QEMU that the manager sees through QMP; there is nothing to boot in it,
 *   and its channel's socket leads to an agent of this machine that is there as long as the VM;
 * - `vmmessaged ... &`, which starts the manager, with that inventory beside what the guide configures;
 * - commands that a guide's test gives: they start or ask its server;
 * - the documented directories, which are private ones, and the ports of servers, which are free ones.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { vi } from "vitest";
import { AgentUnderTest } from "../support/agents.ts";
import { ManagerUnderTest } from "../support/managers.ts";
import { QemuUnderTest } from "../support/qemu.ts";

export const prompts = ["host# ", "guest# "] as const;
export type Prompt = (typeof prompts)[number];

export const root = join(import.meta.dirname, "..", "..", "..");
const dist = join(root, "dist");

const UUID = "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11";

/** Below the lab's own root, as everything that the guides name. */
const DIRECTORIES = [
  ...["/etc/bind", "/etc/vmmessage", "/usr/local/sbin", "/usr/local/bin"],
  ...["/run/qmp", "/var/lib/bind", "/var/lib/vmmessage", "/var/log"],
];

const MANAGER_CONFIG = "/etc/vmmessage/manager.json";

export interface LabOptions {
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
  #qemu: QemuUnderTest | undefined;
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
      for (const directory of [...DIRECTORIES, "/bin"]) await mkdir(lab.path(directory), { recursive: true });
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
    const [name = "", ...words] = command.split(" ");
    const standIn = this.#standIns[name];
    if (standIn !== undefined) return standIn(this, words);
    return this.toDocumented(await this.#shell(prompt, this.#toOwn(command)));
  }

  get #standIns(): NonNullable<LabOptions["standIns"]> {
    return {
      vmmessaged: () => this.#startManager(),
      virsh: (_lab, [action]) => (action === "start" ? this.#virshStart() : this.#virshDestroy()),
      ...this.#options.standIns,
    };
  }

  async #startManager(): Promise<string> {
    const inventory = { qmp: [this.path("/run/qmp")] };
    const config = JSON.parse(await readFile(this.path(MANAGER_CONFIG), "utf8")) as object;
    this.#manager = await ManagerUnderTest.start([], { ...config, inventory });
    await this.#manager.untilLink("web1", "up");
    return "";
  }

  async #virshStart(): Promise<string> {
    await this.#startVm();
    return "Domain 'web1' started\n\n";
  }

  async #virshDestroy(): Promise<string> {
    await this.#agent.kill("SIGTERM");
    await this.#qemu?.kill("SIGTERM");
    return "Domain 'web1' destroyed\n\n";
  }

  /** The manager sees a QEMU whose channel leads to the agent: the QMP socket comes last. */
  async #startVm(): Promise<void> {
    await this.#agent.start();
    const directory = await mkdtemp(this.path("/vm-"));
    this.#qemu = await QemuUnderTest.start({ directory, name: "web1", uuid: UUID });
    const { channelPath } = this.#qemu;
    await vi.waitUntil(() => existsSync(channelPath), { timeout: 20_000, interval: 20 });
    await rm(channelPath);
    await symlink(this.#agent.channelPath, channelPath);
    await rename(this.#qemu.qmpPath, this.path("/run/qmp/web1.qmp"));
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
    for (const [name, script] of Object.entries(this.#scripts(prompt))) {
      await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
      await chmod(join(bin, name), 0o755);
    }
    return bin;
  }

  #scripts(prompt: Prompt): Record<string, string> {
    if (prompt === "guest# ") return { agent: ours("agent", "--run-dir", this.#agent.runDirectory) };
    const vmmessage = this.#manager && { vmmessage: ours("vmmessage", "--manager", this.#manager.socketPath) };
    // The programs of this machine, not these scripts again.
    const original = `PATH='${process.env["PATH"] ?? ""}:/usr/sbin'`;
    const wrappers = Object.entries(this.#options.wrappers ?? {});
    return { ...vmmessage, ...Object.fromEntries(wrappers.map(([name, line]) => [name, `${original}; ${line}`])) };
  }

  #toOwn(text: string): string {
    const paths = DIRECTORIES.map((directory) => [directory, this.path(directory)] as const);
    return [...paths, ...this.#options.replacements].reduce(
      (all, [documented, own]) => all.replaceAll(documented, own),
      text,
    );
  }

  /** What was printed or sent, in the guide's paths and names. */
  toDocumented(printed: string): string {
    const text = this.#options.replacements.reduce(
      (all, [documented, own]) => all.replaceAll(own, documented),
      printed,
    );
    return text.replaceAll(this.#root, "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#manager?.[Symbol.asyncDispose]();
    await this.#agent[Symbol.asyncDispose]();
    await this.#qemu?.kill();
    await rm(this.#root, { recursive: true, force: true });
  }
}

/** The line of shell that becomes one of our programs, with these words before any others. */
function ours(program: string, ...words: string[]): string {
  return `exec ${[process.execPath, join(dist, `${program}.js`), ...words].map((word) => `'${word}'`).join(" ")} "$@"`;
}
