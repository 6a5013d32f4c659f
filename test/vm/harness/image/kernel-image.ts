import { readFile, writeFile } from "node:fs/promises";
import { cachedFile } from "../../../../scripts/cached-file.ts";
import { decompressLegacyLz4, isLegacyLz4 } from "./lz4.ts";
import { hashTree } from "./tree.ts";

/** Offsets of the boot protocol's header, see Documentation/arch/x86/boot.rst of Linux. */
const setupSectorsOffset = 0x1f1;
const payloadOffsetOffset = 0x248;
const payloadLengthOffset = 0x24c;
const sectorBytes = 512;
/** Kbuild appends the unpacked size to the payload. */
const trailerBytes = 4;

/**
 * Unpacks the kernel inside a bzImage, which QEMU starts just as well (PVH). On an emulated processor the kernel's own
 * unpacking takes seconds, above all at a reset. A kernel packed in another way is returned as it is.
 */
export async function unpackKernel(bzImage: string): Promise<string> {
  const payload = payloadOf(await readFile(bzImage));
  if (!isLegacyLz4(payload)) return bzImage;
  const hash = await hashTree(new Map([["kernel", { type: "copy", from: bzImage }]]), "lz4");
  return cachedFile(`vmlinux-${hash}`, (target) => writeFile(target, decompressLegacyLz4(payload)));
}

function payloadOf(image: Buffer): Buffer {
  const start = (image.readUInt8(setupSectorsOffset) + 1) * sectorBytes + image.readUInt32LE(payloadOffsetOffset);
  return image.subarray(start, start + image.readUInt32LE(payloadLengthOffset) - trailerBytes);
}
