/**
 * Files that are replaced together. All new contents are on the disk, and all old files have a second name, before the first
 * one is replaced: a full disk fails while nothing is changed yet, and going back needs no room.
 */
import { rmdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { systemCode } from "../../../shared/cli/failure.ts";
import { ModuleError } from "../module.ts";
import { stopReason } from "../run-program.ts";
import { type MadeDirectory, type OpenDirectory, openDirectory, openOrMakeDirectory } from "./open-directory.ts";
import {
  contentOf,
  isAsRendered,
  presentEntry,
  type PresentEntry,
  recover,
  type RenderedFile,
  Replacement,
} from "./replacement.ts";

const NOTHING = Buffer.alloc(0);

/** A file that would change. */
export interface FileChange {
  file: RenderedFile;
  present: PresentEntry;
  /** Of a file; empty where there is none, or a link. */
  presentContent: Buffer;
}

export class RenderedFiles {
  readonly #files: readonly RenderedFile[];

  constructor(files: readonly RenderedFile[]) {
    this.#files = files;
  }

  /** Changes nothing. Throws ModuleError where a file could not be put. */
  changes(): FileChange[] {
    return this.#files.flatMap((file) => {
      try {
        return changeOf(file) ?? [];
      } catch (error) {
        throw ofFile(file, error);
      }
    });
  }

  /**
   * Replaces what differs in contents, mode, owner or group. What an interrupted run left of the same files is gone back to
   * first. Throws ModuleError, every file as it was; also when the signal is aborted in the middle.
   */
  async apply(signal: AbortSignal): Promise<AppliedFiles> {
    const applied = new AppliedFiles();
    try {
      for (const file of this.#files) await applied.prepare(file, signal);
      await applied.place(signal);
      return applied;
    } catch (error) {
      const outcome = await applied.rollBack();
      throw new ModuleError(`${(error as Error).message}; ${outcome}`, [], { cause: error });
    }
  }
}

/** Files in their new state, which can go back until they are kept. Going back or keeping again does nothing. */
export class AppliedFiles {
  /** The paths of those that were replaced. */
  readonly changed: string[] = [];
  readonly #replacements: Replacement[] = [];
  readonly #directories = new Set<OpenDirectory>();
  readonly #made: MadeDirectory[] = [];

  /** Brings a file's new contents beside it. Nothing where it is as it is to be. */
  async prepare(file: RenderedFile, signal: AbortSignal): Promise<void> {
    refuseWhenAborted(signal);
    try {
      await this.#prepare(file);
    } catch (error) {
      throw ofFile(file, error);
    }
  }

  async #prepare(file: RenderedFile): Promise<void> {
    const name = basename(file.path);
    const directory = this.#open(dirname(file.path));
    recover(directory, name);
    const present = presentEntry(directory, name);
    if (isAsRendered(present, directory, name, file)) return;
    const replacement = new Replacement(file, directory, name);
    this.#replacements.push(replacement);
    await replacement.write();
    replacement.keepOld(present);
  }

  async place(signal: AbortSignal): Promise<void> {
    await this.#sync();
    refuseWhenAborted(signal);
    for (const replacement of this.#replacements) {
      try {
        replacement.place();
      } catch (error) {
        throw ofFile(replacement.file, error);
      }
      this.changed.push(replacement.file.path);
    }
    await this.#sync();
  }

  /**
   * All that was replaced is as it was, byte for byte, and what was not there is gone. Says so, or what could not be put back.
   */
  async rollBack(): Promise<string> {
    const problems: string[] = [];
    for (const replacement of this.#replacements.splice(0).reverse()) {
      try {
        replacement.putBack();
        replacement.clear();
      } catch (error) {
        problems.push(`${replacement.file.path} could not be put back: ${inWords(error)}`);
      }
    }
    for (const { parent, name } of this.#made.splice(0).reverse()) removeUnused(parent, name);
    await this.#sync().catch((error: unknown) => problems.push(`it may not survive a power cut: ${inWords(error)}`));
    this.#close();
    return problems.length === 0 ? "the files are as they were" : problems.join("; ");
  }

  /** Removes the old files. Throws ModuleError where one cannot be removed; the new ones are in place all the same. */
  async keep(): Promise<void> {
    try {
      for (const replacement of this.#replacements.splice(0)) replacement.clear();
      await this.#sync();
    } catch (error) {
      throw new ModuleError(`the old files could not be removed: ${inWords(error)}`, [], { cause: error });
    } finally {
      this.#close();
    }
  }

  /** Known before it is complete: what was made is removed however far that came. */
  #open(path: string): OpenDirectory {
    const made: MadeDirectory[] = [];
    try {
      const directory = openOrMakeDirectory(path, made);
      this.#directories.add(directory);
      return directory;
    } finally {
      this.#made.push(...made);
      for (const { parent } of made) this.#directories.add(parent);
    }
  }

  async #sync(): Promise<void> {
    for (const directory of this.#directories) await directory.sync();
  }

  #close(): void {
    for (const directory of this.#directories) directory.close();
    this.#directories.clear();
  }
}

function changeOf(file: RenderedFile): FileChange | undefined {
  const name = basename(file.path);
  const directory = openDirectory(dirname(file.path));
  if (directory === undefined) return { file, present: { type: "none" }, presentContent: NOTHING };
  try {
    const present = presentEntry(directory, name);
    if (isAsRendered(present, directory, name, file)) return undefined;
    return { file, present, presentContent: present.type === "file" ? contentOf(directory, name) : NOTHING };
  } finally {
    directory.close();
  }
}

/** A directory that was made holds by now perhaps what others put into it, and then stays. */
function removeUnused(parent: OpenDirectory, name: string): void {
  try {
    rmdirSync(parent.at(name));
  } catch {
    // Empty or not, it does no harm.
  }
}

function refuseWhenAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new ModuleError(stopReason(signal));
}

function ofFile({ path }: RenderedFile, error: unknown): ModuleError {
  return new ModuleError(`${path}: ${inWords(error)}`, [], { cause: error });
}

/** The system's words, without its name of our path: `ENOSPC: no space left on device`. */
function inWords(error: unknown): string {
  const { message } = error as Error;
  return systemCode(error) === undefined ? message : message.replace(/,.*/s, "");
}
