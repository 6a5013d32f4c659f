/** One file's way to its new contents, in steps that can each be gone back. */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  type Stats,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { promisify } from "node:util";
import { systemCode } from "../../../shared/cli/failure.ts";
import { ModuleError } from "../module.ts";
import type { OpenDirectory } from "./open-directory.ts";
import { leftoversOf, newName, pastName } from "./temporary-names.ts";

export const PERMISSION_BITS = 0o7777;

/** Never through a link, and never waiting for a pipe's other end. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const NEW_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const PRIVATE_MODE = 0o600;

const sync = promisify(fsync);

/** A file as it is to be. */
export interface RenderedFile {
  /** Absolute and normal. */
  path: string;
  content: Buffer;
  uid: number;
  gid: number;
  /** Permission bits. */
  mode: number;
}

export type PresentEntry =
  | { type: "none" }
  /** It is replaced by a file; where it led to stays as it is. */
  | { type: "link" }
  | { type: "file"; stat: Stats };

/** Throws ModuleError where there is something that a file cannot take the place of. */
export function presentEntry(directory: OpenDirectory, name: string): PresentEntry {
  const stat = directory.lstat(name);
  if (stat === undefined) return { type: "none" };
  if (stat.isSymbolicLink()) return { type: "link" };
  if (stat.isFile()) return { type: "file", stat };
  throw new ModuleError(`it is ${stat.isDirectory() ? "a directory" : "a special file"}, which a file cannot replace`);
}

/** Whether the file is already as it is to be: contents, mode, owner and group. */
export function isAsRendered(entry: PresentEntry, directory: OpenDirectory, name: string, file: RenderedFile): boolean {
  if (entry.type !== "file") return false;
  const { mode, uid, gid, size } = entry.stat;
  if ((mode & PERMISSION_BITS) !== file.mode || uid !== file.uid || gid !== file.gid) return false;
  return size === file.content.length && contentOf(directory, name).equals(file.content);
}

export function contentOf(directory: OpenDirectory, name: string): Buffer {
  const descriptor = openSync(directory.at(name), READ_FLAGS);
  try {
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Goes back where a run that was interrupted left this file, unchecked; removes what it left. What was put in its place since
 * then stays.
 */
export function recover(directory: OpenDirectory, name: string): void {
  for (const leftover of leftoversOf(name, directory.entries())) {
    if (leftover.type !== "new" && leftover.newInode === directory.inodeOf(name)) {
      if (leftover.type === "old") renameSync(directory.at(leftover.name), directory.at(name));
      else remove(directory, name);
    }
    remove(directory, leftover.name);
  }
}

export class Replacement {
  readonly file: RenderedFile;
  readonly directory: OpenDirectory;
  readonly #name: string;
  /** The name under which the new file is written. */
  readonly #new: string;
  #newInode = "";
  /** The name that keeps the old file, or says that there was none. */
  #past: { type: "old" | "none"; name: string } | undefined;
  #isPlaced = false;

  constructor(file: RenderedFile, directory: OpenDirectory, name: string) {
    this.file = file;
    this.directory = directory;
    this.#name = name;
    this.#new = newName(name);
  }

  /** Beside the old file, and safe on the disk. */
  async write(): Promise<void> {
    const { content, uid, gid, mode } = this.file;
    const descriptor = openSync(this.directory.at(this.#new), NEW_FLAGS, PRIVATE_MODE);
    try {
      this.#newInode = fstatSync(descriptor, { bigint: true }).ino.toString();
      writeFileSync(descriptor, content);
      fchownSync(descriptor, uid, gid);
      fchmodSync(descriptor, mode);
      await sync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }

  /** By a second name, so that going back needs no room on the disk. */
  keepOld(entry: PresentEntry): void {
    const type = entry.type === "none" ? "none" : "old";
    const name = pastName(type, this.#name, this.#newInode);
    this.#past = { type, name };
    if (type === "old") linkSync(this.directory.at(this.#name), this.directory.at(name));
    else closeSync(openSync(this.directory.at(name), NEW_FLAGS, PRIVATE_MODE));
  }

  place(): void {
    renameSync(this.directory.at(this.#new), this.directory.at(this.#name));
    this.#isPlaced = true;
  }

  /** The old file itself, or none, as it was. Nothing where the new one was not placed. */
  putBack(): void {
    if (!this.#isPlaced || this.#past === undefined) return;
    if (this.#past.type === "old") renameSync(this.directory.at(this.#past.name), this.directory.at(this.#name));
    else remove(this.directory, this.#name);
    this.#isPlaced = false;
  }

  /** Removes what lies beside the file. */
  clear(): void {
    remove(this.directory, this.#new);
    if (this.#past !== undefined) remove(this.directory, this.#past.name);
  }
}

function remove(directory: OpenDirectory, name: string): void {
  try {
    unlinkSync(directory.at(name));
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}
