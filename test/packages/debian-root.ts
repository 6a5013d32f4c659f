// A clean Debian in a private directory, to install packages into, without a network and without a running systemd.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { constants } from "node:fs";
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ensureDebianTree } from "../../scripts/debian-image.ts";
import { runCommand } from "../vm/harness/command.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../vm/harness/temporary-directory.ts";

export interface Outcome {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/**
 * The program sees this root alone, with a /proc of its own and no network, and whatever it starts ends with it: the kernel
 * takes away the namespaces' mounts and processes (unshare(1)).
 */
const isolated = ["--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"];

const environment = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" };

/** mmdebstrap's: it would leave out our manual pages and documents. */
const leaveOutDocuments = "etc/dpkg/dpkg.cfg.d/99mmdebstrap";

const transferDirectory = "mnt/packages";

/** What dpkg and apt write down for themselves, in find(1)'s paths. */
const bookkeeping = ["./var/lib/dpkg", "./var/lib/apt", "./var/cache/apt", "./var/log", "./proc", "./tmp"];

export class DebianRoot implements AsyncDisposable {
  readonly directory: string;
  readonly #daemons = new Set<ChildProcess>();

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Takes some seconds, and a minute more when this machine has never made a Debian. */
  static async create(): Promise<DebianRoot> {
    if (process.getuid?.() !== 0) throw new Error("a Debian to install into is unpacked and entered by root only");
    const tree = await ensureDebianTree(console.error);
    const root = new DebianRoot(await createTemporaryDirectory());
    await runCommand("tar", ["-x", "-f", tree, "-C", root.directory, "--numeric-owner"]);
    await rm(root.path(leaveOutDocuments));
    return root;
  }

  /** Where this machine has the file that is called `name` in there. */
  path(name: string): string {
    return join(this.directory, name);
  }

  async write(name: string, text: string, mode = 0o644): Promise<void> {
    await mkdir(dirname(this.path(name)), { recursive: true });
    // What is there may be a link to this machine's own files, or be running.
    await rm(this.path(name), { force: true });
    await writeFile(this.path(name), text, { mode });
  }

  /** Runs a program to its end, whatever that is. */
  run(program: string, ...args: string[]): Promise<Outcome> {
    return new Promise((resolve) => {
      execFile("unshare", this.#words(program, args), { env: environment }, (error, stdout, stderr) => {
        resolve({ exitCode: error === null ? 0 : Number(error.code), stdout, stderr });
      });
    });
  }

  /** Returns what the program prints; throws when it fails. */
  async output(program: string, ...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(program, ...args);
    if (exitCode === 0) return stdout;
    throw new Error(`${[program, ...args].join(" ")} ended with exit code ${exitCode}:\n${stdout}${stderr}`);
  }

  /** Starts a daemon, for {@link stop} or the end of this root to stop. */
  start(program: string, ...args: string[]): ChildProcess {
    const daemon = spawn("unshare", this.#words(program, args), { env: environment, stdio: "ignore" });
    this.#daemons.add(daemon);
    return daemon;
  }

  /** As a power cut would. */
  async stop(daemon: ChildProcess): Promise<void> {
    this.#daemons.delete(daemon);
    if (daemon.exitCode !== null || daemon.signalCode !== null) return;
    const { promise: ended, resolve } = Promise.withResolvers<unknown>();
    daemon.once("exit", resolve);
    daemon.kill("SIGKILL");
    await ended;
  }

  /** Installs or upgrades to packages of this machine, with apt-get and without any source; returns what that said. */
  async install(...packages: string[]): Promise<string> {
    await mkdir(this.path(transferDirectory), { recursive: true });
    const names = packages.map((path) => `/${transferDirectory}/${basename(path)}`);
    for (const path of packages) {
      await copyFile(path, this.path(join(transferDirectory, basename(path))), constants.COPYFILE_FICLONE);
    }
    try {
      return await this.output("apt-get", "-qy", "-o", "APT::Sandbox::User=root", "install", ...names);
    } finally {
      await rm(this.path(transferDirectory), { recursive: true });
    }
  }

  async remove(...names: string[]): Promise<void> {
    await this.output("dpkg", "--remove", ...names);
  }

  async purge(...names: string[]): Promise<void> {
    await this.output("dpkg", "--purge", ...names);
  }

  /** The paths of everything in it but what dpkg and apt write down for themselves. */
  async files(): Promise<string[]> {
    const without = bookkeeping.flatMap((path) => ["-path", path, "-prune", "-o"]);
    return (await this.output("find", ".", ...without, "-print")).trim().split("\n").sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.#daemons) await this.stop(daemon);
    await removeTemporaryDirectory(this.directory);
  }

  #words(program: string, args: readonly string[]): string[] {
    return [...isolated, `--root=${this.directory}`, "--wd=/", program, ...args];
  }
}
