// The "newc" cpio archive, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst describes it.

export interface ArchiveFile {
  /** Path inside the archive, without a leading slash. Directories come before what is in them. */
  path: string;
  type: keyof typeof typeBits;
  /** Permissions; 0755 if left out. */
  mode?: number;
  /** A file's bytes, or where a link leads to. */
  content?: Buffer;
}

const typeBits = { directory: 0o040000, file: 0o100000, link: 0o120000 };

export function createCpioArchive(files: ArchiveFile[]): Buffer {
  const entries = files.map(({ path, type, mode = 0o755, content = Buffer.alloc(0) }, index) =>
    encodeEntry(path, index + 1, typeBits[type] | mode, content),
  );
  return Buffer.concat([...entries, encodeEntry("TRAILER!!!", 0, 0, Buffer.alloc(0))]);
}

/** Magic, thirteen numbers of eight hex digits, the name with its NUL, the content; both padded to four bytes. */
function encodeEntry(path: string, inode: number, mode: number, content: Buffer): Buffer {
  const name = Buffer.from(`${path}\0`);
  const [uid, gid, links, mtime, device, checksum] = [0, 0, 1, 0, 0, 0];
  const numbers = [inode, mode, uid, gid, links, mtime, content.length, device, device, device, device];
  const header = [...numbers, name.length, checksum].map((number) => number.toString(16).padStart(8, "0")).join("");
  return Buffer.concat([pad(Buffer.concat([Buffer.from(`070701${header}`), name])), pad(content)]);
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
