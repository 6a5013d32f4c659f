/** Installs what a Debian system lacks, with apt-get when this is root; otherwise says what to install. */
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

export type Log = (line: string) => void;

export interface Requirement {
  name: string;
  debianPackage: string;
  isPresent: () => Promise<boolean>;
}

const run = promisify(execFile);

/** Throws when something is missing and cannot be installed; `purpose` is who needs it, in the plural. */
export async function ensureInstalled(purpose: string, requirements: readonly Requirement[], log: Log): Promise<void> {
  addSystemDirectoriesToPath();
  const packages: string[] = [];
  for (const { debianPackage, isPresent } of requirements) if (!(await isPresent())) packages.push(debianPackage);
  if (packages.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new Error(`${purpose} need these Debian packages, please install them: ${packages.join(" ")}`);
  }
  log(`setup: apt-get install ${packages.join(" ")}`);
  await updatePackageLists(log);
  await apt(["install", "-y", "--no-install-recommends", ...packages]);
  for (const { name, debianPackage, isPresent } of requirements) {
    if (!(await isPresent())) throw new Error(`${name} is still missing after installing the package ${debianPackage}`);
  }
}

/** A program that is found by its name. */
export function command(name: string, debianPackage: string): Requirement {
  return { name, debianPackage, isPresent: () => isOnPath(name) };
}

export async function isAccessible(path: string, mode = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** A fresh machine has no package lists, and old lists name files that the mirror no longer has. */
export async function withFreshLists<T>(log: Log, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    if (process.getuid?.() !== 0) throw error;
    await updatePackageLists(log);
    return task();
  }
}

/** The packages' files are public: no need for apt's own user, who may not write to our directories. */
export async function apt(args: string[], options: { cwd?: string } = {}): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await run("apt-get", ["-q", "-o", "APT::Sandbox::User=root", ...args], { ...options, env, maxBuffer: 2 ** 26 });
}

/** mke2fs and libvirtd live in a directory that an ordinary user's PATH may leave out. */
function addSystemDirectoriesToPath(): void {
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  const missing = ["/usr/sbin", "/sbin"].filter((directory) => !directories.includes(directory));
  process.env["PATH"] = [...directories, ...missing].join(delimiter);
}

async function isOnPath(name: string): Promise<boolean> {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    if (await isAccessible(join(directory, name), constants.X_OK)) return true;
  }
  return false;
}

let listsUpdate: Promise<void> | undefined;

function updatePackageLists(log: Log): Promise<void> {
  log("setup: apt-get update");
  listsUpdate ??= apt(["update"]);
  return listsUpdate;
}
