/** The machine's name: in /etc/hostname, in /etc/hosts, and in the kernel at once. */
import { existsSync } from "node:fs";
import { isIPv4 } from "node:net";
import { join } from "node:path";
import { printable } from "../../../shared/terminal-text.ts";
import { SYSTEMD } from "../configured-target.ts";
import { type ConfigModule, ModuleError } from "../module.ts";
import { BuiltinModule, type Plan } from "./builtin-module.ts";
import { hostsWith } from "./hosts-file.ts";
import { diffOf, type FileChange, readSystemFile, replaceSystemFile } from "./system-file.ts";
import { type BuiltinTools, runNeeded } from "./tools.ts";

/** Linux's HOST_NAME_MAX (sethostname(2)), less than the 253 of the domain name system. */
const MAX_HOST_NAME = 64;

/** RFC 1123, section 2.1, which lets a name begin with a digit, and RFC 952. */
const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;

const HOSTNAME_FILE = "/etc/hostname";
const HOSTS_FILE = "/etc/hosts";
const KERNEL_NAME = "/proc/sys/kernel/hostname";

export function hostnameModule(tools: BuiltinTools): ConfigModule {
  return new BuiltinModule({
    name: "hostname",
    description: "gives the machine its name",
    order: 10,
    parameter: {
      key: "org.vmmessage.hostname",
      aliases: ["com.oracle.linux.network.hostname"],
      description: "host name, with or without a domain",
      required: false,
      hidden: false,
      password: false,
      keep: false,
    },
    plan: (name, signal) => planHostname(tools, name, signal),
  });
}

/** Why a name cannot be a host's, or undefined when it can. */
export function hostNameProblem(name: string): string | undefined {
  if (name === "") return "a host name cannot be empty";
  if (name.length > MAX_HOST_NAME)
    return `a host name of ${name.length} characters is over Linux's limit of ${MAX_HOST_NAME}`;
  if (isIPv4(name)) return "an address is no host name";
  if (name.split(".").every((label) => LABEL.test(label))) return undefined;
  return "a host name is made of labels of 1 to 63 letters, digits and hyphens, with dots between them and no hyphen at a label's end";
}

async function planHostname(tools: BuiltinTools, name: string, signal: AbortSignal): Promise<Plan> {
  const problem = hostNameProblem(name);
  if (problem !== undefined) throw new ModuleError(`'${printable(name.slice(0, MAX_HOST_NAME))}': ${problem}`);
  const files = await fileChanges(tools.root, name);
  const kernelName = (await readSystemFile(tools.root, KERNEL_NAME))?.trim();
  const isNamed = kernelName === name;
  return {
    lines: [
      ...files.flatMap(diffOf),
      ...(isNamed ? [] : [`the host name becomes ${name}, now it is ${kernelName ?? "unknown"}`]),
    ],
    carryOut: async () => {
      for (const file of files) await replaceSystemFile(file);
      if (!isNamed) await nameKernel(tools, name, signal);
    },
  };
}

/** /etc/hosts first: what it loses is found by the name in /etc/hostname, also after a run that was cut off. */
async function fileChanges(root: string, name: string): Promise<FileChange[]> {
  const hosts = await readSystemFile(root, HOSTS_FILE);
  const hostname = await readSystemFile(root, HOSTNAME_FILE);
  const oldName = nameIn(hostname ?? "");
  return [
    { name: HOSTS_FILE, path: join(root, HOSTS_FILE), before: hosts, after: hostsWith(hosts ?? "", name, oldName) },
    {
      name: HOSTNAME_FILE,
      path: join(root, HOSTNAME_FILE),
      before: hostname,
      after: oldName === name ? (hostname ?? "") : `${name}\n`,
    },
  ];
}

/** hostname(5): one name, and lines that begin with `#` are comments. */
function nameIn(hostnameFile: string): string | undefined {
  return hostnameFile
    .split("\n")
    .map((line) => line.trim())
    .find((line) => line !== "" && !line.startsWith("#"));
}

/** systemd is told, so that its services know at once; without it, or without its bus, the kernel is. */
async function nameKernel(tools: BuiltinTools, name: string, signal: AbortSignal): Promise<void> {
  if (existsSync(join(tools.root, SYSTEMD))) {
    const { exit } = await tools.run({ file: "hostnamectl", args: ["set-hostname", name], signal });
    if (exit.type === "code" && exit.code === 0) return;
  }
  await runNeeded(tools, { file: "hostname", args: [name], signal });
}
