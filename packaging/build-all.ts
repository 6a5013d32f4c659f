// Everything that is released, from this work tree: bundles, executables, manual pages, licences, packages.
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Metafile } from "esbuild";
import { type BundleMetafiles, buildBundles } from "../scripts/build.ts";
import type { Log } from "../scripts/system-packages.ts";
import { writeCompletions } from "./completions/write-completions.ts";
import { buildDebs } from "./deb/build-deb.ts";
import { buildExecutables } from "./executables/build-executables.ts";
import { type ProgramName, writeLicences } from "./licences/write-licences.ts";
import { writeManuals } from "./manual/write-manuals.ts";
import type { Release } from "./release.ts";
import { buildRpms } from "./rpm/build-rpm.ts";
import { stagePackages } from "./stage.ts";
import { ensurePackagingTools } from "./tools.ts";

export interface BuildOptions {
  /** Emptied before. Gets executables/, packages/ with the packages and SHA256SUMS, and what they are made of. */
  outDir: string;
  release: Release;
  log: Log;
}

/** Returns the paths of the packages. The same commit gives the same bytes. */
export async function buildAll({ outDir, release, log }: BuildOptions): Promise<string[]> {
  await ensurePackagingTools(log);
  await rm(outDir, { recursive: true, force: true });
  const below = (name: string): string => join(outDir, name);
  const [bundleDir, executableDir, packageDir] = [below("bundles"), below("executables"), below("packages")];
  const [manualDir, completionDir, licenceDir] = [below("manual"), below("completions"), below("licences")];

  log("bundles");
  const bundles = await buildBundles({ outDir: bundleDir });
  const serialport = await buildExecutables({ bundleDir, outDir: executableDir, log });
  log("manual pages, completions, licences");
  await writeManuals({ outDir: manualDir, release });
  await writeCompletions({ outDir: completionDir });
  await writeLicences({ outDir: licenceDir, release, programs: programsOf(bundles, serialport) });
  await stagePackages({ bundleDir, executableDir, manualDir, completionDir, licenceDir, outDir: below("stage") });

  const inputs = { stageDir: below("stage"), outDir: packageDir, release, log };
  await mkdir(packageDir, { recursive: true });
  const packages = [...(await buildDebs(inputs)), ...(await buildRpms(inputs))];
  await writeFile(join(packageDir, "SHA256SUMS"), await checksums(packages));
  return packages;
}

/** Which bundles are in which executable. */
function programsOf(bundles: BundleMetafiles, serialport: Metafile): Record<ProgramName, readonly Metafile[]> {
  return {
    "vmmessage-agent": [bundles.agent, bundles["agent-bootstrap"], bundles.yaml, serialport],
    vmmessage: [bundles.vmmessage, bundles.vmmessaged, bundles["vmmessaged-store"], bundles.yaml],
  };
}

/** As sha256sum(1) checks them. */
async function checksums(paths: readonly string[]): Promise<string> {
  const lines = paths.map(async (path) => {
    return `${createHash("sha256")
      .update(await readFile(path))
      .digest("hex")}  ${basename(path)}\n`;
  });
  return (await Promise.all(lines)).join("");
}
