// Makes the stand-alone executables: Node with our bundles in it, as a "single executable application"
// (nodejs.org/api/single-executable-applications.html).
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { build, type Metafile, type Plugin } from "esbuild";
import type { Log } from "../../scripts/system-packages.ts";
import { projectRoot } from "../release.ts";
import { runTool } from "../../scripts/run-tool.ts";
import { baseNode, node } from "./base-node.ts";
import { contents, type ExecutableName, executableNames } from "./contents.ts";
import { wrapped } from "./program-loader.ts";

export interface ExecutableInputs {
  /** What scripts/build.ts writes. */
  bundleDir: string;
  /** Emptied before. Gets agent, vmmessage, and vmmessaged, which is another name of vmmessage. */
  outDir: string;
  log: Log;
}

const serialportDirectory = join(projectRoot, "node_modules", "@serialport", "bindings-cpp");
/** The addon that the agent's executable has for terminals. */
export const serialportAddon = join(
  serialportDirectory,
  "prebuilds",
  "linux-x64",
  "@serialport+bindings-cpp.glibc.node",
);

const postject = join(projectRoot, "node_modules", "postject", "dist", "cli.js");

/** By which Node knows that something was injected ("Injecting the preparation blob"). */
const sentinelFuse = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";
const resourceName = "NODE_SEA_BLOB";

/** V8 salts its tables with it; the code cache would differ from build to build. */
const sameEveryTime = "--random-seed=1";

/** Returns what is in the bundle of serialport, which the agent's executable has beside its own. */
export async function buildExecutables({ bundleDir, outDir, log }: ExecutableInputs): Promise<Metafile> {
  await rm(outDir, { recursive: true, force: true });
  await mkdir(outDir, { recursive: true });
  const work = await mkdtemp(join(tmpdir(), "vmmessage-executables-"));
  try {
    log("executables: a Node without symbols and locales");
    const base = await baseNode();
    const serialport = await bundleSerialport(join(work, "serialport.js"));
    await prepareAssets(bundleDir, work);
    for (const name of executableNames) {
      log(`executables: ${name}`);
      await buildExecutable(name, { base, work, target: join(outDir, name) });
    }
    await symlink("vmmessage", join(outDir, "vmmessaged"));
    return serialport;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** All bundles in their wrappers, and all side files as they are. */
async function prepareAssets(bundleDir: string, work: string): Promise<void> {
  const all = Object.values(contents);
  await copyFile(serialportAddon, join(work, "serialport.node"));
  for (const name of new Set(all.flatMap(({ programs, bundles }) => [...Object.values(programs), ...bundles]))) {
    const from = name === "serialport.js" ? work : bundleDir;
    await writeFile(join(work, name), wrapped(await readFile(join(from, name), "latin1")), "latin1");
  }
  for (const file of new Set(all.flatMap(({ sideFiles }) => Object.values(sideFiles).flat()))) {
    if (file === "serialport.node") continue;
    await mkdir(dirname(join(work, file)), { recursive: true });
    await cp(join(bundleDir, file), join(work, file));
  }
  for (const { warmUps } of all) for (const [name, args] of Object.entries(warmUps)) await warmUp(name, args, work);
}

async function warmUp(name: string, args: readonly string[], work: string): Promise<void> {
  const codeCache = join(import.meta.dirname, "code-cache.ts");
  await runTool(node, [sameEveryTime, codeCache, join(work, name), join(work, `${name}.cache`), ...args], { env: {} });
}

interface Parts {
  base: string;
  work: string;
  target: string;
}

async function buildExecutable(name: ExecutableName, { base, work, target }: Parts): Promise<void> {
  const { execArgv } = contents[name];
  await bundleLauncher(name, join(work, "launcher.js"));
  const config = {
    main: "launcher.js",
    output: "blob",
    disableExperimentalSEAWarning: true,
    useCodeCache: true,
    execArgv,
    // What the environment wants of Nodes is not meant for our programs.
    execArgvExtension: "none",
    assets: Object.fromEntries(assetsOf(name).map((asset) => [asset, asset])),
  };
  await writeFile(join(work, "sea.json"), JSON.stringify(config));
  // Names without directories: they become part of the executable.
  await runTool(node, [sameEveryTime, "--experimental-sea-config", "sea.json"], { cwd: work, env: {} });
  await copyFile(base, target);
  await chmod(target, 0o755);
  await runTool(node, [postject, target, resourceName, join(work, "blob"), "--sentinel-fuse", sentinelFuse]);
}

function assetsOf(name: ExecutableName): string[] {
  const { programs, bundles, sideFiles, warmUps } = contents[name];
  const caches = Object.keys(warmUps).map((bundle) => `${bundle}.cache`);
  return [...Object.values(programs), ...caches, ...bundles, ...Object.values(sideFiles).flat()];
}

async function bundleLauncher(name: ExecutableName, outfile: string): Promise<void> {
  const { programs, sideFiles } = contents[name];
  const define = { CALLED_AS: JSON.stringify(programs), SIDE_FILES: JSON.stringify(sideFiles) };
  await build({ ...shared, entryPoints: [join(import.meta.dirname, "launcher.ts")], outfile, define });
}

async function bundleSerialport(outfile: string): Promise<Metafile> {
  const entryPoints = ["node_modules/serialport/dist/index.js"];
  const external = ["*.node"];
  const { metafile } = await build({
    ...shared,
    entryPoints,
    outfile,
    external,
    plugins: [addonBeside],
    metafile: true,
  });
  return metafile;
}

const shared = {
  absWorkingDir: projectRoot,
  bundle: true,
  minify: true,
  format: "cjs",
  platform: "node",
  target: "node24",
  logLevel: "warning",
} as const;

/** In the place of the search for an addon that fits the machine. */
const addonBeside: Plugin = {
  name: "addon-beside",
  setup(bundle) {
    bundle.onResolve({ filter: /^node-gyp-build$/ }, () => ({ path: "serialport.node", namespace: "addon" }));
    bundle.onLoad({ filter: /.*/, namespace: "addon" }, () => ({
      contents: 'module.exports = () => require("./serialport.node");',
    }));
  },
};
