// Whose work is in the executables: a bill of materials for programs, and the texts of the licences for people.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Metafile } from "esbuild";
import type { Release } from "../release.ts";
import { readNodeRuntime } from "./node-runtime.ts";
import { InstalledPackages } from "./npm-packages.ts";
import { bundledPackages, type ProgramContents } from "./program-contents.ts";
import { sbomOf } from "./sbom.ts";
import { thirdPartyText } from "./third-party-text.ts";

/** The executables, called as the packages that have them. */
export type ProgramName = "vmmessage-agent" | "vmmessage";

export interface LicenceRequest {
  /** Made where it is not there. */
  outDir: string;
  release: Release;
  /** What esbuild says of every bundle that is in the executable. */
  programs: Readonly<Record<ProgramName, readonly Metafile[]>>;
}

/**
 * Writes NAME.cdx.json, a CycloneDX 1.6 document, and NAME.third-party-licences.txt for each program. Throws when a package
 * in it has no permissive licence, or none of whose text we know; when a bundle imports what is in none of the bundles; and
 * when Node has a part that we do not know.
 */
export async function writeLicences({ outDir, release, programs }: LicenceRequest): Promise<void> {
  await mkdir(outDir, { recursive: true });
  const installed = await InstalledPackages.open();
  const runtime = await readNodeRuntime(installed);
  const tool = await installed.read("node_modules/@cyclonedx/cyclonedx-library");
  for (const [name, metafiles] of Object.entries(programs)) {
    const packages = await bundledPackages(metafiles, installed);
    const contents: ProgramContents = { name, version: release.version, runtime, packages };
    const sbom = sbomOf({ contents, tool, sourceDateEpoch: release.sourceDateEpoch });
    await writeFile(join(outDir, `${name}.cdx.json`), sbom);
    await writeFile(join(outDir, `${name}.third-party-licences.txt`), thirdPartyText(contents));
  }
}
