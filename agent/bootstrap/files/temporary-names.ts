/**
 * What lies beside a file while it is replaced. The names say whose they are, so that a run finds what one that was
 * interrupted left behind. They begin with a dot and end in no suffix: what reads a directory of configuration files leaves
 * them out.
 */
import { createHash } from "node:crypto";
import { randomHex } from "../../../shared/random.ts";

/**
 * `new`: contents on their way. `old`: the file that was there. `none`: an empty one, which says that none was. The last two
 * name the inode of the new file: that is how far an interrupted run is known to have come.
 */
export type Leftover = { type: "new"; name: string } | { type: "old" | "none"; name: string; newInode: string };

const LEFTOVER = /^\.vmmessage-(new|old|none)-[0-9a-f]{16}-[0-9a-f]{32}(?:-(\d+))?$/;

export function newName(fileName: string): string {
  return `.vmmessage-new-${digestOf(fileName)}-${randomHex(16)}`;
}

export function pastName(type: "old" | "none", fileName: string, newInode: string): string {
  return `.vmmessage-${type}-${digestOf(fileName)}-${randomHex(16)}-${newInode}`;
}

/** What of a directory's entries is left of the file's interrupted replacements. */
export function leftoversOf(fileName: string, entries: readonly string[]): Leftover[] {
  return entries.flatMap((name): Leftover[] => {
    const [, type, newInode] = LEFTOVER.exec(name) ?? [];
    if (type === undefined || !name.includes(`-${digestOf(fileName)}-`)) return [];
    if (type === "new") return [{ type, name }];
    return newInode === undefined ? [] : [{ type: type === "old" ? "old" : "none", name, newInode }];
  });
}

/** In place of the name itself, which may be as long as a name can be. */
function digestOf(fileName: string): string {
  return createHash("sha256").update(fileName).digest("hex").slice(0, 16);
}
