/**
 * A real libvirtd in session mode, with directories of its own, as an unprivileged user: nobody when the tests are root's.
 * Its guests are real QEMUs with nothing to boot.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chown, mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { vi } from "vitest";

/** Debian's nobody and nogroup. */
const NOBODY = 65_534;

const run = promisify(execFile);

/** Names are kept short: a socket's path has at most 107 bytes. */
const FOLDERS = { XDG_RUNTIME_DIR: "r", XDG_CONFIG_HOME: "c", XDG_CACHE_HOME: "k", XDG_DATA_HOME: "d", HOME: "h" };

export const CHANNEL_XML = "<channel type='unix'><target type='virtio' name='org.vmmessage.agent.0'/></channel>";

export class LibvirtUnderTest implements AsyncDisposable {
  readonly directory: string;
  #daemon: ChildProcess | undefined;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Settles when it answers. */
  static async start(): Promise<LibvirtUnderTest> {
    const libvirt = new LibvirtUnderTest(await mkdtemp(join(tmpdir(), "lv-")));
    for (const folder of Object.values(FOLDERS)) await mkdir(join(libvirt.directory, folder), { mode: 0o700 });
    if (isRoot()) await libvirt.#giveToNobody();
    await libvirt.start();
    return libvirt;
  }

  /** For virsh's `-c`, also of another user than the daemon's. */
  get uri(): string {
    return `qemu:///session?socket=${this.#socketPath}`;
  }

  async start(): Promise<void> {
    const log = await open(join(this.directory, "libvirtd.log"), "a");
    const user = isRoot() ? [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"] : [];
    const env: NodeJS.ProcessEnv = { PATH: [process.env["PATH"] ?? "", "/usr/sbin"].join(delimiter) };
    for (const [name, folder] of Object.entries(FOLDERS)) env[name] = join(this.directory, folder);
    this.#daemon = spawn("setpriv", [...user, "--pdeathsig=KILL", "libvirtd"], {
      env,
      stdio: ["ignore", log.fd, log.fd],
    });
    await log.close();
    await vi.waitUntil(() => this.virsh("list").then(Boolean, () => false), { timeout: 20_000, interval: 50 });
  }

  /** Its guests run on. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const daemon = this.#daemon;
    if (daemon?.exitCode !== null || daemon.signalCode !== null) return;
    const ended = once(daemon, "exit");
    daemon.kill(signal);
    await ended;
  }

  /** What virsh prints, without the lines' ends around it. */
  async virsh(...args: string[]): Promise<string> {
    const { stdout } = await run("virsh", [`--connect=${this.uri}`, ...args], { env: { ...process.env, LC_ALL: "C" } });
    return stdout.trim();
  }

  /** Answers the new domain's UUID. `devices` is XML. */
  async define(name: string, { devices = CHANNEL_XML, more = "" } = {}): Promise<string> {
    const file = join(this.directory, "domain.xml");
    const escaped = name.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
    const memory = "<memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>";
    const xml = `<domain type='qemu'><name>${escaped}</name>${memory}${more}<devices>${devices}<memballoon model='none'/></devices></domain>`;
    await writeFile(file, xml);
    await this.virsh("define", `--file=${file}`);
    const listed = await this.virsh("list", "--all", "--uuid", "--name");
    const line = listed.split("\n").find((candidate) => candidate.slice(37) === name);
    if (line === undefined) throw new Error(`virsh does not list '${name}'`);
    return line.slice(0, 36);
  }

  /** Ends a guest's QEMU as a crash would. */
  async killQemu(name: string): Promise<void> {
    const pid = Number(await readFile(join(this.#runFolder, `${name}.pid`), "utf8"));
    process.kill(pid, "SIGKILL");
  }

  /** Ends all guests and the daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    const files = existsSync(this.#runFolder) ? await readdir(this.#runFolder) : [];
    for (const file of files.filter((name) => name.endsWith(".pid"))) {
      const pid = Number(await readFile(join(this.#runFolder, file), "utf8"));
      if (await this.#isOurQemu(pid)) process.kill(pid, "SIGKILL");
    }
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  get #socketPath(): string {
    return join(this.directory, FOLDERS.XDG_RUNTIME_DIR, "libvirt", "libvirt-sock");
  }

  get #runFolder(): string {
    return join(this.directory, FOLDERS.XDG_RUNTIME_DIR, "libvirt", "qemu", "run");
  }

  async #giveToNobody(): Promise<void> {
    for (const folder of ["", ...Object.values(FOLDERS)]) await chown(join(this.directory, folder), NOBODY, NOBODY);
  }

  /** A file may be left of a QEMU that has ended, and its number be another process's by now. */
  async #isOurQemu(pid: number): Promise<boolean> {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    return command.includes(this.directory);
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}
