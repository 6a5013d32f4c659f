/**
 * Bundles the programs for shipping: agent/main.ts -> dist/agent.js, and so on. One CommonJS file each, because Node
 * loads that faster than anything else; modules imported lazily run when asked for.
 */
import { chmod, cp, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build, type BuildOptions, type Metafile, type Plugin } from "esbuild";

const root = join(import.meta.dirname, "..");

interface Bundle {
  main: string;
  /** Of a program; the other bundles are loaded by one. */
  interpreter?: string;
}

/** By the name of their file. */
const bundles = {
  agent: { main: "agent/main.ts", interpreter: "/usr/bin/env node" },
  /** Loaded by `agent bootstrap` and `agent config` alone. */
  "agent-bootstrap": { main: "agent/bootstrap/main.ts" },
  vmmessage: { main: "host-cli/main.ts", interpreter: "/usr/bin/env node" },
  // A manager's objects live long: less room for young ones saves it 32 MiB (docs/benchmarks.md).
  vmmessaged: { main: "manager/main.ts", interpreter: "/usr/bin/env -S node --max-semi-space-size=4" },
  /** Read by `vmmessage bootstrap` and agent-bootstrap alone: to read it takes a command longer than all it does. */
  yaml: { main: "node_modules/yaml/dist/index.js" },
  /** A thread of vmmessaged, which needs a file of its own. */
  "vmmessaged-store": { main: "manager/store/worker.ts" },
} satisfies Record<string, Bundle>;

export type BundleName = keyof typeof bundles;
/** What esbuild put into each bundle. Its paths are relative to the project's root. */
export type BundleMetafiles = Record<BundleName, Metafile>;

interface BuildRequest {
  outDir: string;
  plugins?: Plugin[];
}

/** Writes the bundles to `outDir`, emptied before; `plugins` change what goes in, for tests of what must not. */
export async function buildBundles({ outDir, plugins = [] }: BuildRequest): Promise<BundleMetafiles> {
  const metafiles: Record<string, Metafile> = {};
  await rm(outDir, { recursive: true, force: true });
  await mkdir(outDir, { recursive: true });
  // The project's own package.json says that .js files are modules.
  await writeFile(join(outDir, "package.json"), '{ "type": "commonjs" }\n');
  for (const [name, { main, interpreter }] of Object.entries<Bundle>(bundles)) {
    const outfile = join(outDir, `${name}.js`);
    const { metafile } = await build({
      ...shared,
      entryPoints: [main],
      outfile,
      ...(interpreter === undefined ? {} : { banner: { js: `#!${interpreter}` } }),
      plugins: [dropSubprocesses, keepBootstrapApart, keepYamlApart, ...plugins],
      metafile: true,
    });
    metafiles[name] = metafile;
    if (interpreter !== undefined) await chmod(outfile, 0o755);
  }
  await cp(join(root, "packaging", "python"), join(outDir, "python"), { recursive: true });
  return metafiles as BundleMetafiles;
}

const shared: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  format: "cjs",
  platform: "node",
  target: "node24",
  // serialport has a native addon, and is needed by tty channels only; ssh2 tries the others and does without them
  external: ["serialport", "cpu-features", "*.node"],
  // A bundle in an executable has nothing but require().
  supported: { "dynamic-import": false },
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

/** What configures a machine is as large as the rest of the agent; the other commands do not even read it. */
const keepBootstrapApart: Plugin = {
  name: "keep-bootstrap-apart",
  setup(bundle) {
    bundle.onResolve({ filter: /\/bootstrap\/main\.ts$/ }, ({ kind }) => {
      return kind === "dynamic-import" ? { path: "./agent-bootstrap.js", external: true } : undefined;
    });
  },
};

const keepYamlApart: Plugin = {
  name: "keep-yaml-apart",
  setup(bundle) {
    bundle.onResolve({ filter: /^yaml$/ }, () => ({ path: "./yaml.js", external: true }));
  },
};

if (import.meta.main) await buildBundles({ outDir: join(root, "dist") });
