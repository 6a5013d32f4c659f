// Everything of others that is in a program.
import type { Metafile } from "esbuild";
import type { NodeRuntime } from "./node-runtime.ts";
import type { InstalledPackages, NpmPackage } from "./npm-packages.ts";
import { packageGraph } from "./package-graph.ts";

export interface ProgramContents {
  /** As its package is called. */
  name: string;
  version: string;
  runtime: NodeRuntime;
  /** By name and version; what npm has unpacked in two places is here once. */
  packages: readonly BundledPackage[];
}

export interface BundledPackage extends NpmPackage {
  /** By the program's own modules. */
  isImportedDirectly: boolean;
  imports: Set<BundledPackage>;
}

/** The packages in a program's bundles. Throws as packageGraph and InstalledPackages.read do. */
export async function bundledPackages(
  metafiles: readonly Metafile[],
  installed: InstalledPackages,
): Promise<BundledPackage[]> {
  const { direct, imports } = packageGraph(metafiles);
  const byPurl = new Map<string, BundledPackage>();
  const byDirectory = new Map<string, BundledPackage>();
  for (const directory of imports.keys()) {
    const npmPackage = await installed.read(directory);
    const bundled = byPurl.get(npmPackage.purl) ?? { ...npmPackage, isImportedDirectly: false, imports: new Set() };
    byPurl.set(npmPackage.purl, bundled);
    byDirectory.set(directory, bundled);
  }
  for (const [directory, bundled] of byDirectory) {
    bundled.isImportedDirectly ||= direct.has(directory);
    for (const imported of imports.get(directory) ?? []) {
      const other = byDirectory.get(imported);
      if (other !== undefined) bundled.imports.add(other);
    }
  }
  return [...byPurl.values()].toSorted(byNameAndVersion);
}

/** By code units, for a locale's order would be another on another machine. */
function byNameAndVersion(a: NpmPackage, b: NpmPackage): number {
  const [left, right] = [`${a.name} ${a.version}`, `${b.name} ${b.version}`];
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
