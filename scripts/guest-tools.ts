// Makes sure that this machine has what it takes to build and boot a guest for the VM tests: some system commands, and
// the kernel and programs the guest is made of. The latter are unpacked below .cache/, never installed.
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  apt,
  command,
  ensureInstalled,
  isAccessible,
  type Log,
  type Requirement,
  withFreshLists,
} from "./system-packages.ts";

export type { Log } from "./system-packages.ts";

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
  await ensureInstalled("the VM tests", requirements, log);
  if (!(await isUnpacked())) await unpackGuestPackages(log);
  return locateTools();
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
