/** Finds the configuration modules of this machine: executables with a plugin header, templates, and those that come with the agent. */
import type { Stats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { MAX_MODULES } from "../../shared/bootstrap.ts";
import { systemCode } from "../../shared/cli/failure.ts";
import { valueFromBytes } from "../../shared/protocol/value.ts";
import { type ConfigModule, ModuleError } from "./module.ts";
import { readBeginning } from "./read-beginning.ts";
import { MAX_HEADER_BYTES, readPluginHeader } from "./scripts/plugin-header.ts";
import { ScriptModule } from "./scripts/script-module.ts";
import { loadTemplate } from "./templates/load-template.ts";
import { SecretFiles } from "./templates/secret-files.ts";
import { trustProblem } from "./trusted-path.ts";

/** Longer than any template that a person wrote. Not measured. */
const MAX_TEMPLATE_BYTES = 256 * 1024;

/** Files that a directory is searched for modules: four times what a run may have. */
const MAX_FILES = 4 * MAX_MODULES;

/** What editors and package managers leave beside a file. */
const LEFTOVER = /^\.|^#.*#$|~$|\.(?:bak|orig|rej|sw[a-p]|rpm(?:save|new|orig)|dpkg-[a-z]+|ucf-[a-z]+)$/;
const TEMPLATE = /\.ya?ml$/;
const EXECUTABLE = 0o111;

export interface FindModulesOptions {
  /** Those that come with the agent. One in a directory replaces that of its name. */
  builtin: readonly ConfigModule[];
  /** Where Python scripts find the package `templateconfig`. */
  pythonDirectory: string;
  /** Where templates note which files hold secrets; without, they do not. */
  stateDirectory?: string;
}

/** A file or directory that is left out; `reason` is a sentence that names it. */
export interface ModuleProblem {
  path: string;
  reason: string;
}

export interface FoundModules {
  /** By their names; at most {@link MAX_MODULES}. */
  modules: ConfigModule[];
  problems: ModuleProblem[];
}

/** Of two modules with one name the one in the first directory counts. A directory that is not there has none. */
export async function findModules(directories: readonly string[], options: FindModulesOptions): Promise<FoundModules> {
  const { builtin } = options;
  const problems: ModuleProblem[] = [];
  const byName = new Map<string, ConfigModule>();
  const room = MAX_MODULES - builtin.length;
  for (const directory of directories) {
    const found = await modulesIn(directory, options);
    problems.push(...found.problems);
    for (const module of found.modules) {
      if (byName.has(module.name)) continue;
      if (byName.size < room) byName.set(module.name, module);
      else problems.push(leftOut(module, `there are more than ${MAX_MODULES} modules`));
    }
  }
  for (const module of builtin) if (!byName.has(module.name)) byName.set(module.name, module);
  return { modules: sorted([...byName.values()], ({ name }) => name), problems };
}

async function modulesIn(directory: string, options: FindModulesOptions): Promise<FoundModules> {
  const found: FoundModules = { modules: [], problems: [] };
  try {
    const names = await namesIn(directory);
    const problem = await trustProblem(directory);
    if (problem !== undefined) throw new ModuleError(problem);
    for (const name of names) await addModuleAt(join(directory, name), options, found);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") found.problems.push({ path: directory, reason: reasonOf(error, directory) });
  }
  return found;
}

async function namesIn(directory: string): Promise<string[]> {
  const names = (await readdir(directory)).filter((name) => !LEFTOVER.test(name));
  if (names.length > MAX_FILES) throw new ModuleError(`${directory}: more than ${MAX_FILES} files`);
  return sorted(names, (name) => name);
}

async function addModuleAt(path: string, options: FindModulesOptions, found: FoundModules): Promise<void> {
  try {
    const module = await moduleAt(path, options);
    if (module === undefined) return;
    const other = found.modules.find(({ name }) => name === module.name);
    if (other === undefined) found.modules.push(module);
    else found.problems.push(leftOut(module, `${String(other.path)} is called '${module.name}' too`));
  } catch (error) {
    found.problems.push({ path, reason: reasonOf(error, path) });
  }
}

/** Undefined for what is no module. */
async function moduleAt(path: string, options: FindModulesOptions): Promise<ConfigModule | undefined> {
  const kind = kindOf(path, await stat(path));
  if (kind === undefined) return undefined;
  const problem = await trustProblem(path);
  if (problem !== undefined) throw new ModuleError(problem);
  const { pythonDirectory, stateDirectory } = options;
  if (kind === "template") {
    const secretFiles = stateDirectory === undefined ? undefined : new SecretFiles(stateDirectory);
    return loadTemplate(path, await templateText(path), { secretFiles });
  }
  const header = readPluginHeader(path, (await readBeginning(path, MAX_HEADER_BYTES)).toString());
  return new ScriptModule({ path, header, pythonDirectory });
}

function kindOf(path: string, stats: Stats): "script" | "template" | undefined {
  if (!stats.isFile()) return undefined;
  if (TEMPLATE.test(path)) return "template";
  return (stats.mode & EXECUTABLE) === 0 ? undefined : "script";
}

async function templateText(path: string): Promise<string> {
  const bytes = await readBeginning(path, MAX_TEMPLATE_BYTES + 1);
  if (bytes.length > MAX_TEMPLATE_BYTES) throw new ModuleError(`${path}: longer than ${MAX_TEMPLATE_BYTES} bytes`);
  const text = valueFromBytes(bytes);
  if (typeof text !== "string") throw new ModuleError(`${path}: not UTF-8`);
  return text;
}

function leftOut(module: ConfigModule, why: string): ModuleProblem {
  const path = String(module.path);
  return { path, reason: `${path}: left out, since ${why}` };
}

/** Throws what is a mistake of ours. */
function reasonOf(error: unknown, path: string): string {
  if (error instanceof ModuleError) return error.message;
  const code = systemCode(error);
  if (code === undefined) throw error;
  return code === "ENOENT" ? `${path}: what it names does not exist` : `${path}: ${code}`;
}

function sorted<T>(things: readonly T[], nameOf: (thing: T) => string): T[] {
  return things.toSorted((one, other) => (nameOf(one) < nameOf(other) ? -1 : 1));
}
