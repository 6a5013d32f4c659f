// Makes the .rpm packages with rpmbuild, which Debian has as well.
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Log } from "../../scripts/system-packages.ts";
import { packageNames, type PackageName, projectRoot, type Release } from "../release.ts";
import { runTool } from "../../scripts/run-tool.ts";
import { fileList, type StagedEntry } from "./file-list.ts";

export interface RpmInputs {
  /** Has a directory for each package, named after it: all its files as they will lie below `/`, manual pages uncompressed. */
  stageDir: string;
  /** Made where it is missing. */
  outDir: string;
  release: Release;
  log: Log;
  /** rpm's `%_binary_payload`; tests that need a package soon take a faster one than `smallPayload`. */
  payload?: string;
}

/**
 * xz is what all rpms since 4.6 can read. Measured with a stripped Node, 108.5 MB, on two busy cores: w6.xzdio 27.2 MB in 65 s
 * of CPU time, w9.xzdio 26.8 MB in 87 s and with eight times the memory to unpack it, w19.zstdio 30.1 MB in 92 s. Without
 * threads ("T"), which would cut the data by the number of processors.
 */
const smallPayload = "w6.xzdio";

const spec = join(import.meta.dirname, "vmmessage.spec");

/** rpmbuild's own programs, whatever is installed beside them. */
const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";

/** Returns the paths of the packages, in alphabetical order. The same trees and release give the same bytes. Throws what rpmbuild says. */
export async function buildRpms({
  stageDir,
  outDir,
  release,
  log,
  payload = smallPayload,
}: RpmInputs): Promise<string[]> {
  const work = await mkdtemp(join(tmpdir(), "vmmessage-rpm-"));
  try {
    for (const name of packageNames) await writeFileList(name, stageDir, work);
    log("packages: .rpm");
    await rpmbuild(work, { stageDir: resolve(stageDir), release, payload });
    return await copyPackages(join(work, "RPMS"), outDir);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function writeFileList(name: PackageName, stageDir: string, work: string): Promise<void> {
  const entries = await stagedEntries(join(stageDir, name));
  await writeFile(join(work, `${name}.files`), `${fileList(entries).join("\n")}\n`);
}

async function stagedEntries(tree: string): Promise<StagedEntry[]> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  return entries.map((entry) => ({
    path: join(entry.parentPath, entry.name).slice(tree.length),
    kind: entry.isDirectory() ? "directory" : entry.isSymbolicLink() ? "link" : "file",
  }));
}

interface Build {
  stageDir: string;
  release: Release;
  payload: string;
}

/** The packages come to lie in the directory RPMS. What the environment has must not show in them. */
async function rpmbuild(work: string, { stageDir, release, payload }: Build): Promise<void> {
  const epoch = String(release.sourceDateEpoch);
  const macros = {
    _topdir: work,
    _tmppath: work,
    // Header format, and so a second "%"; without directories for the architectures.
    _rpmfilename: "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
    _binary_payload: payload,
    // Instead of this machine's name and clock; rpmbuild wants to know before it reads the spec.
    _buildhost: "localhost",
    use_source_date_epoch_as_buildtime: "1",
    clamp_mtime_to_source_date_epoch: "1",
    stage_dir: stageDir,
    licence_file: join(projectRoot, "LICENSE"),
    package_version: release.packageVersion,
    source_date_epoch: epoch,
  };
  const defines = Object.entries(macros).flatMap(([name, value]) => ["--define", `${name} ${value}`]);
  const env = { PATH, HOME: work, LC_ALL: "C.UTF-8", TZ: "UTC", SOURCE_DATE_EPOCH: epoch };
  await runTool("rpmbuild", ["-bb", "--quiet", "--target", "x86_64", ...defines, spec], { cwd: work, env });
}

async function copyPackages(from: string, outDir: string): Promise<string[]> {
  const names = (await readdir(from)).sort();
  await mkdir(outDir, { recursive: true });
  for (const name of names) await copyFile(join(from, name), join(outDir, name));
  return names.map((name) => join(outDir, name));
}
