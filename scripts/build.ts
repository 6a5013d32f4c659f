/**
 * Bundles the programs for shipping: agent/main.ts -> dist/agent.js, and so on. One CommonJS file each, because Node
 * loads that faster than anything else; modules imported lazily run when asked for.
 */
import { chmod, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build, type BuildOptions, type Plugin } from "esbuild";

const root = join(import.meta.dirname, "..");

/** Entry points by the name of their file, and what runs them. */
const programs = {
  agent: { main: "agent/main.ts", interpreter: "/usr/bin/env node" },
  vmmessage: { main: "host-cli/main.ts", interpreter: "/usr/bin/env node" },
  // A manager's objects live long: less room for young ones saves it 32 MiB (docs/benchmarks.md).
  vmmessaged: { main: "manager/main.ts", interpreter: "/usr/bin/env -S node --max-semi-space-size=4" },
  /** A thread of vmmessaged, which needs a file of its own. */
  "vmmessaged-store": { main: "manager/store/worker.ts", interpreter: "/usr/bin/env node" },
};

/** Writes the bundles to `outDir`, emptied before; `plugins` change what goes in, for tests of what must not. */
export async function buildBundles({ outDir, plugins = [] }: { outDir: string; plugins?: Plugin[] }): Promise<void> {
  await rm(outDir, { recursive: true, force: true });
  await mkdir(outDir, { recursive: true });
  // The project's own package.json says that .js files are modules.
  await writeFile(join(outDir, "package.json"), '{ "type": "commonjs" }\n');
  for (const [name, { main, interpreter }] of Object.entries(programs)) {
    const outfile = join(outDir, `${name}.js`);
    await build({
      ...shared,
      entryPoints: [main],
      outfile,
      banner: { js: `#!${interpreter}` },
      plugins: [dropSubprocesses, ...plugins],
    });
    await chmod(outfile, 0o755);
  }
}

const shared: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  format: "cjs",
  platform: "node",
  target: "node24",
  // serialport has a native addon, and is needed by tty channels only; ssh2 tries the others and does without them
  external: ["serialport", "cpu-features", "*.node"],
  define: { "import.meta.dirname": "__dirname", "import.meta.filename": "__filename" },
  minify: true,
  logLevel: "warning",
};

/** commander loads child_process, 3 ms of a start, for subcommands that are programs of their own; there are none. */
const dropSubprocesses: Plugin = {
  name: "drop-subprocesses",
  setup(bundle) {
    bundle.onResolve({ filter: /^node:child_process$/ }, ({ importer }) => {
      return importer.includes("node_modules/commander/") ? { path: "none", namespace: "dropped" } : undefined;
    });
    bundle.onLoad({ filter: /.*/, namespace: "dropped" }, () => ({ contents: "export default {};" }));
  },
};

if (import.meta.main) await buildBundles({ outDir: join(root, "dist") });
