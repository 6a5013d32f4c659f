/** A file below /etc that is replaced as a whole: whoever reads it finds the old text or the new one, also after a power cut. */
import { type FileHandle, open, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { createTwoFilesPatch, FILE_HEADERS_ONLY } from "diff";
import { systemCode } from "../../../shared/cli/failure.ts";
import { ModuleError } from "../module.ts";

/** Where there was no file: everybody reads /etc/hostname and /etc/hosts. */
const NEW_FILE = { mode: 0o644, uid: 0, gid: 0 };

export interface FileChange {
  /** As a person knows it: without the root directory that a test puts before it. */
  name: string;
  path: string;
  /** Undefined where there was no file. */
  before: string | undefined;
  after: string;
}

/** Undefined where there is no file. Throws ModuleError. */
export async function readSystemFile(root: string, name: string): Promise<string | undefined> {
  try {
    return await readFile(join(root, name), "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw new ModuleError(`${name} cannot be read: ${reasonOf(error)}`, [], { cause: error });
  }
}

/** A unified diff, and nothing where nothing changes. */
export function diffOf({ name, before, after }: Omit<FileChange, "path">): string[] {
  if (before === after) return [];
  const [from, to] = [before === undefined ? "/dev/null" : name, name];
  const patch = createTwoFilesPatch(from, to, before ?? "", after, undefined, undefined, {
    headerOptions: FILE_HEADERS_ONLY,
  });
  return patch.trimEnd().split("\n");
}

/** Keeps owner, group and mode of a file that is there, and a link to it. Throws ModuleError, the old text in place. */
export async function replaceSystemFile({ name, path, before, after }: FileChange): Promise<void> {
  if (before === after) return;
  try {
    const target = before === undefined ? path : await realpath(path);
    await replaceWhole(target, after, before === undefined ? NEW_FILE : await stat(target));
  } catch (error) {
    throw new ModuleError(`${name} cannot be written: ${reasonOf(error)}`, [], { cause: error });
  }
}

type Rights = typeof NEW_FILE;

async function replaceWhole(path: string, text: string, { mode, uid, gid }: Rights): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.vmmessage-new`);
  try {
    // Left by a run that was cut off.
    await rm(temporary, { force: true });
    await using file = await open(temporary, "wx", 0o600);
    await file.writeFile(text);
    await file.chown(uid, gid);
    await file.chmod(mode & 0o7777);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await using directory: FileHandle = await open(dirname(path));
  await directory.sync();
}

function reasonOf(error: unknown): string {
  return systemCode(error) ?? String(error);
}
