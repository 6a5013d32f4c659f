/** The packages that the guides install, by the names of their files, which have to be those that `npm run package` makes. */
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type PackageName, packageNames, readRelease } from "../../../packaging/release.ts";
import { root } from "./lab.ts";

/** Settles with the packages whose files are named. Rejects when `npm run package` makes none that is called so. */
export async function packagesNamed(files: readonly string[]): Promise<PackageName[]> {
  const { packageVersion } = await readRelease(process.env);
  const names = new Map(packageNames.map((name) => [`${name}_${packageVersion}_${architectureOf(name)}.deb`, name]));
  return files.map((file) => {
    const name = names.get(basename(file));
    if (name === undefined)
      throw new Error(`there is no package ${file}; the packages are ${[...names.keys()].join(", ")}`);
    return name;
  });
}

function architectureOf(name: PackageName): string {
  const control = readFileSync(join(root, "packaging", "deb", "debian", "control"), "utf8");
  const stanza = control.split("\n\n").find((text) => text.startsWith(`Package: ${name}\n`)) ?? "";
  const [, architecture] = /^Architecture: (.+)$/m.exec(stanza) ?? [];
  if (architecture === undefined) throw new Error(`debian/control has no architecture of ${name}`);
  return architecture;
}
