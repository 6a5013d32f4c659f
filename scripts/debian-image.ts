// A Debian with systemd for the VM tests, made of the packages that this machine's own apt sources have.
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { cachedFile } from "./cached-file.ts";
import { command, ensureInstalled, type Log, withFreshLists } from "./system-packages.ts";

const run = promisify(execFile);

/** On top of Debian's essential packages and apt. */
const packages = [
  ...["systemd-sysv", "udev", "dbus", "libpam-systemd", "procps", "iproute2", "curl", "qemu-guest-agent"],
  // what a host configures: a service, logins, and modules that are Python programs
  ...["nginx-light", "openssh-server", "python3"],
];

const unwantedFiles = ["/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*"];

/** What the machine would leave in it: its name, its name servers, its package sources; and keys that are no secret. */
const tracesOfThisMachine = [
  ...["etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap"],
  "etc/ssh/ssh_host_*",
];

const recipe = [
  "--variant=minbase",
  `--include=${packages.join(",")}`,
  "--format=tar",
  '--aptopt=Acquire::Languages "none"',
  // a machine's sources may be frozen at a day of the past, for the same packages every time
  '--aptopt=Acquire::Check-Valid-Until "false"',
  ...unwantedFiles.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
  `--customize-hook=cd "$1" && rm -f ${tracesOfThisMachine.join(" ")}`,
];

const requirements = [command("mmdebstrap", "mmdebstrap")];

/** How a machine reaches its mirrors; everything else of apt's configuration stays outside. */
const proxySetting = /^Acquire::https?::Proxy(::\S+)? "[^"]+";$/;

/** Lines of mmdebstrap that an error quotes. */
const quotedLines = 20;

/**
 * Returns the path of a tar archive: a root file system with an empty machine-id and without SSH host keys, to be unpacked
 * with the rights of root. Made once, in one to two minutes, from what the machine's apt sources offer then; whatever is
 * missing for that is installed.
 */
export async function ensureDebianTree(log: Log): Promise<string> {
  await ensureInstalled("the VM tests with Debian", requirements, log);
  const hash = createHash("sha256").update(recipe.join("\0")).digest("hex").slice(0, 16);
  return cachedFile(`debian-tree-${hash}`, async (target) => {
    const sources = await withFreshLists(log, debianSources);
    log(`setup: mmdebstrap, from ${sources.length} sources; takes a minute or two`);
    await mmdebstrap([...recipe, ...(await proxyOptions()), "", target, ...sources], log);
  });
}

/** In sources.list(5)'s one-line form. Other vendors' sources are left out; so are those that apt has not fetched yet. */
async function debianSources(): Promise<string[]> {
  const format = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)";
  const { stdout } = await run("apt-get", [
    "indextargets",
    "--format",
    format,
    "Created-By: Packages",
    "Origin: Debian",
  ]);
  const sources = [...new Set(stdout.split("\n").filter(Boolean))];
  if (sources.length === 0) throw new Error("apt-get indextargets names no source of Debian's; see /etc/apt");
  return sources;
}

async function proxyOptions(): Promise<string[]> {
  const { stdout } = await run("apt-config", ["dump"]);
  const settings = stdout.split("\n").filter((line) => proxySetting.test(line));
  return settings.map((setting) => `--aptopt=${setting}`);
}

/** Its steps are told as they begin, in lines as "I: installing essential packages...". */
async function mmdebstrap(args: string[], log: Log): Promise<void> {
  const child = spawn("mmdebstrap", args, { stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(child, "close");
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    lines.push(line);
    if (line.startsWith("I: ")) log(`setup: mmdebstrap: ${line.slice("I: ".length)}`);
  }
  await ended;
  if (child.exitCode === 0) return;
  const last = lines.slice(-quotedLines).join("\n");
  throw new Error(`mmdebstrap ended with ${child.signalCode ?? `exit code ${child.exitCode ?? -1}`}:\n${last}`);
}

if (import.meta.main) console.log(await ensureDebianTree(console.error));
