/**
 * The machines of the guide to many hosts: hosta with the VM web1, hostb with db1, and mq, where the broker is. The managers,
 * the agents, `vmmessage` and RabbitMQ are real, and so are the tools of the system that are called. Each host has a name of its
 * own (a UTS namespace, for which root is needed). Stand-ins are only:
 *
 * - `virsh start|shutdown VM`, which starts or ends an agent whose socket is the VM's channel on that host, and `virsh dumpxml` and
 *   `define`, which say that a host has the VM: the inventory is a file of VMs;
 * - `systemctl start|restart vmmessaged`, which starts the manager with that inventory beside what the guide configures, and `systemctl
 *   stop vmmessaged`;
 * - `scp`, which copies from one host's files to the other's;
 * - TLS before the broker, which speaks without it here, and its name;
 * - the documented directories, which are private ones.
 */
import { execFile } from "node:child_process";
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { AgentUnderTest } from "../support/agents.ts";
import { type ListedVm, ManagerUnderTest } from "../support/managers.ts";
import type { RabbitUnderTest } from "../support/rabbitmq.ts";
import { type Lab, wordsOf } from "./guide.ts";
import { root } from "./lab.ts";

const dist = join(root, "dist");

const uuids = { web1: "6f1c2a04-5d0e-4b7a-9c31-0a8d2f6b7e11", db1: "d3b5e7c9-21f4-4c86-8a0d-97e6c4b2a113" };
type VmName = keyof typeof uuids;

type HostName = "hosta" | "hostb";

const BROKER_URL = "amqps://vmmessage@mq.example.com";
const BROKER_ADDRESS = "mq.example.com:5671";

/** Below each host's own root. */
const DIRECTORIES = ["/etc/vmmessage", "/run/vms", "/srv/vms", "/bin"];
const INVENTORY = "/run/vms/all.json";

const MANAGER_SOCKET = "/run/vmmessage/manager.sock";

const MESSAGE_ID = /\b[0-9a-f]{32}\b/g;

export class ManyHostsLab implements Lab, AsyncDisposable {
  readonly #root: string;
  readonly #rabbit: RabbitUnderTest;
  readonly #agents: Readonly<Record<VmName, AgentUnderTest>>;
  readonly #hosts: Readonly<Record<HostName, Host>>;
  /** The one that was printed last stands for the guide's. */
  #messageId = "";

  private constructor(directory: string, rabbit: RabbitUnderTest, agents: Record<VmName, AgentUnderTest>) {
    this.#root = directory;
    this.#rabbit = rabbit;
    this.#agents = agents;
    this.#hosts = { hosta: new Host("hosta", join(directory, "a")), hostb: new Host("hostb", join(directory, "b")) };
  }

