import { createReadStream } from "node:fs";

/** The first bytes of a file, all of them when it has no more. Throws the system's error. */
export async function readBeginning(path: string, maxBytes: number): Promise<Buffer> {
  return Buffer.concat((await createReadStream(path, { end: maxBytes - 1 }).toArray()) as Buffer[]);
}
