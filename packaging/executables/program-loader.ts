// Evaluates the programs of an executable: bundles that lie in it as assets, with the code caches made for them.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { debuglog } from "node:util";
import { Script } from "node:vm";

/** What is packed into an executable, by name; undefined where there is no such asset. */
export type ReadAsset = (name: string) => Buffer | undefined;

export interface LoaderOptions {
  readAsset: ReadAsset;
  /** Of `node:` modules. */
  requireBuiltin: NodeJS.Require;
  /** Where a package has the side files, writable by root alone. What is not there, or is another, is unpacked when needed. */
  home: string | undefined;
  /** Bundles that look for files beside themselves, and these files: assets, with paths relative to the bundle. */
  sideFiles: Readonly<Record<string, readonly string[]>>;
  /** Sees each script that was compiled. */
  onCompiled?: (name: string, script: Script) => void;
}

interface Module {
  exports: unknown;
}

type Require = (request: string) => unknown;
type ModuleWrapper = (exports: unknown, require: Require, module: Module, filename: string, dirname: string) => void;

/** A bundle as it lies in an executable: in the wrapper of CommonJS (nodejs.org, "The module wrapper"). */
export function wrapped(bundle: string): string {
  return `(function (exports, require, module, __filename, __dirname) {${bundle.replace(/^#!.*/, "")}\n})`;
}

/** Side files are needed, and there is no place to unpack them. */
export class NoRoomError extends Error {
  override readonly name = "NoRoomError";
}

/** Whoever runs with NODE_DEBUG=vmmessage is told. */
const debug = debuglog("vmmessage");

export class ProgramLoader {
  readonly #options: LoaderOptions;
  readonly #modules = new Map<string, Module>();

  constructor(options: LoaderOptions) {
    this.#options = options;
  }

  /** Evaluates a bundle, once, and returns what it exports. */
  load(name: string): unknown {
    const loaded = this.#modules.get(name);
    if (loaded !== undefined) return loaded.exports;
    const module: Module = { exports: {} };
    this.#modules.set(name, module);
    const run = this.#compile(name);
    const directory = this.#directoryOf(name);
    run(module.exports, (request: string) => this.#require(request), module, join(directory, name), directory);
    return module.exports;
  }

  #require(request: string): unknown {
    const name = request.replace(/^\.\//, "");
    if (name.endsWith(".node")) return this.#loadAddon(name);
    const bundle = name.endsWith(".js") ? name : `${name}.js`;
    return this.#options.readAsset(bundle) === undefined ? this.#options.requireBuiltin(request) : this.load(bundle);
  }

  #compile(name: string): ModuleWrapper {
    const { readAsset, onCompiled } = this.#options;
    // It is ASCII, as esbuild writes it, and V8 reads that as it is.
    const source = this.#asset(name).toString("latin1");
    const cachedData = readAsset(`${name}.cache`);
    const script = new Script(source, { filename: name, ...(cachedData === undefined ? {} : { cachedData }) });
    if (script.cachedDataRejected) debug("the code cache of %s was made for another Node or other flags", name);
    onCompiled?.(name, script);
    return script.runInThisContext() as ModuleWrapper;
  }

  #loadAddon(name: string): unknown {
    const module: Module = { exports: {} };
    const directory = this.#directoryOf(name);
    process.dlopen(module, join(directory, name));
    // It is in memory now.
    if (directory !== this.#options.home) remove(directory);
    return module.exports;
  }

  /** The place that a bundle takes for its own: the package's, or else a temporary one. */
  #directoryOf(name: string): string {
    const { home, sideFiles } = this.#options;
    const files = sideFiles[name] ?? [];
    if (files.length === 0) return dirname(process.execPath);
    return home !== undefined && files.every((file) => this.#isThere(join(home, file), file))
      ? home
      : this.#unpack(files);
  }

  /** In the middle of an upgrade there are files of another version. */
  #isThere(path: string, asset: string): boolean {
    try {
      return this.#asset(asset).equals(readFileSync(path));
    } catch {
      return false;
    }
  }

  /** Into a directory that only this user can enter, until this process ends. */
  #unpack(files: readonly string[]): string {
    const directory = makeTemporaryDirectory();
    for (const file of files) {
      const path = join(directory, file);
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      writeFileSync(path, this.#asset(file), { flag: "wx", mode: 0o600 });
    }
    return directory;
  }

  #asset(name: string): Buffer {
    const asset = this.#options.readAsset(name);
    if (asset === undefined) throw new Error(`${name} is not in this executable`);
    return asset;
  }
}

function makeTemporaryDirectory(): string {
  try {
    const directory = mkdtempSync(join(tmpdir(), "vmmessage-"));
    process.on("exit", () => {
      remove(directory);
    });
    return directory;
  } catch (error) {
    throw new NoRoomError(`no temporary directory can be made in ${tmpdir()} (TMPDIR)`, { cause: error });
  }
}

function remove(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}
