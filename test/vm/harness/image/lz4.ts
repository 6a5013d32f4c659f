// Decompresses the "legacy" LZ4 frame in which Linux packs its kernel,
// see https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md and lz4_Block_format.md beside it.

const magic = 0x184c2102;
const blockBytes = 8 * 1024 * 1024;
const minimalMatch = 4;

export function isLegacyLz4(bytes: Buffer): boolean {
  return bytes.length > 4 && bytes.readUInt32LE(0) === magic;
}

/** A block is its packed length and that many bytes; each stands for 8 MiB, the last one for less. */
export function decompressLegacyLz4(bytes: Buffer): Buffer {
  const blocks: Buffer[] = [];
  for (let offset = 4; offset < bytes.length;) {
    const length = bytes.readUInt32LE(offset);
    blocks.push(decompressBlock(bytes.subarray(offset + 4, offset + 4 + length)));
    offset += 4 + length;
  }
  return Buffer.concat(blocks);
}

/** Sequences: a token with two lengths, literals, then the distance of the bytes to repeat; the last has literals only. */
function decompressBlock(input: Buffer): Buffer {
  const output = Buffer.allocUnsafe(blockBytes);
  let read = 0;
  let written = 0;
  const readLength = (nibble: number): number => {
    let length = nibble;
    for (let byte = nibble === 15 ? 255 : 0; byte === 255; length += byte) byte = input.readUInt8(read++);
    return length;
  };
  for (;;) {
    const token = input.readUInt8(read++);
    const literals = readLength(token >> 4);
    input.copy(output, written, read, read + literals);
    read += literals;
    written += literals;
    if (read >= input.length) return output.subarray(0, written);
    const distance = input.readUInt16LE(read);
    read += 2;
    const end = written + readLength(token & 15) + minimalMatch;
    // byte by byte: a match may overlap what it produces
    for (; written < end; written++) output[written] = output[written - distance] ?? 0;
  }
}
