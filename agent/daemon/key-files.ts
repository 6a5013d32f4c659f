/**
 * Every key as a file, for programs that can read one: /run/vmmessage/keys/NAME holds the value's bytes and no newline.
 * A file is replaced by a rename; `.revision` is replaced last, so that whoever reads it finds all keys at least that new.
 */
import { chmodSync, chownSync, mkdirSync, readdirSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Cache, Entry } from "../../shared/protocol/cache.ts";
import { valueBytes } from "../../shared/protocol/value.ts";

const REVISION_FILE = ".revision";
const TEMPORARY_FILE = ".new";
/** Linux's NAME_MAX. */
const MAX_FILE_NAME = 255;

/** Who may read the files of the keys with a prefix; the longest prefix that fits counts. */
export interface FileRights {
  prefix: string;
  mode: number;
  uid?: number | undefined;
  gid?: number | undefined;
}

const ROOT_ONLY: FileRights = { prefix: "", mode: 0o600 };
const SECRET_MODE = 0o400;

/** The name of a key's file: `/`, `%` and a leading dot percent-encoded. Undefined when it would be too long. */
export function fileNameOf(key: string): string | undefined {
  const name = key.replace(/[%/]|^\./g, (character) => encodeByte(character.charCodeAt(0)));
  return Buffer.byteLength(name) <= MAX_FILE_NAME ? name : undefined;
}

function encodeByte(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

export class KeyFiles {
  readonly #directory: string;
  readonly #rights: readonly FileRights[];
  /** What lies there now: the revision that each file shows. */
  readonly #projected = new Map<string, number>();
  readonly #problems = new Map<string, string>();

  constructor(directory: string, rights: readonly FileRights[]) {
    this.#directory = directory;
    this.#rights = [...rights].sort((a, b) => b.prefix.length - a.prefix.length);
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    // Left by an agent that is no more: keys that went since then would stay for ever.
    for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
  }

  /** Keys without a file, and why. */
  get problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** Makes the files show this cache. A file that cannot be written is a problem to be told, not a reason to fail. */
  project(cache: Cache): void {
    this.#problems.clear();
    for (const key of this.#projected.keys()) {
      if (cache.find(key) === undefined) this.#remove(key);
    }
    for (const entry of cache.entries()) {
      if (this.#projected.get(entry.key) !== entry.revision) this.#show(entry);
    }
    this.#attempt(REVISION_FILE, () => {
      this.#replace(REVISION_FILE, Buffer.from(String(cache.cursor.revision)), { ...ROOT_ONLY, mode: 0o644 });
    });
  }

  #show(entry: Entry): void {
    const { key, value } = entry;
    const name = fileNameOf(key);
    if (name === undefined) this.#problems.set(key, "the key is too long for a file's name");
    if (name === undefined || value === null) return;
    this.#attempt(key, () => {
      this.#replace(name, valueBytes(value), this.#rightsOf(entry));
      this.#projected.set(key, entry.revision);
    });
  }

  #rightsOf({ key, secret }: Entry): FileRights {
    const rights = this.#rights.find(({ prefix }) => key.startsWith(prefix)) ?? ROOT_ONLY;
    return secret ? { ...rights, mode: SECRET_MODE } : rights;
  }

  #replace(name: string, bytes: Uint8Array, { mode, uid, gid }: FileRights): void {
    const temporary = join(this.#directory, TEMPORARY_FILE);
    rmSync(temporary, { force: true });
    // Born without rights for others; whoever may read it gets to when it is whole.
    writeFileSync(temporary, bytes, { mode: mode & 0o700, flag: "wx" });
    if (uid !== undefined || gid !== undefined) {
      chownSync(temporary, uid ?? process.getuid?.() ?? 0, gid ?? process.getgid?.() ?? 0);
    }
    chmodSync(temporary, mode);
    renameSync(temporary, join(this.#directory, name));
  }

  #remove(key: string): void {
    const name = fileNameOf(key);
    this.#projected.delete(key);
    if (name !== undefined)
      this.#attempt(key, () => {
        unlinkSync(join(this.#directory, name));
      });
  }

  #attempt(key: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#problems.set(key, (error as Error).message);
    }
  }
}
