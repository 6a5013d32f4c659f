/** The space on the mounted file systems. One that does not answer holds up neither the others nor the agent. */
import { readFile, statfs } from "node:fs/promises";
import { within } from "../../shared/abort.ts";
import type { Result } from "../../shared/protocol/message.ts";
import { diskPathsOf } from "./mounts.ts";

/** A file system answers out of memory, in microseconds. Not measured. */
const PATIENCE_MS = 200;

/** Each that hangs has one of Node's four threads, which the cache's writes need too; with so many, no more are asked. */
const MAX_HANGING = 2;

export type DiskSpace = Result<"stats">["disks"][number];

type Space = Omit<DiskSpace, "path">;

export interface DiskSpacesOptions {
  /** The text of /proc/self/mounts. */
  mounts?: () => Promise<string>;
  /** Rejects, or never settles, for a file system that is broken. */
  spaceOf?: (path: string) => Promise<Space>;
}

export class DiskSpaces {
  readonly #mounts: () => Promise<string>;
  readonly #spaceOf: (path: string) => Promise<Space>;
  /** Asked, and still to answer. */
  readonly #hanging = new Set<string>();
  /** Whoever asks meanwhile gets the same answer. */
  #reading: Promise<DiskSpace[]> | undefined;

  constructor({ mounts = readMounts, spaceOf = readSpace }: DiskSpacesOptions = {}) {
    this.#mounts = mounts;
    this.#spaceOf = spaceOf;
  }

  /** Of those file systems that answer. */
  read(): Promise<DiskSpace[]> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<DiskSpace[]> {
    const disks: DiskSpace[] = [];
    for (const path of diskPathsOf(await this.#mounts())) {
      if (this.#hanging.size >= MAX_HANGING) break;
      if (this.#hanging.has(path)) continue;
      const space = await within(PATIENCE_MS, this.#ask(path));
      // One of no size holds no files of anybody's, as df(1) has it.
      if (space !== undefined && space.totalBytes > 0) disks.push({ path, ...space });
    }
    return disks;
  }

  /** Undefined when it fails. */
  async #ask(path: string): Promise<Space | undefined> {
    this.#hanging.add(path);
    try {
      return await this.#spaceOf(path);
    } catch {
      return undefined;
    } finally {
      this.#hanging.delete(path);
    }
  }
}

function readMounts(): Promise<string> {
  return readFile("/proc/self/mounts", "utf8");
}

async function readSpace(path: string): Promise<Space> {
  const { blocks, bavail, bsize } = await statfs(path);
  return { totalBytes: blocks * bsize, availableBytes: bavail * bsize };
}
