/**
 * Values of secrets. They are kept where no disk sees them: in a file on a tmpfs, which survives the agent and not a boot,
 * or in memory alone where the run directory is no tmpfs.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod/mini";
import type { Cache, Entry } from "../../shared/protocol/cache.ts";
import { fromWireValue, toWireValue, type Value } from "../../shared/protocol/value.ts";

const TMPFS_MAGIC = 0x01021994;
const RAMFS_MAGIC = 0x858458f6;

const secretsFile = z.array(
  z.object({ key: z.string(), revision: z.int(), value: z.optional(z.string()), base64: z.optional(z.string()) }),
);

export class Secrets {
  readonly #directory: string;
  readonly #path: string;
  readonly #isOnDisk: boolean;
  /** By key and revision: while a change is under way, the old value and the new one. */
  #values = new Map<string, { key: string; revision: number; value: Value }>();

  constructor(runDirectory: string) {
    this.#directory = join(runDirectory, "secrets");
    this.#path = join(this.#directory, "values.json");
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    chmodSync(this.#directory, 0o700);
    const { type } = statfsSync(this.#directory);
    this.#isOnDisk = type !== TMPFS_MAGIC && type !== RAMFS_MAGIC;
    if (!this.#isOnDisk) this.#load();
  }

  /** Undefined when the value did not survive. */
  find(key: string, revision: number): Value | undefined {
    return this.#values.get(nameOf(key, revision))?.value;
  }

  /** Keeps the secrets of these caches and forgets all others. */
  keep(...caches: Cache[]): void {
    const kept = new Map(caches.flatMap((cache) => [...cache.entries()].filter(isKept).map(toSecret)));
    const isSame = kept.size === this.#values.size && [...kept.keys()].every((name) => this.#values.has(name));
    if (isSame) return;
    if (!this.#isOnDisk) this.#save([...kept.values()]);
    this.#values = kept;
  }

  #load(): void {
    try {
      for (const { key, revision, ...wire } of secretsFile.parse(JSON.parse(readFileSync(this.#path, "utf8")))) {
        this.#values.set(nameOf(key, revision), { key, revision, value: fromWireValue(wire) });
      }
    } catch {
      // None yet, or an agent killed while writing the very first: no secret was acknowledged then.
    }
  }

  #save(secrets: { key: string; revision: number; value: Value }[]): void {
    const temporary = `${this.#path}.new`;
    const records = secrets.map(({ key, revision, value }) => ({ key, revision, ...toWireValue(value) }));
    writeFileSync(temporary, JSON.stringify(records), { mode: 0o600 });
    renameSync(temporary, this.#path);
  }
}

function isKept(entry: Entry): entry is Entry & { value: Value } {
  return entry.secret === true && entry.value !== null;
}

function toSecret({
  key,
  revision,
  value,
}: Entry & { value: Value }): [string, { key: string; revision: number; value: Value }] {
  return [nameOf(key, revision), { key, revision, value }];
}

function nameOf(key: string, revision: number): string {
  return `${revision}:${key}`;
}