  /** web1 runs on hosta and db1 on hostb; no manager does. */
  static async open(rabbit: RabbitUnderTest): Promise<ManyHostsLab> {
    const [web1, db1] = await Promise.all([AgentUnderTest.make(), AgentUnderTest.make()]);
    const lab = new ManyHostsLab(await mkdtemp(join(tmpdir(), "hosts-")), rabbit, { web1, db1 });
    const { hosta, hostb } = lab.#hosts;
    await Promise.all([hosta.make(), hostb.make()]);
    await Promise.all([hosta.define("web1"), hostb.define("db1")]);
    await Promise.all([lab.#startVm(hosta, "web1"), lab.#startVm(hostb, "db1")]);
    return lab;
  }

  /** The same file on both hosts. */
  async place(documented: string, text: string): Promise<void> {
    for (const host of Object.values(this.#hosts)) await host.place(documented, this.#toOwn(text));
  }

  async type(prompt: string, command: string): Promise<string> {
    const machine = prompt.slice(0, -2);
    const printed = await this.#typeAt(machine, command.replace(MESSAGE_ID, this.#messageId));
    this.#messageId = printed.match(MESSAGE_ID)?.at(-1) ?? this.#messageId;
    return this.#toDocumented(printed);
  }

  #typeAt(machine: string, command: string): Promise<string> {
    switch (machine) {
      case "hosta":
      case "hostb":
        return this.#typeAtHost(this.#hosts[machine], command);
      case "web1":
      case "db1":
        return this.#typeInVm(this.#agents[machine], command);
      case "mq":
        return this.#typeAtBroker(command);
      default:
        throw new Error(`there is no machine ${machine} in the lab`);
    }
  }

  async #typeAtBroker(command: string): Promise<string> {
    const [program, ...words] = await wordsOf(command);
    if (program !== "rabbitmqctl") throw new Error(`at the lab's broker is only rabbitmqctl, and not ${command}`);
    return this.#rabbit.ctl(...words);
  }

  async #typeAtHost(host: Host, command: string): Promise<string> {
    const [program, ...words] = command.split(" ");
    switch (program) {
      case "virsh":
        return this.#virsh(host, words);
      case "systemctl":
        if (words[0] !== "start") await host.stopManager();
        if (words[0] !== "stop") await host.startManager();
        return "";
      case "scp":
        await this.#copy(host, words.at(-1) ?? "");
        return "";
      default:
        return host.shell(this.#toOwn(command));
    }
  }

  async #typeInVm(agent: AgentUnderTest, command: string): Promise<string> {
    const [program, ...words] = command.split(" ");
    if (program !== "agent") throw new Error(`in a VM of the lab is only its agent, and not ${command}`);
    const { stdout, stderr } = await agent.run(...words);
    return `${stdout.toString()}${stderr}`;
  }

  async #virsh(host: Host, [action = "", ...words]: string[]): Promise<string> {
    const name = words.find((word) => !word.startsWith("--")) ?? "";
    switch (action) {
      case "start":
        await this.#startVm(host, name as VmName);
        return `Domain '${name}' started\n\n`;
      case "shutdown":
        await this.#agents[name as VmName].kill("SIGTERM");
        await host.unplug(name as VmName);
        return `Domain '${name}' is being shutdown\n\n`;
      case "define": {
        const vm = /(\w+)\.xml$/.exec(name)?.[1] ?? "";
        await host.define(vm as VmName);
        return `Domain '${vm}' defined from ${name}\n\n`;
      }
      case "dumpxml":
        return "";
      default:
        throw new Error(`the lab's virsh does not know ${action}`);
    }
  }

