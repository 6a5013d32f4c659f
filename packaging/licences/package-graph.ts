// Which packages of npm's are in a program, by what esbuild says it has put into the bundles.
import { createRequire, isBuiltin } from "node:module";
import { basename, join, relative } from "node:path";
import type { Metafile } from "esbuild";
import { projectRoot } from "../release.ts";

/** Packages are named by their directory: "node_modules/yaml". */
export interface PackageGraph {
  /** What the program's own modules import. */
  direct: ReadonlySet<string>;
  /** Every package in the program, with the packages that it imports itself. */
  imports: ReadonlyMap<string, ReadonlySet<string>>;
}

/** From the first node_modules of a path on, for its beginning depends on where esbuild was started. */
const PACKAGE_DIRECTORY = /(?:^|\/)(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+)\//;

/** What packages ask for in vain, and do without. */
const leftOut: ReadonlySet<string> = new Set([
  "cpu-features", // ssh2 chooses a cipher by it
  "supports-color", // debug colours its output by it
]);

/** How esbuild calls its own helper functions. */
const ESBUILD_HELPERS = "<runtime>";

/** C++ that is in a package's addon without being among its modules: the package, and whose headers these are. */
const compiledIn: Readonly<Record<string, readonly string[]>> = {
  "node_modules/@serialport/bindings-cpp": ["node-addon-api"],
};

/**
 * The packages with at least one byte in one of the bundles. Throws when a bundle imports something that is in none of them:
 * `metafiles` are all that an executable contains.
 */
export function packageGraph(metafiles: readonly Metafile[]): PackageGraph {
  const builder = new GraphBuilder(metafiles);
  for (const metafile of metafiles) builder.add(metafile);
  return builder;
}

class GraphBuilder implements PackageGraph {
  readonly direct = new Set<string>();
  readonly imports = new Map<string, Set<string>>();
  /** By the name of a bundle, the module that it was made from. */
  readonly #entryPoints: ReadonlyMap<string, string>;

  constructor(metafiles: readonly Metafile[]) {
    const outputs = metafiles.flatMap(({ outputs }) => Object.entries(outputs));
    this.#entryPoints = new Map(outputs.map(([path, { entryPoint = "" }]) => [basename(path), entryPoint]));
  }

  add({ inputs, outputs }: Metafile): void {
    const contributions = Object.values(outputs).flatMap((output) => Object.entries(output.inputs));
    const bundled = new Set(contributions.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path));
    for (const path of bundled) {
      this.#addPackageOf(path);
      for (const imported of inputs[path]?.imports ?? []) {
        if (imported.external) this.#connect(path, this.#providerOf(imported.path, path));
        else if (bundled.has(imported.path)) this.#connect(path, imported.path);
      }
    }
  }

  #addPackageOf(path: string): void {
    const directory = packageDirectory(path);
    if (directory === undefined || this.imports.has(directory)) return;
    const ingredients = (compiledIn[directory] ?? []).map((name) => resolvePackage(name, directory));
    this.imports.set(directory, new Set(ingredients));
    for (const ingredient of ingredients) this.imports.set(ingredient, new Set());
  }

  #connect(importer: string, imported: string | undefined): void {
    const from = packageDirectory(importer);
    const to = imported === undefined ? undefined : packageDirectory(imported);
    if (to === undefined || from === to) return;
    if (from === undefined) this.direct.add(to);
    else this.imports.get(from)?.add(to);
  }

  /** An executable takes "./yaml.js" and "serialport" alike from the bundle of that name. Undefined: from Node, or an addon. */
  #providerOf(request: string, importer: string): string | undefined {
    if (isBuiltin(request) || request.endsWith(".node") || request === ESBUILD_HELPERS) return undefined;
    if (leftOut.has(request)) return undefined;
    const bundle = `${basename(request, ".js")}.js`;
    const entryPoint = this.#entryPoints.get(bundle);
    if (entryPoint !== undefined) return entryPoint;
    throw new Error(`${importer} imports "${request}", which needs the metafile of ${bundle} to be known`);
  }
}

function packageDirectory(path: string): string | undefined {
  return PACKAGE_DIRECTORY.exec(path)?.[1];
}

/** As Node resolves it for a module of the dependant. */
function resolvePackage(name: string, dependant: string): string {
  const require = createRequire(join(projectRoot, dependant, "package.json"));
  const path = relative(projectRoot, require.resolve(`${name}/package.json`));
  const directory = packageDirectory(path);
  if (directory === undefined) throw new Error(`${name}, which ${dependant} is compiled with, is at ${path}`);
  return directory;
}
