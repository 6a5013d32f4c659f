// A clean Debian with a database of rpm's in it. It is no RPM distribution: its C library, shell and systemd are Debian's,
// and rpm is this machine's, working on that root from outside. What rpm does in it is real: dependencies are checked, files
// unpacked, and scripts run in the root.
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { directoriesOfTheSystem } from "../../packaging/rpm/file-list.ts";
import { runCommand } from "../vm/harness/command.ts";
import { DebianRoot } from "./debian-root.ts";

/** Below the root; Debian's rpm would have it in the user's home. */
const database = "/var/lib/rpm";

const libraryDirectory = "/usr/lib/x86_64-linux-gnu";

/** What the packages name by path, where the root has it under the same one. */
const programs = ["/bin/sh", "/bin/bash", "/usr/sbin/update-alternatives"];

export class RpmRoot implements AsyncDisposable {
  readonly debian: DebianRoot;

  private constructor(debian: DebianRoot) {
    this.debian = debian;
  }

  /** Takes some seconds, and a minute more when this machine has never made a Debian. */
  static async create(): Promise<RpmRoot> {
    const root = new RpmRoot(await DebianRoot.create());
    // Where Fedora and openSUSE have it.
    await symlink("../bin/update-alternatives", root.debian.path("/usr/sbin/update-alternatives"));
    for (const path of directoriesOfTheSystem) await mkdir(root.debian.path(path), { recursive: true });
    await root.rpm("--initdb");
    await root.rpm("--install", await root.#packageOfDebian());
    return root;
  }

  /** Returns what rpm prints on its standard output; throws when it fails. */
  rpm(...args: string[]): Promise<string> {
    const { directory } = this.debian;
    // Scripts see processes of their own only; without a network, as everything else in there.
    const isolated = ["--mount", "--pid", "--net", "--fork", "--kill-child", `--mount-proc=${directory}/proc`];
    return runCommand("unshare", [...isolated, "rpm", `--root=${directory}`, "--dbpath", database, ...args]);
  }

  async install(...packages: string[]): Promise<void> {
    await this.rpm("--install", ...packages);
  }

  async upgrade(...packages: string[]): Promise<void> {
    await this.rpm("--upgrade", ...packages);
  }

  async erase(...names: string[]): Promise<void> {
    await this.rpm("--erase", ...names);
  }

  /** The paths of everything in it but what rpm, dpkg and apt write down for themselves. */
  async files(): Promise<string[]> {
    return (await this.debian.files()).filter((path) => !path.startsWith(`.${database}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.debian[Symbol.asyncDispose]();
  }

  /** Makes a package that has no files and provides what this Debian has, in the words of RPM distributions. */
  async #packageOfDebian(): Promise<string> {
    const work = this.debian.path("/tmp/packaged-debian");
    const provided = [...(await this.#librarySymbols()), "rtld(GNU_HASH)", ...programs, await this.#systemd()];
    const spec = [
      ...[
        "Name: debian",
        "Version: 1",
        "Release: 1",
        "Summary: What this root has",
        "License: none",
        "BuildArch: noarch",
      ],
      ...provided.map((name) => `Provides: ${name}`),
      ...["%description", "%{summary}.", "%files", ""],
    ];
    await mkdir(work);
    await writeFile(join(work, "debian.spec"), spec.join("\n"));
    const defines = ["--define", `_topdir ${work}`, "--define", "_rpmfilename debian.rpm"];
    await runCommand("rpmbuild", ["-bb", "--quiet", ...defines, join(work, "debian.spec")]);
    return join(work, "RPMS", "debian.rpm");
  }

  /** As "libc.so.6(GLIBC_2.28)(64bit)", by rpm's own reader of libraries. */
  async #librarySymbols(): Promise<string[]> {
    const libraries = await runCommand("find", [
      this.debian.path(libraryDirectory),
      "-maxdepth",
      "1",
      "-name",
      "*.so*",
    ]);
    const symbols = await runCommand("/usr/lib/rpm/elfdeps", ["--provides", ...libraries.trim().split("\n")]);
    return [...new Set(symbols.trim().split("\n"))];
  }

  async #systemd(): Promise<string> {
    const version = await this.debian.output("dpkg-query", "-Wf", "${Version}", "systemd");
    return `systemd = ${version.replace(/-.*/, "")}`;
  }
}