  async #startVm(host: Host, name: VmName): Promise<void> {
    const agent = this.#agents[name];
    await agent.start();
    await host.plugIn(name, agent.channelPath);
  }

  /** @param target `hostb:/etc/vmmessage/peers.key`: the same file there */
  async #copy(from: Host, target: string): Promise<void> {
    const [to = "", path = ""] = target.split(":");
    await copyFile(from.path(path), this.#hosts[to as HostName].path(path));
  }

  get #replacements(): (readonly [documented: string, own: string])[] {
    const own = `127.0.0.1:${this.#rabbit.port}`;
    return [
      [BROKER_URL, `amqp://vmmessage@${own}`],
      [BROKER_ADDRESS, own],
    ];
  }

  #toOwn(text: string): string {
    return this.#replacements.reduce((all, [documented, own]) => all.replaceAll(documented, own), text);
  }

  #toDocumented(printed: string): string {
    const text = this.#replacements.reduce((all, [documented, own]) => all.replaceAll(own, documented), printed);
    return Object.values(this.#hosts).reduce((all, host) => host.toDocumented(all), text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of Object.values(this.#hosts)) await host.stopManager();
    for (const agent of Object.values(this.#agents)) await agent[Symbol.asyncDispose]();
    await rm(this.#root, { recursive: true, force: true });
  }
}

/** A host's files and its manager. */
class Host {
  readonly #name: HostName;
  readonly #root: string;
  readonly #vms: ListedVm[] = [];
  #manager: ManagerUnderTest | undefined;

  constructor(name: HostName, directory: string) {
    this.#name = name;
    this.#root = directory;
  }

  async make(): Promise<void> {
    for (const directory of DIRECTORIES) await mkdir(this.path(directory), { recursive: true });
  }

  /** Where a documented file is. */
  path(documented: string): string {
    return join(this.#root, documented);
  }

  async place(documented: string, text: string): Promise<void> {
    await mkdir(dirname(this.path(documented)), { recursive: true });
    await writeFile(this.path(documented), this.#toOwn(text));
  }

  /** It has the VM from now on, switched off. */
  async define(name: VmName): Promise<void> {
    this.#vms.push({ name, uuid: uuids[name], socket: this.#channelPath(name) });
    await writeFile(this.path(INVENTORY), JSON.stringify({ vms: this.#vms }));
  }

  async plugIn(name: VmName, channelPath: string): Promise<void> {
    await symlink(channelPath, this.#channelPath(name));
  }

  async unplug(name: VmName): Promise<void> {
    await rm(this.#channelPath(name));
  }

  async startManager(): Promise<void> {
    this.#manager = await ManagerUnderTest.start([], await this.#wholeConfig(), { wrapper: this.#named });
    for (const { name } of this.#vms) await this.#manager.untilLink(name, "up");
  }

  async stopManager(): Promise<void> {
    await this.#manager?.[Symbol.asyncDispose]();
    this.#manager = undefined;
  }

  /** What a line of shell prints. */
  async shell(line: string): Promise<string> {
    await this.#writePrograms();
    const path = [this.path("/bin"), process.env["PATH"] ?? ""].join(delimiter);
    const env = { PATH: path, HOME: this.#root, LANG: "C.UTF-8", TZ: "UTC" };
    return new Promise((resolve) => {
      const child = execFile(
        "sh",
        ["-c", `exec 2>&1\n${this.#toOwn(line)}`],
        { cwd: this.#root, env },
        (_error, stdout) => {
          resolve(stdout);
        },
      );
      child.stdin?.end();
    });
  }

  toDocumented(printed: string): string {
    const text = this.#manager === undefined ? printed : printed.replaceAll(this.#manager.socketPath, MANAGER_SOCKET);
    return text.replaceAll(this.#root, "");
  }

  async #writePrograms(): Promise<void> {
    const config = this.path("/run/manager.json");
    await writeFile(config, JSON.stringify(await this.#wholeConfig().catch(() => ({}))));
    const places = ["--config", config, "--state-dir", this.path("/run/state"), "--run-dir", this.path("/run")];
    const programs = {
      vmmessage: [
        process.execPath,
        join(dist, "vmmessage.js"),
        "--manager",
        this.#manager?.socketPath ?? "/nonexistent",
      ],
      vmmessaged: [...this.#named, process.execPath, join(dist, "vmmessaged.js"), ...places],
    };
    for (const [name, words] of Object.entries(programs)) {
      const line = words.map((word) => `'${word}'`).join(" ");
      await writeFile(this.path(`/bin/${name}`), `#!/bin/sh\nexec ${line} "$@"\n`);
      await chmod(this.path(`/bin/${name}`), 0o755);
    }
  }

  /** What the guide configures, and where this host's VMs are. */
  async #wholeConfig(): Promise<object> {
    const config = JSON.parse(await readFile(this.path("/etc/vmmessage/manager.json"), "utf8")) as object;
    return { ...config, inventory: { files: [this.path(INVENTORY)] } };
  }

  /** What makes a program one of a machine with this host's name. */
  get #named(): string[] {
    return ["unshare", "--uts", "sh", "-c", `hostname ${this.#name}; exec "$0" "$@"`];
  }

  #toOwn(text: string): string {
    return DIRECTORIES.reduce((all, directory) => all.replaceAll(directory, this.path(directory)), text);
  }

  #channelPath(name: VmName): string {
    return this.path(`/run/vms/${name}.sock`);
  }
}
