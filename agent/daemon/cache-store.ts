/** The durable cache: the file, its secrets, and the epochs of this machine. */
import { Cache, type Entry } from "../../shared/protocol/cache.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import { newNonce } from "../../shared/random.ts";
import type { Machine } from "../machine.ts";
import { type CacheFile, formatCacheFile, parseCacheFile } from "./cache-file.ts";
import { DurableFile } from "./durable-file.ts";
import { DurableState } from "./durable-state.ts";
import type { Secrets } from "./secrets.ts";

export interface CacheStoreOptions {
  path: string;
  limitBytes: number;
  machine: Machine;
  secrets: Secrets;
}

/** What was found at the start that somebody should hear of. */
export interface LoadReport {
  /** The UUID of the machine this one was cloned from: its cache was set aside. */
  clonedFrom?: string;
  /** Where a cache lies that could not be read or is not this machine's. */
  setAside?: string;
  /** Secrets whose values did not survive the boot. */
  lostSecrets: string[];
}

export class CacheStore {
  readonly report: LoadReport;
  readonly #state: DurableState<Cache>;
  readonly #secrets: Secrets;

  private constructor(state: DurableState<Cache>, secrets: Secrets, report: LoadReport) {
    this.#state = state;
    this.#secrets = secrets;
    this.report = report;
  }

  static async open({ path, limitBytes, machine, secrets }: CacheStoreOptions): Promise<CacheStore> {
    const file = new DurableFile(path);
    const { contents, ...report } = await load(file, machine, secrets);
    const cache = new Cache({ epoch: newNonce(), limit: limitBytes, ...(contents && { contents }) });
    const state = new DurableState<Cache>(cache, async (next) => {
      secrets.keep(state.current, next);
      await file.replace(formatCacheFile(next, machine));
    });
    return new CacheStore(state, secrets, report);
  }

  /** What is on disk; to be read only. */
  get cache(): Cache {
    return this.#state.current;
  }

  onCommitted(listener: () => void): void {
    this.#state.onCommitted(() => {
      this.#secrets.keep(this.cache);
      listener();
    });
  }

  /** Settles when the change will survive; a RequestError of `work`, or of the disk, means that nothing was changed. */
  async change<R>(work: (cache: Cache) => R): Promise<R> {
    try {
      return await this.#state.change((latest) => {
        const state = latest.clone();
        return { result: work(state), state };
      });
    } catch (error) {
      if (error instanceof RequestError) throw error;
      throw new RequestError("failed", `${(error as Error).message}; nothing was changed`, {}, { cause: error });
    }
  }

  /** A reader's mark, which reaches the disk with the next change. */
  markRead(key: string): boolean {
    let isFirst = false;
    this.#state.adjust((cache) => {
      isFirst = cache.markRead(key);
      return cache;
    });
    return isFirst;
  }

  renewEpoch(): void {
    const epoch = newNonce();
    this.#state.adjust((cache) => cache.clone(epoch));
  }
}

async function load(
  file: DurableFile,
  machine: Machine,
  secrets: Secrets,
): Promise<LoadReport & { contents?: CacheFile["contents"] }> {
  const text = await file.read();
  if (text === undefined) return { lostSecrets: [] };
  let read: CacheFile;
  try {
    read = parseCacheFile(text, machine, (key, revision) => secrets.find(key, revision));
  } catch {
    return { setAside: await file.setAside("unreadable"), lostSecrets: [] };
  }
  if (read.uuid !== null && machine.uuid !== null && read.uuid !== machine.uuid) {
    return { clonedFrom: read.uuid, setAside: await file.setAside("cloned"), lostSecrets: [] };
  }
  const lostSecrets = read.isFromThisBoot ? [] : read.contents.entries.filter(isLost).map(({ key }) => key);
  return { contents: read.contents, lostSecrets };
}

function isLost(entry: Entry): boolean {
  return entry.value === null;
}
