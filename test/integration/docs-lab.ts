/**
 * The machines of the transcripts: the host `hv1.example.com` with its VMs web1, web2 (on) and db1 (off), the guests, and
 * a desk. The agents, the manager, `vmmessage`, ssh, curl and openssl are real; stand-ins are only:
 *
 * - `virsh start|shutdown VM`, which starts or ends the agent and waits until the manager has noticed and delivered;
 * - `systemctl start|restart vmmessaged`, which starts the manager, and `systemctl reload vmmessaged`, which waits until it has
 *   reloaded;
 * - `systemctl start vmmessage-bootstrap` and `... vmmessage-reconfigure` in a guest, which start what their units start,
 *   the first till it waits for its keys;
 * - `pass show ...`, which prints the users' password, and `scp`, which copies;
 * - `mail -p`, which prints the newest mail that somebody got;
 * - a moment's wait before `vmmessage` is asked of events, and before a queue is read, till nothing new happens;
 * - TLS before the broker and the receiver of webhooks (docs-servers.ts), which speak without it here;
 * - the name hv1.example.com, which is a loopback address of the lab's own, so that the documented ports are used;
 * - the documented directories, which are private ones, and the inventory, which is a file.
 *
 * The guests are this machine: what the modules that come with the agent take is not typed, except to see what it would do.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { randomInt } from "node:crypto";
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { vi } from "vitest";
import type { EventPage } from "../../shared/api/event-schemas.ts";
import type { VmSummary } from "../../shared/api/schemas.ts";
import { bootstrapReport, REPORT_KEY } from "../../shared/bootstrap.ts";
import { SshClient } from "./manager/console/ssh.ts";
import { DOMAIN_UUID, DocsServers } from "./docs-servers.ts";
import { AgentUnderTest } from "./support/agents.ts";
import { ManagerUnderTest } from "./support/managers.ts";

export const prompts = ["host# ", "guest# ", "db1# ", "desk$ "] as const;
export type Prompt = (typeof prompts)[number];

const dist = join(import.meta.dirname, "..", "..", "dist");
const HOST_NAME = "hv1.example.com";
const CONSOLE_PORT = 10_000;

const uuids = {
  web1: "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11",
  web2: "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e12",
  db1: "d3b5e7c9-21f4-4c86-8a0d-97e6c4b2a113",
};
type VmName = keyof typeof uuids;

/** What is not different in each run. */
export const documentedUuids: ReadonlySet<string> = new Set([...Object.values(uuids), DOMAIN_UUID]);

const runningFromTheStart: VmName[] = ["web1", "web2"];

interface DocumentedConfig {
  listen?: object[];
  sockets?: object[];
  console?: object;
  messages?: object;
  quotas?: object;
  events?: { mail?: object };
  monitor?: object;
  images?: object;
}

interface LabOptions {
  /** Whether one runs from the start; otherwise `systemctl` starts it. */
  hasManager: boolean;
  /** Whether there are a broker, a mail server, a hypervisor and a receiver of webhooks: half a minute more. */
  hasServers?: boolean;
}

/** The users' password, as `pass` prints it. */
const PASSWORD = "correct horse battery";
const pass = `echo '${PASSWORD}'`;

/** Commands that show what happened before them. */
const READS_EVENTS = /^(vmmessage (events|sink|subscription|notify|save)|python3 |cat |mail )/;

/** Longer than a change of a guest's keys takes to be an event: half a second. */
const QUIET_MS = 1_000;

/** Directories that a guest is configured from and into. */
const GUEST_DIRECTORIES = ["/etc/vmmessage", "/etc/template.d", "/etc/example"];

/** Keys that the modules which come with the agent would change this machine for. */
const KEYS_OF_THE_MACHINE = /org\.vmmessage\.(?:hostname|users|root-password)|com\.oracle\.linux\./;

/** Units of a guest that configure it, by what they start. */
const CONFIGURING_UNIT = /^systemctl (?:--no-block )?start vmmessage-(bootstrap|reconfigure)$/;

/** What stands in the files of these names. */
type Scripts = Record<string, string>;

