/**
 * A directory that images are put into, held open: what is allowed is looked up of the directory itself, and everything is
 * done in it, so that nobody can put another in its place meanwhile.
 */
import { constants, type StatsFs } from "node:fs";
import { type FileHandle, open, readlink, realpath, rename, rm, stat, statfs } from "node:fs/promises";
import { join, sep } from "node:path";
import { CommandError, systemCode } from "../../shared/cli/failure.ts";

export class ImageDirectory implements AsyncDisposable {
  readonly #handle: FileHandle;
  /** Without symbolic links. */
  readonly path: string;

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.path = path;
  }

  /** Rejects with CommandError: `failed` when it is not there, `not-permitted` when it is none of those allowed, nor below. */
  static async open(path: string, allowed: readonly string[]): Promise<ImageDirectory> {
    const handle = await openDirectory(path);
    try {
      const real = await readlink(`/proc/self/fd/${handle.fd}`);
      if (!(await isAllowed(real, allowed))) throw notAllowed(path, real, allowed);
      return new ImageDirectory(handle, real);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** A new file for its owner alone. Rejects with CommandError where nothing may be written. */
  async create(name: string): Promise<FileHandle> {
    try {
      return await open(this.#at(name), "wx+", 0o600);
    } catch (error) {
      if (systemCode(error) !== "EROFS") throw error;
      const hint = "is it in ReadWritePaths= of the manager's unit? see docs/manager.md, As a service";
      throw new CommandError("failed", `${this.path} is read-only for the manager; ${hint}`, {}, { cause: error });
    }
  }

  /** What is at `to` is replaced. Durable when it settles. */
  async rename(from: string, to: string): Promise<void> {
    await rename(this.#at(from), this.#at(to));
    await this.#handle.sync();
  }

  /** Nothing happens when it is not there. */
  async remove(name: string): Promise<void> {
    await rm(this.#at(name), { force: true });
  }

  async has(name: string): Promise<boolean> {
    return stat(this.#at(name)).then(
      () => true,
      () => false,
    );
  }

  /** For who is not root, in bytes. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize }: StatsFs = await statfs(this.#at("."));
    return bavail * bsize;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }

  #at(name: string): string {
    return join(`/proc/self/fd/${this.#handle.fd}`, name);
  }
}

async function openDirectory(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    const code = systemCode(error);
    const problem = code === "ENOENT" ? "does not exist" : code === "ENOTDIR" ? "is no directory" : "cannot be opened";
    throw new CommandError("failed", `${path} ${problem} (${code ?? "unknown"})`, {}, { cause: error });
  }
}

async function isAllowed(path: string, allowed: readonly string[]): Promise<boolean> {
  for (const directory of allowed) {
    const real = await realpath(directory).catch(() => undefined);
    if (real !== undefined && (path === real || path.startsWith(real.endsWith(sep) ? real : real + sep))) return true;
  }
  return false;
}

function notAllowed(path: string, real: string, allowed: readonly string[]): CommandError {
  const meant = path === real ? path : `${path} (${real})`;
  const where = allowed.length === 0 ? "nowhere: images.directories is empty" : `in ${allowed.join(", ")} or below`;
  return new CommandError("not-permitted", `images may not be put into ${meant}; they may be put ${where}`);
}
