/**
 * The machines of the guides for newcomers: a host (first-hosts.ts) with the VM web1, and its guest. The agent, the manager
 * and `vmmessage` are real, and so are the tools of the system that are called. Stand-ins are only:
 *
 * - `apt install FILE...`, which looks whether `npm run package` makes files of these names, and prints nothing. In the guest
 *   it starts the agent, on the host the manager, as the packages do; how they do it is tested with the packages themselves;
 * - the guest: an agent of this machine, which is behind the channel's socket while web1 runs and has one;
 * - `systemctl restart vmmessaged`, which does that to the manager; whatever starts or stops web1 settles when the manager, where
 *   one runs, has noticed, and has delivered what waited;
 * - the documented directories, which are private ones, and this machine's name, which is hv1.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { vi } from "vitest";
import { AgentUnderTest } from "../support/agents.ts";
import { ManagerUnderTest } from "../support/managers.ts";
import type { Channel, FirstHost, Surroundings } from "./first-hosts.ts";
import { type Prompt, root } from "./lab.ts";
import { packagesNamed } from "./packages.ts";

const dist = join(root, "dist");

/** Below the lab's own root on the host, and below the agent's in the guest. */
const HOST_DIRECTORIES = [
  ...["/etc/vmmessage", "/etc/pve", "/run/qmp", "/run/vms", "/var/lib/vms", "/var/run/qemu-server", "/var/log"],
];
const GUEST_DIRECTORIES = ["/etc/vmmessage", "/etc/template.d", "/etc/example"];

const MANAGER_CONFIG = "/etc/vmmessage/manager.json";

/** A manager notices, a process begins. */
const SOON = { timeout: 30_000, interval: 50 };

export interface FirstStepsOptions<Host extends FirstHost> {
  host: (surroundings: Surroundings) => Promise<Host>;
  /** Further programs at the host's prompt: lines of bash. */
  wrappers?: Readonly<Record<string, string>>;
}

export class FirstStepsLab<Host extends FirstHost = FirstHost> implements AsyncDisposable {
  readonly agent: AgentUnderTest;
  /** Whether the port's appearance starts the agent. */
  isAgentEnabled = true;
  readonly #root: string;
  readonly #installed = new Set<string>();
  readonly #wrappers: Readonly<Record<string, string>>;
  #host: Host | undefined;
  #channel: Channel | undefined;
  #manager: ManagerUnderTest | undefined;

  private constructor(
    directory: string,
    agent: AgentUnderTest,
    { wrappers }: Required<Pick<FirstStepsOptions<Host>, "wrappers">>,
  ) {
    this.#root = directory;
    this.agent = agent;
    this.#wrappers = wrappers;
  }

