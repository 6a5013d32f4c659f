// Bundles the programs for shipping: agent/main.ts -> dist/agent.js, host-cli/main.ts -> dist/vmmessage.js.
import { chmod, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");
const programs = { agent: "agent/main.ts", vmmessage: "host-cli/main.ts" };

const shebang = "#!/usr/bin/env node\n";

/**
 * CommonJS packages call `require` for Node's own modules. A global, not a constant: a constant could collide with one
 * of the same name in the bundled sources.
 */
const banner = `import { createRequire as createBundleRequire } from "node:module";
globalThis.require ??= createBundleRequire(import.meta.url);`;

/** Writes the bundles to `outDir`, emptied before; parts that are imported lazily become files of their own. */
export async function buildBundles({ outDir }: { outDir: string }): Promise<void> {
  await rm(outDir, { recursive: true, force: true });
  await build({
    absWorkingDir: root,
    entryPoints: programs,
    outdir: outDir,
    chunkNames: "parts/[name]-[hash]",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    // has a native addon, and is needed by tty channels only
    external: ["serialport"],
    banner: { js: banner },
    minifyWhitespace: true,
    keepNames: true,
    logLevel: "warning",
  });
  for (const program of Object.keys(programs)) await makeExecutable(join(outDir, `${program}.js`));
}

async function makeExecutable(file: string): Promise<void> {
  const text = await readFile(file, "utf8");
  if (!text.startsWith("#!")) await writeFile(file, shebang + text);
  await chmod(file, 0o755);
}

if (import.meta.main) await buildBundles({ outDir: join(root, "dist") });