export class DocsLab implements AsyncDisposable {
  readonly #directory: string;
  readonly #agents: Readonly<Record<VmName, AgentUnderTest>>;
  /** Where the host listens: nobody else has this address. */
  readonly #address = loopbackAddress();
  readonly #ssh: SshClient;
  #manager: ManagerUnderTest | undefined;
  #servers: DocsServers | undefined;
  readonly #configuring: ChildProcess[] = [];

  private constructor(directory: string, agents: Record<VmName, AgentUnderTest>) {
    this.#directory = directory;
    this.#agents = agents;
    this.#ssh = new SshClient(directory, CONSOLE_PORT);
  }

  static async open({ hasManager, hasServers = false }: LabOptions): Promise<DocsLab> {
    const directory = await mkdtemp(join(tmpdir(), "vmm-docs-"));
    const [web1, web2, db1] = await Promise.all([AgentUnderTest.make(), AgentUnderTest.make(), AgentUnderTest.make()]);
    const lab = new DocsLab(directory, { web1, web2, db1 });
    await Promise.all(runningFromTheStart.map((name) => lab.#agents[name].start()));
    for (const folder of ["channels", "host", "guest", "desk"]) await mkdir(join(directory, folder));
    for (const name of runningFromTheStart) {
      await symlink(lab.#agents[name].channelPath, join(directory, "channels", `${name}.sock`));
    }
    await lab.#configureBootstrap({});
    if (hasServers) lab.#servers = await DocsServers.start(directory, loopbackAddress(), PASSWORD);
    if (hasManager) await lab.#startManager();
    return lab;
  }

  /** Types a line of shell at a machine's prompt; settles with what it prints, in the documents' paths and names. */
  async type(prompt: Prompt, command: string): Promise<string> {
    if (this.#servers !== undefined && READS_EVENTS.test(command)) await this.#untilQuiet();
    const served = await this.#servers?.type(command, join(this.#directory, machineOf(prompt)));
    if (served !== undefined) return this.#toDocumented(prompt, served);
    const virsh = /^virsh (start|shutdown) (\w+)$/.exec(command);
    if (virsh !== null) return this.#virsh(virsh[1] === "start" ? "start" : "shutdown", virsh[2] as VmName);
    if (/^systemctl (re)?start vmmessaged$/.test(command)) {
      await this.#startManager();
      return "";
    }
    if (command === "systemctl reload vmmessaged") {
      await this.#reload();
      return "";
    }
    const unit = CONFIGURING_UNIT.exec(command);
    if (unit !== null) {
      if (unit[1] === "reconfigure") this.#startConfiguring(prompt, ["bootstrap", "--watch"]);
      else await this.#startFirstBoot(prompt);
      return "";
    }
    if (KEYS_OF_THE_MACHINE.test(command) && !command.includes("--dry-run")) refuse(command);
    const printed = await this.#shell(prompt, this.#toPrivate(prompt, command));
    return this.#toDocumented(prompt, printed);
  }

  /** Opens a console with an ssh command and types lines at `OVM>`, through a pipe: without echo and prompt. */
  async typeAtConsole(sshCommand: string, lines: readonly string[]): Promise<string> {
    const input = join(this.#directory, "typed");
    await writeFile(input, lines.map((line) => `${line}\n`).join(""));
    return this.type("desk$ ", `${sshCommand} < ${input}`);
  }

  /**
   * Puts a document's file in its place: `~/` is the desk's, a name alone is in root's home on the host, and what a guest is
   * configured from is web1's.
   */
  async place(path: string, text: string): Promise<void> {
    if (path === "/etc/vmmessage/bootstrap.json") return this.#configureBootstrap(JSON.parse(text) as object);
    if (GUEST_DIRECTORIES.some((directory) => path.startsWith(`${directory}/`)) && !path.endsWith(".json")) {
      const file = this.#toPrivate("guest# ", path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, this.#toPrivate("guest# ", text), { mode: 0o644 });
      return;
    }
    if (KEYS_OF_THE_MACHINE.test(text)) refuse(path);
    if (path.startsWith("~/") || !path.includes("/")) {
      const file = path.startsWith("~/")
        ? join(this.#directory, "desk", path.slice(2))
        : join(this.#directory, "host", path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, this.#toPrivate("host# ", text));
      return;
    }
    if (path.startsWith("/usr/local/lib/vmmessage/")) {
      await writeFile(this.#toPrivate("host# ", path), this.#toPrivate("host# ", text), { mode: 0o755 });
      return;
    }
    // The inventory stays the lab's.
    if (path === "/etc/vmmessage/vms.json") return;
    if (path !== "/etc/vmmessage/manager.json") throw new Error(`where is ${path} in the lab?`);
    await this.#managerHere.configure(
      this.#configFrom(JSON.parse(this.#toPrivate("host# ", text)) as DocumentedConfig),
    );
  }

  async #configureBootstrap(config: object): Promise<void> {
    const directories = ["/etc/vmmessage/template.d", "/etc/template.d/scripts"];
    const own = directories.map((directory) => this.#toPrivate("guest# ", directory));
    const file = this.#toPrivate("guest# ", "/etc/vmmessage/bootstrap.json");
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, JSON.stringify({ directories: own, ...config }));
  }

  #startConfiguring(prompt: Prompt, words: string[]): void {
    const [program = "", ...before] = this.#configuringProgram(prompt);
    this.#configuring.push(spawn(program, [...before, ...words], { stdio: "ignore" }));
  }

  async #startFirstBoot(prompt: Prompt): Promise<void> {
    this.#startConfiguring(prompt, ["bootstrap"]);
    const isWaiting = async (): Promise<boolean> => {
      const { exitCode, stdout } = await this.#agentAt(prompt).run("-g", REPORT_KEY);
      return exitCode === 0 && bootstrapReport.parse(JSON.parse(stdout.toString())).state === "waiting";
    };
    await vi.waitUntil(isWaiting, { timeout: 30_000, interval: 100 });
  }

  /** `agent` for the commands that have a configuration of their own. */
  #configuringProgram(prompt: Prompt): string[] {
    const { runDirectory, stateDirectory } = this.#agentAt(prompt);
    const config = this.#toPrivate(prompt, "/etc/vmmessage/bootstrap.json");
    const places = ["--run-dir", runDirectory, "--state-dir", stateDirectory, "--config", config];
    return [process.execPath, join(dist, "agent.js"), ...places];
  }

  /** Addresses and groups are this machine's own, and the inventory is the lab's. */
  #configFrom({
    listen = [],
    sockets = [],
    console,
    messages,
    quotas,
    events,
    monitor,
    images,
  }: DocumentedConfig): object {
    const servers = this.#servers;
    return {
      messages,
      quotas,
      monitor,
      images,
      ...(servers !== undefined && {
        inventory: this.#inventory(servers),
        events: {
          ...events,
          ...(events?.mail !== undefined && { mail: { ...events.mail, ...servers.mail } }),
          targets: { allow: ["127.0.0.0/8"], http: true },
        },
      }),
      listen: listen.map((door) => ({ ...door, address: this.#address })),
      sockets: sockets.map((socket) => ({ ...socket, group: undefined })),
      console: console && { ...console, address: this.#address },
    };
  }

  #inventory({ hypervisor }: DocsServers): object {
    return { files: [join(this.#managerHere.directory, "vms.json")], libvirt: [hypervisor] };
  }

  async metricNames(): Promise<string[]> {
    const text = await this.#shell(
      "host# ",
      `curl -s --unix-socket ${this.#managerHere.socketPath} http://localhost/metrics`,
    );
    return [...text.matchAll(/^# TYPE (vmmessage_\w+)/gm)].map(([, name = ""]) => name);
  }

  get #managerHere(): ManagerUnderTest {
    if (this.#manager === undefined) throw new Error("no manager runs in the lab yet");
    return this.#manager;
  }

  async #startManager(): Promise<void> {
    const vms = Object.entries(uuids).map(([name, uuid]) => {
      return { name, uuid, socket: this.#agents[name as VmName].channelPath };
    });
    this.#manager = await ManagerUnderTest.start(vms);
    await Promise.all(runningFromTheStart.map((name) => this.#managerHere.untilLink(name, "up")));
    if (this.#servers !== undefined) await this.#untilQuiet();
  }

  /** What a guest or a hypervisor tells is an event within a second, and a person types more slowly. */
  async #untilQuiet(): Promise<void> {
    let last = "";
    await vi.waitUntil(
      async () => {
        const before = last;
        last = (await this.#managerHere.get<EventPage>("/v1/events?limit=1")).body.next;
        return last === before;
      },
      { timeout: 30_000, interval: QUIET_MS },
    );
  }

  async #virsh(action: "start" | "shutdown", name: VmName): Promise<string> {
    const agent = this.#agents[name];
    if (action === "start") await agent.start();
    else {
      await agent.kill("SIGTERM");
      // QEMU takes its socket away when it ends.
      await rm(agent.channelPath, { force: true });
    }
    await this.#untilVm(name, ({ link, pending }) => {
      return action === "start" ? link.state === "up" && pending === 0 : link.state === "off";
    });
    return action === "start" ? `Domain '${name}' started\n` : `Domain '${name}' is being shutdown\n`;
  }

  async #untilVm(name: VmName, isSo: (vm: VmSummary) => boolean): Promise<void> {
    await vi.waitUntil(async () => isSo(await this.#managerHere.vm(name)), { timeout: 30_000, interval: 50 });
  }

  async #reload(): Promise<void> {
    const before = (await this.#managerHere.logged("reloaded")).length;
    this.#managerHere.signal("SIGHUP");
    await vi.waitFor(
      async () => {
        const times = (await this.#managerHere.logged("reloaded")).length;
        if (times === before) throw new Error(`it was not reloaded: ${await this.#managerHere.log()}`);
      },
      { timeout: 30_000, interval: 50 },
    );
  }

  async #shell(prompt: Prompt, line: string): Promise<string> {
    const home = join(this.#directory, machineOf(prompt));
    const bin = await this.#programsOf(prompt);
    const own = { HOME: home, PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}`, TZ: "UTC" };
    const env = { ...Object.fromEntries(withoutOurs(process.env)), ...own };
    return new Promise((resolve) => {
      const child = execFile("sh", ["-c", `exec 2>&1\n${line}`], { cwd: home, env }, (_error, stdout) => {
        resolve(stdout);
      });
      child.stdin?.end();
    });
  }

  /** The directory of what can be called at this prompt beside the machine's own programs. */
  async #programsOf(prompt: Prompt): Promise<string> {
    const bin = join(this.#directory, `${machineOf(prompt)}-bin`);
    await mkdir(bin, { recursive: true });
    for (const [name, script] of Object.entries(await this.#scripts(prompt))) {
      await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
      await chmod(join(bin, name), 0o755);
    }
    return bin;
  }

  #scripts(prompt: Prompt): Promise<Scripts> | Scripts {
    switch (prompt) {
      case "guest# ":
      case "db1# ":
        return { agent: this.#agentScript(prompt) };
      case "host# ":
        return this.#hostScripts();
      case "desk$ ":
        return this.#deskScripts();
    }
  }

  #agentScript(prompt: Prompt): string {
    const configuring = `exec ${quoted(this.#configuringProgram(prompt))} "$@"`;
    const other = `${running("agent", "--run-dir", this.#agentAt(prompt).runDirectory)} "$@"`;
    return `case "$1" in bootstrap | config | -s) ${configuring} ;; esac\n${other}`;
  }

  #hostScripts(): Scripts {
    const manager = this.#manager;
    // Without a manager of the lab none may be found, and this machine may have one.
    if (manager === undefined) {
      return { vmmessage: `${running("vmmessage", "--socket-dir", join(this.#directory, "channels"))} "$@"`, pass };
    }
    const vmmessage = `export VMMESSAGE_MANAGER='${manager.socketPath}'\n${running("vmmessage")} "$@"`;
    return { vmmessage, vmmessaged: `${running("vmmessaged", ...manager.runArguments)} "$@"`, pass };
  }

  async #deskScripts(): Promise<Scripts> {
    const names = join(this.#directory, "names.mjs");
    await writeFile(names, resolving(HOST_NAME, this.#address));
    const { SSH_ASKPASS = "" } = this.#ssh.environment(PASSWORD);
    const askpass = `export SSH_ASKPASS='${SSH_ASKPASS}' SSH_ASKPASS_REQUIRE=force CONSOLE_TEST_PASSWORD='${PASSWORD}'`;
    const options = [...this.#ssh.options(), "-o", `HostName=${this.#address}`].join(" ");
    // The programs of this machine, not these scripts again.
    const original = `PATH='${process.env["PATH"] ?? ""}'`;
    return {
      vmmessage: `export NODE_OPTIONS='--import=${names}'\n${running("vmmessage")} "$@"`,
      curl: `${original}; exec curl --resolve ${HOST_NAME}:7443:${this.#address} "$@"`,
      ...(this.#servers !== undefined && { python3: `exec ${this.#servers.python} "$@"` }),
      ssh: `${original}; ${askpass}; exec ssh ${options} "$@"`,
      scp: `exec cp "\${1#*:}" "$2"`,
      pass,
    };
  }

  #agentAt(prompt: Prompt): AgentUnderTest {
    return this.#agents[prompt === "db1# " ? "db1" : "web1"];
  }

  #toPrivate(prompt: Prompt, text: string): string {
    return this.#paths(prompt).reduce((line, [documented, own]) => line.replaceAll(documented, own), text);
  }

  #toDocumented(prompt: Prompt, printed: string): string {
    // What a guest tells its host has the guest's paths in it.
    const paths = [...this.#paths(prompt), ...this.#guestPaths("guest# ")];
    const text = paths.reduce((line, [documented, own]) => line.replaceAll(own, documented), printed);
    return text
      .replaceAll(this.#address, "192.0.2.20")
      .replaceAll("127.0.0.1", "192.0.2.7")
      .replace(new RegExp(`(  |Host = |"host":"|, on |"//)${hostname()}(?=  |"|/|\\)|$)`, "gm"), "$1hv1");
  }

  #paths(prompt: Prompt): [documented: string, own: string][] {
    if (prompt === "guest# " || prompt === "db1# ") return this.#guestPaths(prompt);
    const manager = this.#manager;
    const servers = this.#servers?.names ?? [];
    if (manager === undefined) return servers;
    const channels = Object.entries(this.#agents).map(([name, { channelPath }]): [string, string] => {
      return [`/run/vms/${name}.sock`, channelPath];
    });
    return [
      ...servers,
      ["/var/lib/vmmessage/manager", manager.stateDirectory],
      ["/run/vmmessage", join(manager.directory, "run")],
      ["/etc/vmmessage", manager.directory],
      ...channels,
    ];
  }

  #guestPaths(prompt: "guest# " | "db1# "): [documented: string, own: string][] {
    const { directory, runDirectory, stateDirectory } = this.#agentAt(prompt);
    const configured = GUEST_DIRECTORIES.map((path): [string, string] => [path, join(directory, path)]);
    return [["/run/vmmessage", runDirectory], ["/var/lib/vmmessage", stateDirectory], ...configured];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#configuring.map(end));
    await this.#manager?.[Symbol.asyncDispose]();
    await this.#servers?.[Symbol.asyncDispose]();
    await Promise.all(Object.values(this.#agents).map((agent) => agent[Symbol.asyncDispose]()));
    await rm(this.#directory, { recursive: true, force: true });
  }
}

function loopbackAddress(): string {
  return `127.${randomInt(1, 255)}.${randomInt(0, 256)}.${randomInt(2, 255)}`;
}

function machineOf(prompt: Prompt): "host" | "guest" | "desk" {
  switch (prompt) {
    case "host# ":
      return "host";
    case "guest# ":
    case "db1# ":
      return "guest";
    case "desk$ ":
      return "desk";
  }
}

/** The line of shell that becomes one of our programs, with these words before any others. */
function running(program: string, ...words: string[]): string {
  return `exec ${quoted([process.execPath, join(dist, `${program}.js`), ...words])}`;
}

function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word}'`).join(" ");
}

function refuse(what: string): never {
  throw new Error(`this would change the machine that the tests run on: ${what}`);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}

/** What would change where our programs look. */
function withoutOurs(environment: NodeJS.ProcessEnv): [name: string, value: string | undefined][] {
  return Object.entries(environment).filter(([name]) => !/^(VMMESSAGE|XDG)_/.test(name));
}

/** A module that makes Node look up this name as that address. */
function resolving(name: string, address: string): string {
  return [
    'import dns from "node:dns";',
    "const { lookup } = dns;",
    `dns.lookup = (name, ...rest) => lookup(name === "${name}" ? "${address}" : name, ...rest);`,
    "",
  ].join("\n");
}
