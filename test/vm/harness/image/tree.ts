// A file tree to be: what goes where in a disk image, known before anything is copied so that it can be hashed.
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, copyFile, mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

export type Entry =
  | { type: "copy"; from: string; mode?: number }
  | { type: "text"; text: string | Buffer; mode?: number }
  | { type: "link"; to: string }
  | { type: "directory" };

/** Paths in the image, without a leading slash. */
export type Tree = Map<string, Entry>;

/** Adds the files below `from`, except those that `accepts` turns down, at `to`. */
export async function addDirectory(
  tree: Tree,
  from: string,
  to: string,
  accepts: (path: string) => boolean = () => true,
): Promise<void> {
  for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
    const source = join(entry.parentPath, entry.name);
    const path = source.slice(from.length + 1);
    if (entry.isFile() && accepts(path)) tree.set(join(to, path), { type: "copy", from: source });
  }
}

/** A hash of every path and every byte; `recipe` stands for the way the tree is turned into an image. */
export async function hashTree(tree: Tree, recipe: string): Promise<string> {
  const hash = createHash("sha256").update(recipe);
  for (const path of [...tree.keys()].sort()) {
    const entry = tree.get(path);
    if (entry === undefined) continue;
    hash.update(`\0${path}\0${entry.type}\0`);
    await hashNode(hash, entry);
  }
  return hash.digest("hex").slice(0, 16);
}

async function hashNode(hash: Hash, entry: Entry): Promise<void> {
  if (entry.type === "copy") for await (const chunk of createReadStream(entry.from)) hash.update(chunk as Buffer);
  if (entry.type === "text") hash.update(entry.text);
  if (entry.type === "link") hash.update(entry.to);
  if ("mode" in entry) hash.update(`\0${entry.mode}`);
}

/** A guest for tests seldom has use for finer modes. */
export const defaultMode = 0o755;

/** Creates the tree below `root`, in place of what is there: a link there leads to this machine's own files. */
export async function writeTree(tree: Tree, root: string): Promise<void> {
  for (const [path, entry] of tree) {
    const target = join(root, path);
    await mkdir(entry.type === "directory" ? target : dirname(target), { recursive: true });
    if (entry.type !== "directory") await rm(target, { force: true });
    if (entry.type === "copy") await copyFile(entry.from, target);
    if (entry.type === "text") await writeFile(target, entry.text);
    if (entry.type === "link") await symlink(entry.to, target);
    if (entry.type === "copy" || entry.type === "text") await chmod(target, entry.mode ?? defaultMode);
  }
}
