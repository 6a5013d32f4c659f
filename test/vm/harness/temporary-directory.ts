import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const directories = new Set<string>();

process.on("exit", () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** Makes a private directory with a short path (a socket's path has at most 107 bytes), gone when this process ends. */
export async function createTemporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "vmm-"));
  directories.add(directory);
  return directory;
}

export async function removeTemporaryDirectory(directory: string): Promise<void> {
  directories.delete(directory);
  await rm(directory, { recursive: true, force: true });
}