  static async open<Host extends FirstHost>({
    host,
    wrappers = {},
  }: FirstStepsOptions<Host>): Promise<FirstStepsLab<Host>> {
    const directory = await mkdtemp(join(tmpdir(), "first-"));
    const lab = new FirstStepsLab<Host>(directory, await AgentUnderTest.make(), { wrappers });
    try {
      for (const made of [...HOST_DIRECTORIES, "/host-bin", "/guest-bin"]) {
        await mkdir(lab.path(made), { recursive: true });
      }
      await lab.#configureBootstrap();
      lab.#host = await host(lab.#surroundings);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
    return lab;
  }

  get host(): Host {
    if (this.#host === undefined) throw new Error("the lab has no host yet");
    return this.#host;
  }

  /** Where a documented file of the host's is. */
  path(documented: string): string {
    return join(this.#root, documented);
  }

  /** Puts a guide's file in its place: what begins with `#!` is a module of the guest's. */
  async place(documented: string, text: string): Promise<void> {
    const isOfGuest = text.startsWith("#!");
    const own = this.#toOwn(isOfGuest ? "guest# " : "host# ", documented);
    await mkdir(dirname(own), { recursive: true });
    await writeFile(own, this.#toOwn(isOfGuest ? "guest# " : "host# ", text), { mode: 0o644 });
  }

  /** Types a line of shell at a machine's prompt; settles with what it prints, in the guide's paths and names. */
  async type(prompt: Prompt, command: string): Promise<string> {
    return this.toDocumented(await this.#typed(prompt, command));
  }

  /** What was printed, in the guide's paths and names. */
  toDocumented(printed: string): string {
    const { runDirectory, stateDirectory, channelPath, directory } = this.agent;
    const replacements = this.#host?.replacements ?? [];
    return (
      replacements
        .reduce((text, [documented, own]) => text.replaceAll(own, documented), printed)
        // This machine is the guest, which may have ports that web1 has not.
        .replace(/the machine's ports are [^;]+/g, "this machine has no named virtio port")
        .replaceAll(runDirectory, "/run/vmmessage")
        .replaceAll(stateDirectory, "/var/lib/vmmessage")
        .replaceAll(`unix:${channelPath}`, "virtio:org.vmmessage.agent.0")
        .replaceAll(directory, "")
        .replaceAll(this.#manager?.socketPath ?? "\0", "/run/vmmessage/manager.sock")
        .replaceAll(this.#root, "")
        .replaceAll(new RegExp(`(?<=  |, on )${hostname()}(?=  |\\))`, "g"), "hv1")
    );
  }

  async #typed(prompt: Prompt, command: string): Promise<string> {
    if (command.startsWith("apt install ")) return this.#install(prompt, command.split(" ").slice(2));
    if (command === "systemctl restart vmmessaged") return this.#restartManager();
    if (command === "systemctl start vmmessaged") return this.#startManagerAgain();
    if (command === "systemctl start vmmessage-agent") return this.#startAgentByHand();
    const typed = prompt === "host# " ? this.host.type(command) : undefined;
    if (typed === undefined) return this.#shell(prompt, command);
    const said = await typed;
    await this.#untilNoticed();
    return said;
  }

  async #install(prompt: Prompt, files: string[]): Promise<string> {
    for (const name of await packagesNamed(files)) {
      this.#installed.add(name);
      if (name === "vmmessage-agent" && prompt === "guest# ") await this.#startAgent();
      if (name === "vmmessage-manager") await this.#startManager();
    }
    return "";
  }

  get #surroundings(): Surroundings {
    return {
      path: (documented) => this.path(documented),
      shell: (line) => this.#shell("host# ", line),
      guest: {
        started: async (channel) => {
          this.#channel = channel;
          if (this.#installed.has("vmmessage-agent")) await this.#startAgent();
        },
        stopping: () => this.stopAgent(),
      },
    };
  }

  /** As the port's appearance does it: without one it is not started. */
  async #startAgent(): Promise<void> {
    const channel = this.#channel;
    if (channel === undefined || !this.isAgentEnabled) return;
    await this.agent.start();
    await channel.release();
    await rm(channel.path, { force: true });
    await symlink(this.agent.channelPath, channel.path);
  }

  async #startAgentByHand(): Promise<string> {
    this.isAgentEnabled = true;
    await this.#startAgent();
    await this.#untilNoticed();
    return "";
  }

  /** QEMU takes its socket away when it ends. */
  async stopAgent(): Promise<void> {
    await this.agent.kill("SIGTERM");
    await rm(this.agent.channelPath, { force: true });
    if (this.#channel !== undefined) await rm(this.#channel.path, { force: true });
    this.#channel = undefined;
  }

  /** Till the manager, where one runs, knows whether web1 is there, and has delivered what waited for it. */
  async #untilNoticed(): Promise<void> {
    const manager = this.#manager;
    if (manager === undefined) return;
    const isThere = this.#channel !== undefined;
    await vi.waitFor(async () => {
      const { status, link, pending } = await manager.vm("web1");
      const isNoticed = isThere ? link.state === "up" && pending === 0 : status === "Stopped";
      if (!isNoticed) throw new Error(`web1 is ${status}, its link ${JSON.stringify(link)}, and ${pending} wait`);
    }, SOON);
  }

  async #startManager(): Promise<void> {
    this.#manager = await ManagerUnderTest.start([], { inventory: this.host.inventory });
    if (existsSync(this.path(MANAGER_CONFIG))) await this.#restartManager();
  }

  get manager(): ManagerUnderTest {
    if (this.#manager === undefined) throw new Error("no manager runs in the lab yet");
    return this.#manager;
  }

  async #startManagerAgain(): Promise<string> {
    await this.manager.start();
    await this.#untilNoticed();
    return "";
  }

  async #restartManager(): Promise<string> {
    const config = await readFile(this.path(MANAGER_CONFIG), "utf8");
    await this.#manager?.kill("SIGTERM");
    await this.#manager?.configure(JSON.parse(config) as object);
    await this.#manager?.start();
    await this.#untilNoticed();
    return "";
  }

  async #shell(prompt: Prompt, line: string): Promise<string> {
    const path = [await this.#programsOf(prompt), process.env["PATH"] ?? "", "/usr/sbin"].join(delimiter);
    const own = { PATH: path, HOME: this.#root, LANG: "C.UTF-8", TZ: "UTC" };
    const env = { ...own, ...(prompt === "host# " && this.#host?.environment), ...this.#managersSocket };
    return new Promise((resolve) => {
      const words = ["-c", `exec 2>&1\n${this.#toOwn(prompt, line)}`];
      const child = execFile("sh", words, { cwd: this.#root, env }, (_error, stdout) => {
        resolve(stdout);
      });
      child.stdin?.end();
    });
  }

  get #managersSocket(): Record<string, string> {
    return this.#manager === undefined ? {} : { VMMESSAGE_MANAGER: this.#manager.socketPath };
  }

  /** The directory of what can be called at this prompt beside the machine's own programs. */
  async #programsOf(prompt: Prompt): Promise<string> {
    const bin = this.path(prompt === "host# " ? "/host-bin" : "/guest-bin");
    const programs = prompt === "host# " ? this.#hostPrograms : this.#guestPrograms;
    for (const [name, script] of Object.entries(programs)) {
      await writeFile(join(bin, name), `#!/bin/bash\n${script}\n`);
      await chmod(join(bin, name), 0o755);
    }
    return bin;
  }

  get #hostPrograms(): Record<string, string> {
    const names = { vmmessage: "vmmessage", "vmmessage-ovmd-compat": "ovm_vmmessage" };
    const ours = Object.entries(names).filter(([installed]) => this.#installed.has(installed));
    return {
      ...Object.fromEntries(ours.map(([, name]) => [name, calledAs(name, "vmmessage")])),
      ...this.#host?.programs,
      ...this.#wrappers,
    };
  }

  get #guestPrograms(): Record<string, string> {
    const places = ["--run-dir", this.agent.runDirectory];
    const ofConfiguring = [...places, "--state-dir", this.agent.stateDirectory, "--config", this.#bootstrapConfig];
    const agent = `case "$1" in bootstrap | config | -s) ${calledAs("agent", "agent", ofConfiguring)} ;; esac`;
    return {
      ...(this.#installed.has("vmmessage-agent") && { agent: `${agent}\n${calledAs("agent", "agent", places)}` }),
      ...(this.#installed.has("vmmessage-ovmd-compat") && {
        ovmd: calledAs("ovmd", "agent", places),
        "ovm-template-config": calledAs("ovm-template-config", "agent", ofConfiguring),
      }),
    };
  }

  async #configureBootstrap(): Promise<void> {
    const documented = ["/etc/vmmessage/template.d", "/etc/template.d/scripts"];
    const directories = documented.map((directory) => this.#toOwn("guest# ", directory));
    await mkdir(dirname(this.#bootstrapConfig), { recursive: true });
    await writeFile(this.#bootstrapConfig, JSON.stringify({ directories }));
  }

  get #bootstrapConfig(): string {
    return this.#toOwn("guest# ", "/etc/vmmessage/bootstrap.json");
  }

  #toOwn(prompt: Prompt, text: string): string {
    return prompt === "guest# " ? this.#toGuests(text) : this.#toHosts(text);
  }

  #toHosts(text: string): string {
    const replaced = (this.#host?.replacements ?? []).reduce(
      (all, [documented, own]) => all.replaceAll(documented, own),
      text,
    );
    return replaced.replace(pathsBelow(HOST_DIRECTORIES), (path) => this.path(path));
  }

  #toGuests(text: string): string {
    const { directory, runDirectory, stateDirectory } = this.agent;
    return text
      .replace(pathsBelow(GUEST_DIRECTORIES), (path) => join(directory, path))
      .replace(pathsBelow(["/run/vmmessage"]), runDirectory)
      .replace(pathsBelow(["/var/lib/vmmessage"]), stateDirectory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#manager?.[Symbol.asyncDispose]();
    await this.agent[Symbol.asyncDispose]();
    await this.#host?.[Symbol.asyncDispose]();
    await rm(this.#root, { recursive: true, force: true });
  }
}

/** Where these directories are named, and not those below others whose names end so. */
function pathsBelow(directories: readonly string[]): RegExp {
  return new RegExp(`(?<![\\w/.-])(?:${directories.join("|")})(?![\\w-])`, "g");
}

/** The line of bash that becomes a program of ours under this name, with these words before any others. */
function calledAs(name: string, program: string, words: readonly string[] = []): string {
  const line = [process.execPath, join(dist, `${program}.js`), ...words].map((word) => `'${word}'`).join(" ");
  return `exec -a ${name} ${line} "$@"`;
}
