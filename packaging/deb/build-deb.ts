// Makes the .deb packages with Debian's own tools, out of the directory debian/ beside this file.
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Log } from "../../scripts/system-packages.ts";
import type { Release } from "../release.ts";
import { runTool } from "../../scripts/run-tool.ts";
import { debianChangelog, maintainerOf } from "./changelog.ts";

export interface DebInputs {
  /** Has a directory for each package, named after it: all its files as they will lie below `/`, manual pages uncompressed. */
  stageDir: string;
  /** Made where it is missing. */
  outDir: string;
  release: Release;
  log: Log;
}

const debianDirectory = join(import.meta.dirname, "debian");

/** Debian's own programs, whatever is installed beside them. */
const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

/** Returns the paths of the packages, in alphabetical order. The same trees and release give the same bytes. Throws what the tools say. */
export async function buildDebs({ stageDir, outDir, release, log }: DebInputs): Promise<string[]> {
  const work = await mkdtemp(join(tmpdir(), "vmmessage-deb-"));
  try {
    const source = join(work, "source");
    await prepareSource(source, stageDir, release);
    log("packages: .deb");
    await buildBinaries(source, release);
    return await copyPackages(work, outDir);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** A Debian source package as it is when unpacked. */
async function prepareSource(source: string, stageDir: string, release: Release): Promise<void> {
  const debian = join(source, "debian");
  await cp(debianDirectory, debian, { recursive: true });
  const maintainer = maintainerOf(await readFile(join(debian, "control"), "utf8"));
  await writeFile(join(debian, "changelog"), debianChangelog(release, maintainer));
  await symlink(resolve(stageDir), join(source, "stage"));
}

/** The packages come to lie beside `source`. What the environment has must not show in them. */
async function buildBinaries(source: string, { sourceDateEpoch }: Release): Promise<void> {
  const env = {
    PATH,
    HOME: source,
    LC_ALL: "C.UTF-8",
    TZ: "UTC",
    SOURCE_DATE_EPOCH: String(sourceDateEpoch),
    DEB_BUILD_OPTIONS: `parallel=${availableParallelism()}`,
  };
  // Nothing is compiled, so build-essential is not needed; the sanitized environment has the umask of Debian's machines.
  const options = ["--build=binary", "--no-sign", "--ignore-builtin-builddeps", "--sanitize-env"];
  await runTool("dpkg-buildpackage", options, { cwd: source, env });
}

async function copyPackages(from: string, outDir: string): Promise<string[]> {
  const names = (await readdir(from)).filter((name) => name.endsWith(".deb")).sort();
  await mkdir(outDir, { recursive: true });
  for (const name of names) await copyFile(join(from, name), join(outDir, name));
  return names.map((name) => join(outDir, name));
}
