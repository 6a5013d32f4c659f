import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cachedFile } from "../../../../scripts/cached-file.ts";
import { runCommand } from "../command.ts";
import { hashTree, type Tree, writeTree } from "./tree.ts";

export interface DiskOptions {
  name: string;
  tree: Tree;
  /** As mke2fs reads it, e.g. "512M"; the file is sparse. */
  size: string;
}

/** Makes a raw ext4 image of the tree, without mounting anything and without root's rights. */
export async function buildDisk({ name, tree, size }: DiskOptions): Promise<string> {
  const hash = await hashTree(tree, `ext4 ${size}`);
  return cachedFile(`${name}-${hash}.ext4`, async (target) => {
    const content = await mkdtemp(join(tmpdir(), "vmm-disk-"));
    try {
      await writeTree(tree, content);
      await runCommand("mke2fs", ["-q", "-t", "ext4", "-m", "0", "-E", "root_owner=0:0", "-d", content, target, size]);
    } finally {
      await rm(content, { recursive: true, force: true });
    }
  });
}
