import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { cachedFile } from "./cached-file.ts";
import { createCpioArchive } from "./cpio.ts";
import { modulesInLoadOrder } from "./kernel-modules.ts";
import { hashTree, type Tree } from "./tree.ts";

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

async function writeArchive(tree: Tree, target: string): Promise<void> {
  const files = [];
  for (const [path, entry] of tree) {
    if (entry.type === "directory") files.push({ path });
    if (entry.type === "text") files.push({ path, content: Buffer.from(entry.text) });
    if (entry.type === "copy") files.push({ path, content: await readFile(entry.from) });
  }
  await writeFile(target, createCpioArchive(files));
}
