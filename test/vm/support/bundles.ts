/** The agent's bundle with one of its promises broken, to see that a test notices. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildBundles } from "../../../scripts/build.ts";

/** Builds the bundles in `outDir` and makes the replacement wherever `from` stands. Throws when it stands nowhere. */
export async function buildMutatedBundles(outDir: string, from: string, to: string): Promise<void> {
  await buildBundles({ outDir });
  let replacements = 0;
  for (const name of await readdir(outDir, { recursive: true })) {
    if (!name.endsWith(".js")) continue;
    const path = join(outDir, name);
    const text = await readFile(path, "utf8");
    if (!text.includes(from)) continue;
    await writeFile(path, text.replaceAll(from, to));
    replacements += 1;
  }
  if (replacements === 0) throw new Error(`'${from}' stands nowhere in the bundles`);
}
