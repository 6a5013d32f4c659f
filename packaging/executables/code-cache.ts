// Makes the code cache of a bundle: `node --random-seed=1 code-cache.ts BUNDLE OUTPUT [ARG...]` runs BUNDLE in this process
// with these arguments, and writes at its end what V8 has compiled by then. A program of its own, for it never returns.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { ProgramLoader } from "./program-loader.ts";

const [node = "", , bundle = "", output = "", ...args] = process.argv;
const directory = dirname(bundle);

function readAsset(name: string): Buffer | undefined {
  try {
    return readFileSync(join(directory, name));
  } catch {
    return undefined;
  }
}

process.argv = [node, bundle, ...args];
const loader = new ProgramLoader({
  readAsset,
  requireBuiltin: createRequire(import.meta.url),
  home: directory,
  sideFiles: {},
  onCompiled: (name, script) => {
    if (name !== basename(bundle)) return;
    process.on("exit", () => {
      // What the program says, and how it ends, is not asked for.
      process.exitCode = 0;
      writeFileSync(output, script.createCachedData());
    });
  },
});
loader.load(basename(bundle));
