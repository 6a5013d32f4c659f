/** Makes the image of a disk: whole, checked and durable under its name, or not there at all. */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { pause } from "../../shared/abort.ts";
import type { ImageFormat, ImageSave } from "../../shared/api/event-schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { bytesInWords } from "./bytes-in-words.ts";
import type { Disk } from "./disk.ts";
import type { ImageDirectory } from "./image-directory.ts";
import { convert, DiskInUseError, measure } from "./qemu-img.ts";

/** Beside what the image takes, as a part of it: others write there too. Not measured. */
const FREE_MARGIN = 0.05;

/** A QEMU that is about to end has its disks for a moment longer than its VM runs. */
const IN_USE_ATTEMPTS = 10;
const IN_USE_PAUSE_MS = 1_000;

/** What is read at once for the checksum: under a millisecond of hashing between other things. Not measured. */
const HASH_CHUNK_BYTES = 256 * 1024;

/** A file's name has at most 255 bytes. */
const MAX_NAME_LENGTH = 128;

export interface ImageOptions {
  disk: Disk;
  format: ImageFormat;
  directory: ImageDirectory;
  /** What it is called until it is whole. What is there under this name is removed. */
  temporaryName: string;
  /** What is there under this name is replaced, when the image is whole. */
  name: string;
  /** In percent. */
  onProgress: (percent: number) => void;
  signal: AbortSignal;
}

/** Rejects with CommandError, or with the signal's reason; nothing is left then. */
export async function saveImage(options: ImageOptions): Promise<NonNullable<ImageSave["image"]>> {
  const { disk, format, directory, temporaryName, name, onProgress, signal } = options;
  await directory.remove(temporaryName);
  await assertHasRoom(disk, directory, signal);
  const file = await directory.create(temporaryName);
  try {
    await whenFree(() => convert({ disk, format, target: file.fd, onProgress, signal }), signal);
    const sha256 = await digestOf(file, signal);
    const { size } = await file.stat();
    await file.sync();
    signal.throwIfAborted();
    await directory.rename(temporaryName, name);
    return { path: join(directory.path, name), format, size, sha256 };
  } catch (error) {
    await directory.remove(temporaryName);
    throw error;
  } finally {
    await file.close();
  }
}

/** `web1-20260115T120000Z.qcow2`, or with a number when there is such a file. */
export async function freeName(
  vmName: string,
  atMs: number,
  { format, directory }: Pick<ImageOptions, "format" | "directory">,
): Promise<string> {
  const time = new Date(atMs).toISOString().replace(/[-:]|\.\d+/g, "");
  const stem = `${safeFileName(vmName)}-${time}`;
  for (let number = 1; ; number += 1) {
    const name = `${stem}${number === 1 ? "" : `-${number}`}.${format}`;
    if (!(await directory.has(name))) return name;
  }
}

/** A VM's name may hold anything, a slash too. */
export function safeFileName(vmName: string): string {
  const safe = vmName.replace(/[^A-Za-z0-9._-]+/g, "_").replace(/^[.-]+/, "");
  return safe === "" ? "vm" : safe.slice(0, MAX_NAME_LENGTH);
}

async function assertHasRoom(disk: Disk, directory: ImageDirectory, signal: AbortSignal): Promise<void> {
  const needed = Math.ceil((await whenFree(() => measure(disk, signal), signal)) * (1 + FREE_MARGIN));
  const free = await directory.freeBytes();
  if (needed <= free) return;
  const message = `the image needs up to ${bytesInWords(needed)}, and ${directory.path} has ${bytesInWords(free)} free`;
  throw new CommandError("failed", message, { needed, free });
}

/** Does the work when nobody else has the disk. */
async function whenFree<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DiskInUseError) || attempt === IN_USE_ATTEMPTS) throw error;
      await pause(IN_USE_PAUSE_MS, signal);
    }
  }
}

async function digestOf(file: FileHandle, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  const chunks = file.createReadStream({ start: 0, autoClose: false, highWaterMark: HASH_CHUNK_BYTES, signal });
  for await (const chunk of chunks) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
