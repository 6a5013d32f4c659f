// Files that take a while to make and are named by the hash of what they are made from.
import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";

const cacheDir = join(import.meta.dirname, "..", ".cache", "guest-images");
/** Files not used for this long are other branches' and old builds'. */
const staleAfterMs = 3 * 24 * 60 * 60 * 1000;

/** Returns the path of the file `name`, made by `make` unless it is there; an interrupted `make` leaves nothing. */
export async function cachedFile(name: string, make: (target: string) => Promise<void>): Promise<string> {
  const path = join(cacheDir, name);
  if (!(await markAsUsed(path))) await makeInPrivate(path, make);
  return path;
}

async function markAsUsed(path: string): Promise<boolean> {
  const now = new Date();
  return utimes(path, now, now).then(
    () => true,
    () => false,
  );
}

async function makeInPrivate(path: string, make: (target: string) => Promise<void>): Promise<void> {
  await mkdir(cacheDir, { recursive: true });
  await removeStaleFiles();
  const workDir = await mkdtemp(join(cacheDir, "making-"));
  try {
    const target = join(workDir, "file");
    await make(target);
    await rename(target, path);
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

async function removeStaleFiles(): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    const path = join(cacheDir, name);
    const info = await stat(path).catch(() => undefined);
    if (info && Date.now() - info.mtimeMs > staleAfterMs) await rm(path, { recursive: true, force: true });
  }
}
