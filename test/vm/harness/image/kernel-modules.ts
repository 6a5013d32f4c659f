// Which of the kernel's module files a guest needs, in the order in which they must be loaded.
import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";

/**
 * ext4 asks the kernel's crypto layer for crc32c by name, so that one is in no list of dependencies. pvpanic tells QEMU of a
 * panic where the machine has its device.
 */
const wantedModules = ["virtio_pci", "virtio_console", "virtio_blk", "crc32c_generic", "ext4", "pvpanic_pci"];

/** Returns paths of .ko files, dependencies first, without what the kernel has built in. */
export async function modulesInLoadOrder(modulesDir: string): Promise<string[]> {
  const files = await findModuleFiles(modulesDir);
  const builtIn = await readBuiltIn(modulesDir);
  const ordered = new Set<string>();
  for (const name of wantedModules) if (!builtIn.has(name)) await addWithDependencies(name, files, ordered);
  return [...ordered];
}

async function readBuiltIn(modulesDir: string): Promise<Set<string>> {
  const list = await readFile(join(modulesDir, "modules.builtin"), "utf8");
  return new Set(list.split("\n").map((path) => moduleName(basename(path, ".ko"))));
}

async function findModuleFiles(modulesDir: string): Promise<Map<string, string>> {
  const entries = await readdir(modulesDir, { recursive: true });
  const modules = entries.filter((path) => path.endsWith(".ko"));
  return new Map(modules.map((path) => [moduleName(basename(path, ".ko")), join(modulesDir, path)]));
}

async function addWithDependencies(name: string, files: Map<string, string>, ordered: Set<string>): Promise<void> {
  const file = files.get(name);
  if (file === undefined) throw new Error(`the guest's kernel has no module ${name}`);
  for (const dependency of await readDependencies(file)) await addWithDependencies(dependency, files, ordered);
  ordered.add(file);
}

/** A module carries `depends=a,b` among the NUL-separated strings of its .modinfo section. */
async function readDependencies(file: string): Promise<string[]> {
  const text = (await readFile(file)).toString("latin1");
  const list = /\0depends=([^\0]*)\0/.exec(text)?.[1] ?? "";
  return list.split(",").filter(Boolean).map(moduleName);
}

/** The same module is spelled with dashes in one place and with underscores in another. */
function moduleName(name: string): string {
  return name.replaceAll("-", "_");
}
