// The guest's /dev/vdb: the bundles, and the packages they load at run time. Made anew whenever the sources change.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildBundles } from "../../../../scripts/build.ts";
import { buildDisk } from "./disk-image.ts";
import { projectRoot } from "./paths.ts";
import { addDirectory, type Tree } from "./tree.ts";

/** Packages that the bundles leave out. */
const externalPackages = ["serialport"];

/** `bundleDir` holds agent.js; without it the bundles are built from the sources as they are now. */
export async function buildBundleDisk(bundleDir?: string): Promise<string> {
  if (bundleDir !== undefined) return diskOf(bundleDir);
  const outDir = await mkdtemp(join(tmpdir(), "vmm-bundle-"));
  try {
    await buildBundles({ outDir });
    return await diskOf(outDir);
  } finally {
    await rm(outDir, { recursive: true, force: true });
  }
}

async function diskOf(bundleDir: string): Promise<string> {
  const tree: Tree = new Map();
  await addDirectory(tree, bundleDir, "");
  if (!tree.has("package.json")) tree.set("package.json", { type: "text", text: '{ "type": "module" }\n' });
  for (const [name, directory] of await withDependencies(externalPackages)) {
    await addDirectory(tree, directory, join("node_modules", name), isForGuest);
  }
  return buildDisk({ name: "bundle", tree, size: "256M" });
}

/** Addons come compiled for every platform; the guest is one of them. */
function isForGuest(path: string): boolean {
  return !path.includes("prebuilds/") || /prebuilds\/linux-x64\/.*glibc/.test(path);
}

/** Package name -> directory, for the named packages and all that they need at run time. */
async function withDependencies(names: string[]): Promise<Map<string, string>> {
  const packages = new Map<string, string>();
  const waiting = [...names];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (packages.has(name)) continue;
    const directory = join(projectRoot, "node_modules", name);
    packages.set(name, directory);
    waiting.push(...(await dependenciesOf(directory)));
  }
  return packages;
}

async function dependenciesOf(directory: string): Promise<string[]> {
  const text = await readFile(join(directory, "package.json"), "utf8");
  return Object.keys((JSON.parse(text) as { dependencies?: Record<string, string> }).dependencies ?? {});
}
