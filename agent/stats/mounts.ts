/** Which mounted file systems there are to watch (proc_pid_mounts(5), fstab(5)). */
import { MAX_DISKS } from "../../shared/protocol/limits.ts";

/** Of a path in an answer, in UTF-16 code units. */
const MAX_PATH = 256;

/** Images that are full by nature: nothing can be written to them, and nobody is to be alarmed by that. */
const READ_ONLY_TYPES: ReadonlySet<string> = new Set(["squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs"]);

/** Mounted by whoever likes to, under whatever source they say (mount.fuse3(8), fsname). `fuseblk` is root's. */
const FUSE = /^fuse(?:\.|$)/;

interface Mount {
  source: string;
  path: string;
  type: string;
}

/**
 * The mount points to ask for their space, from the text of /proc/self/mounts: `/`, and one for each block device, the
 * shortest. What another file system is mounted over is not to be seen, and left out. So are ZFS's datasets, which are on no
 * device: each of them says of the pool only what is left and its own.
 */
export function diskPathsOf(mounts: string): string[] {
  const visible = new Map(mountsOf(mounts).map((mount): [string, Mount] => [mount.path, mount]));
  const byDevice = new Map<string, string>();
  for (const { source, path, type } of visible.values()) {
    if (!source.startsWith("/dev/") || isLeftOut(type) || path.length > MAX_PATH) continue;
    const known = byDevice.get(source);
    if (known === undefined || path.length < known.length) byDevice.set(source, path);
  }
  return [...new Set(["/", ...byDevice.values()])].slice(0, MAX_DISKS);
}

function isLeftOut(type: string): boolean {
  return READ_ONLY_TYPES.has(type) || FUSE.test(type);
}

function mountsOf(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const [source, path, type] = line.split(" ").map(unescaped);
    return source === undefined || path === undefined || type === undefined ? [] : [{ source, path, type }];
  });
}

/** Spaces, tabs, line feeds, backslashes and `#` stand there as three octal digits. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
