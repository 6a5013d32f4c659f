/** A small file that is replaced as a whole and survives a power cut once replaced. */
import { closeSync, fsync, openSync, renameSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { randomHex } from "../../shared/random.ts";

const TEMPORARY = ".new-";

// Only the syncs wait for the disk, so only they leave the main thread; each detour costs more than the call itself.
const sync = promisify(fsync);

export class DurableFile {
  readonly path: string;
  readonly #directory: string;

  constructor(path: string) {
    this.path = path;
    this.#directory = dirname(path);
  }

  /** The contents, or undefined when there is no file. Makes the directory, and removes what an interrupted replacement left behind. */
  async read(): Promise<string | undefined> {
    await this.makeDirectory();
    const prefix = `.${basename(this.path)}${TEMPORARY}`;
    for (const name of await readdir(this.#directory)) {
      if (name.startsWith(prefix)) await unlink(join(this.#directory, name));
    }
    return this.peek();
  }

  /** The contents, or undefined when there is no file. Touches nothing: another program may be about to replace it. */
  async peek(): Promise<string | undefined> {
    try {
      return await readFile(this.path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  async makeDirectory(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
  }

  /**
   * Settles when the new contents will survive a power cut: the data is synced before the rename, and the directory after
   * it. Rejects, the old contents in place, when the disk is full or broken.
   */
  async replace(contents: string): Promise<void> {
    const name = `.${basename(this.path)}${TEMPORARY}${randomHex(4)}`;
    const temporary = join(this.#directory, name);
    try {
      await writeSynced(temporary, contents);
      renameSync(temporary, this.path);
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw error;
    }
    await syncDirectory(this.#directory);
  }

  /** Moves the file out of the way, for a person to look at. The path it has now. */
  async setAside(reason: string): Promise<string> {
    const aside = `${this.path}.${reason}-${randomHex(4)}`;
    await rename(this.path, aside);
    await syncDirectory(this.#directory);
    return aside;
  }
}

async function writeSynced(path: string, contents: string): Promise<void> {
  const file = openSync(path, "wx", 0o600);
  try {
    writeFileSync(file, contents);
    await sync(file);
  } finally {
    closeSync(file);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = openSync(path, "r");
  try {
    await sync(directory);
  } finally {
    closeSync(directory);
  }
}
