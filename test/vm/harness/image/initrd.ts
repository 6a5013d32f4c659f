import { readFile, writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { cachedFile } from "../../../../scripts/cached-file.ts";
import { type ArchiveFile, createCpioArchive } from "./cpio.ts";
import { modulesInLoadOrder } from "./kernel-modules.ts";
import { defaultMode, type Entry, hashTree, type Tree } from "./tree.ts";

/** Holds init, the modules it loads, and the list that gives their order. */
export async function buildInitrd(init: string, modulesDir: string): Promise<string> {
  const modules = await modulesInLoadOrder(modulesDir);
  const list = modules.map((path) => `/${basename(path)}\n`).join("");
  const tree: Tree = new Map([
    ["root", { type: "directory" }],
    ["init", { type: "copy", from: init }],
    ["modules", { type: "text", text: list }],
  ]);
  for (const from of modules) tree.set(basename(from), { type: "copy", from });
  return cachedFile(`initrd-${await hashTree(tree, "cpio")}`, (target) => writeArchive(tree, target));
}

/**
 * The initrd with files that init copies to the root disk at its first boot, with this static busybox. No directory on
 * their paths may be a link there.
 */
export async function addFilesForRootDisk(initrd: string, files: Tree, busybox: string): Promise<string> {
  const tree: Tree = new Map([["busybox", { type: "copy", from: busybox }]]);
  for (const [path, entry] of files) {
    for (const directory of directoriesAbove(`files/${path}`)) tree.set(directory, { type: "directory" });
    tree.set(`files/${path}`, entry);
  }
  const hash = await hashTree(new Map([...tree, ["initrd", { type: "copy", from: initrd }]]), "cpio, appended");
  return cachedFile(`initrd-${hash}`, async (target) => {
    await writeArchive(tree, target);
    // the kernel unpacks all the archives that an initrd is made of
    await writeFile(target, Buffer.concat([await readFile(initrd), await readFile(target)]));
  });
}

/** The outermost first. */
function directoriesAbove(path: string): string[] {
  const parent = dirname(path);
  return parent === "." ? [] : [...directoriesAbove(parent), parent];
}

async function writeArchive(tree: Tree, target: string): Promise<void> {
  const files: ArchiveFile[] = [];
  for (const [path, entry] of tree) files.push({ path, ...(await archived(entry)) });
  await writeFile(target, createCpioArchive(files));
}

async function archived(entry: Entry): Promise<Omit<ArchiveFile, "path">> {
  switch (entry.type) {
    case "directory":
      return { type: "directory" };
    case "link":
      return { type: "link", content: Buffer.from(entry.to) };
    case "text":
      return { type: "file", mode: entry.mode ?? defaultMode, content: Buffer.from(entry.text) };
    case "copy":
      return { type: "file", mode: entry.mode ?? defaultMode, content: await readFile(entry.from) };
  }
}
