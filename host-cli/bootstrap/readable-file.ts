/** Files that are read as they come: also pipes and terminals, which may have nothing to say for ever. */
import { close, constants, createReadStream, fstat, open } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { isatty, ReadStream } from "node:tty";
import { promisify } from "node:util";

export interface ReadableFile {
  /** Destroyed, it waits for nobody: not even a process that ends has to. */
  stream: Readable;
  /** A regular file that others than its owner may read. */
  othersMayRead: boolean;
}

/** Everybody but the owner. */
const OTHERS_MAY_READ = 0o044;

/**
 * A pipe's writer is waited for in its stream: `--secret-file KEY=<(pass show key)`. To open it without O_NONBLOCK, or to
 * read it as files are read, would hold a thread of libuv's pool, which nothing interrupts. Rejects with the system's error.
 */
export async function openReadable(path: string): Promise<ReadableFile> {
  const fd = await promisify(open)(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stat = await promisify(fstat)(fd);
    const othersMayRead = stat.isFile() && (stat.mode & OTHERS_MAY_READ) !== 0;
    if (isatty(fd)) return { stream: new ReadStream(fd), othersMayRead };
    if (stat.isFIFO()) return { stream: new Socket({ fd, readable: true, writable: false }), othersMayRead };
    return { stream: createReadStream(path, { fd }), othersMayRead };
  } catch (error) {
    await promisify(close)(fd);
    throw error;
  }
}
