/**
 * Bundles the programs for shipping: agent/main.ts -> dist/agent.js, and so on. One CommonJS file each, because Node
 * loads that faster than anything else; modules imported lazily run when asked for.
 */
import { chmod, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";

const root = join(import.meta.dirname, "..");

/** Entry points by the name of their file. */
const programs = { agent: "agent/main.ts", vmmessage: "host-cli/main.ts", vmmessaged: "manager/main.ts" };

/** Threads of programs, which need a file of their own. */
const threads = { "vmmessaged-store": "manager/store/worker.ts" };

/** Writes the bundles to `outDir`, emptied before; `plugins` change what goes in, for tests of what must not. */
export async function buildBundles({ outDir, plugins = [] }: { outDir: string; plugins?: Plugin[] }): Promise<void> {
  await rm(outDir, { recursive: true, force: true });
  await mkdir(outDir, { recursive: true });
  // The project's own package.json says that .js files are modules.
  await writeFile(join(outDir, "package.json"), '{ "type": "commonjs" }\n');
  await build({
    absWorkingDir: root,
    entryPoints: { ...programs, ...threads },
    outdir: outDir,
    bundle: true,
    format: "cjs",
    platform: "node",
    target: "node24",
    // serialport has a native addon, and is needed by tty channels only; ssh2 tries the others and does without them
    external: ["serialport", "cpu-features", "*.node"],
    define: { "import.meta.dirname": "__dirname", "import.meta.filename": "__filename" },
    plugins: [dropSubprocesses, ...plugins],
    banner: { js: "#!/usr/bin/env node" },
    minify: true,
    logLevel: "warning",
  });
  for (const program of Object.keys(programs)) await chmod(join(outDir, `${program}.js`), 0o755);
}

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
