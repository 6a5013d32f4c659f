/** Bundles with one thing changed in a source file: what shows that a test would notice. */
import { readFile } from "node:fs/promises";
import type { Plugin } from "esbuild";
import { buildBundles } from "../../../scripts/build.ts";

/** Builds the programs with `from` replaced by `to` in the agent's durable-file.ts. Throws when it does not stand there. */
export async function buildMutatedBundles(outDir: string, from: string, to: string): Promise<void> {
  const mutation: Plugin = {
    name: "mutation",
    setup(bundle) {
      bundle.onLoad({ filter: /daemon\/durable-file\.ts$/ }, async ({ path }) => {
        const source = await readFile(path, "utf8");
        if (!source.includes(from)) throw new Error(`'${from}' does not stand in ${path}`);
        return { contents: source.replace(from, to), loader: "ts" };
      });
    },
  };
  await buildBundles({ outDir, plugins: [mutation] });
}
