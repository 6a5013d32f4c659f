// Makes sure that this machine has what it takes to build and boot a guest for the VM tests: some system commands, and
// the kernel and programs the guest is made of. The latter are unpacked below .cache/, never installed.
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

export type Log = (line: string) => void;

export interface GuestTools {
  /** The kernel image, e.g. `.../boot/vmlinuz-6.1.0-56-cloud-amd64`. */
  kernel: string;
  /** The directory of that kernel's modules. */
  modules: string;
  /** A static busybox. */
  busybox: string;
  /** qemu-ga, dynamically linked; `libraries` has those of its libraries that the machine may lack. */
  qemuGa: string;
  libraries: string;
}

interface Requirement {
  name: string;
  debianPackage: string;
  isPresent: () => Promise<boolean>;
}

const run = promisify(execFile);
const cache = join(import.meta.dirname, "..", ".cache");
const toolsDir = join(cache, "guest-tools");
const stampFile = join(toolsDir, "stamp.json");
const kernelPackage = "linux-image-cloud-amd64";
/** Changes when the set of unpacked packages changes: an older cache is then fetched anew. */
const recipe = "1";

const requirements: Requirement[] = [
  command("qemu-system-x86_64", "qemu-system-x86"),
  command("qemu-img", "qemu-utils"),
  command("gcc", "gcc"),
  command("strip", "binutils"),
  command("strace", "strace"),
  command("ss", "iproute2"),
  command("mke2fs", "e2fsprogs"),
  { name: "the static C library", debianPackage: "libc6-dev", isPresent: hasStaticLibc },
];

/**
 * Installs missing system packages (as root, with apt-get; otherwise the error names them) and unpacks the guest's
 * parts into .cache/guest-tools. Does next to nothing when all is there.
 */
export async function ensureGuestTools(log: Log): Promise<GuestTools> {
  if (process.arch !== "x64") throw new Error(`the VM tests need an x86-64 machine, this one is ${process.arch}`);
  addSystemDirectoriesToPath();
  await installMissingPackages(log);
  if (!(await isUnpacked())) await unpackGuestPackages(log);
  return locateTools();
}

/** mke2fs lives in a directory that an ordinary user's PATH may leave out. */
function addSystemDirectoriesToPath(): void {
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  const missing = ["/usr/sbin", "/sbin"].filter((directory) => !directories.includes(directory));
  process.env["PATH"] = [...directories, ...missing].join(delimiter);
}

async function installMissingPackages(log: Log): Promise<void> {
  const packages: string[] = [];
  for (const { debianPackage, isPresent } of requirements) if (!(await isPresent())) packages.push(debianPackage);
  if (packages.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new Error(`the VM tests need these Debian packages, please install them: ${packages.join(" ")}`);
  }
  log(`setup: apt-get install ${packages.join(" ")}`);
  await updatePackageLists(log);
  await apt(["install", "-y", "--no-install-recommends", ...packages]);
  for (const { name, debianPackage, isPresent } of requirements) {
    if (!(await isPresent())) throw new Error(`${name} is still missing after installing the package ${debianPackage}`);
  }
}

function command(name: string, debianPackage: string): Requirement {
  return { name, debianPackage, isPresent: () => isOnPath(name) };
}

async function isOnPath(name: string): Promise<boolean> {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    if (await isAccessible(join(directory, name), constants.X_OK)) return true;
  }
  return false;
}

async function isAccessible(path: string, mode = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** gcc prints the full path of a library it finds, and the bare name of one it does not. */
async function hasStaticLibc(): Promise<boolean> {
  return run("gcc", ["-print-file-name=libc.a"]).then(
    ({ stdout }) => stdout.startsWith("/"),
    () => false,
  );
}

async function isUnpacked(): Promise<boolean> {
  return readFile(stampFile, "utf8").then(
    (text) => (JSON.parse(text) as { recipe?: string }).recipe === recipe,
    () => false,
  );
}

/** Works in a private directory and renames it at the end, so that an interrupted run leaves nothing half done. */
async function unpackGuestPackages(log: Log): Promise<void> {
  const work = `${toolsDir}.${process.pid}.tmp`;
  await mkdir(work, { recursive: true });
  try {
    const packages = await withFreshLists(log, async () => {
      const wanted = await resolveGuestPackages();
      log(`setup: apt-get download ${wanted.join(" ")}`);
      await apt(["download", ...wanted], { cwd: work });
      return wanted;
    });
    for (const file of await readdir(work)) {
      if (!file.endsWith(".deb")) continue;
      await run("dpkg", ["-x", join(work, file), join(work, "root")]);
      await rm(join(work, file));
    }
    await writeFile(join(work, "stamp.json"), JSON.stringify({ recipe, packages }));
    await rm(toolsDir, { recursive: true, force: true });
    await rename(work, toolsDir);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The kernel's package is named by a metapackage; the libraries come along because the machine may not have them. */
async function resolveGuestPackages(): Promise<string[]> {
  const kernel = (await dependencies(kernelPackage)).filter((name) => name.startsWith("linux-image-"));
  if (kernel.length === 0) throw new Error(`apt-cache knows no kernel package behind ${kernelPackage}`);
  const libraries = (await dependencies("qemu-guest-agent")).filter((name) => /^lib(?!c6$)/.test(name));
  return [...kernel, "busybox-static", "qemu-guest-agent", ...libraries];
}

async function dependencies(debianPackage: string): Promise<string[]> {
  const { stdout } = await run("apt-cache", ["depends", "--important", debianPackage]);
  return [...stdout.matchAll(/^ *\|?Depends: ([^<\s]+)$/gm)].map((match) => match[1] ?? "");
}

/** A fresh machine has no package lists, and old lists name files that the mirror no longer has. */
async function withFreshLists<T>(log: Log, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    if (process.getuid?.() !== 0) throw error;
    await updatePackageLists(log);
    return task();
  }
}

let listsUpdate: Promise<void> | undefined;

function updatePackageLists(log: Log): Promise<void> {
  log("setup: apt-get update");
  listsUpdate ??= apt(["update"]);
  return listsUpdate;
}

/** The packages' files are public: no need for apt's own user, who may not write to our directories. */
async function apt(args: string[], options: { cwd?: string } = {}): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await run("apt-get", ["-q", "-o", "APT::Sandbox::User=root", ...args], { ...options, env, maxBuffer: 2 ** 26 });
}

async function locateTools(): Promise<GuestTools> {
  const root = join(toolsDir, "root");
  const image = (await readdir(join(root, "boot"))).find((name) => name.startsWith("vmlinuz-"));
  if (image === undefined) throw new Error(`no kernel in ${root}/boot; remove ${toolsDir} to have it fetched again`);
  return {
    kernel: join(root, "boot", image),
    modules: join(await firstPresent(root, "lib/modules", "usr/lib/modules"), image.slice("vmlinuz-".length)),
    busybox: await firstPresent(root, "bin/busybox", "usr/bin/busybox"),
    qemuGa: await firstPresent(root, "usr/sbin/qemu-ga", "usr/bin/qemu-ga"),
    libraries: join(root, "usr/lib/x86_64-linux-gnu"),
  };
}

/** Newer Debian releases have moved everything below /usr. */
async function firstPresent(root: string, ...paths: string[]): Promise<string> {
  for (const path of paths) {
    if (await isAccessible(join(root, path))) return join(root, path);
  }
  throw new Error(`none of ${paths.join(", ")} in ${root}; remove ${toolsDir} to have it fetched again`);
}

if (import.meta.main) console.log(await ensureGuestTools(console.error));
