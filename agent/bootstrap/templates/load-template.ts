import { dirname, join } from "node:path";
import { stat } from "node:fs/promises";
import { systemCode } from "../../../shared/cli/failure.ts";
import { valueFromBytes } from "../../../shared/protocol/value.ts";
import { type ConfigModule, ModuleError } from "../module.ts";
import { readBeginning } from "../read-beginning.ts";
import { trustProblem } from "../trusted-path.ts";
import { Units } from "../units.ts";
import { checkFiles } from "./check-files.ts";
import { checkParameters } from "./check-parameters.ts";
import { MAX_RENDERED_LENGTH } from "./liquid.ts";
import type { SecretFiles } from "./secret-files.ts";
import { type Problem, type TemplateFile, TemplateText } from "./template-file.ts";
import { TemplateModule } from "./template-module.ts";

/** What a template works with beside its files. */
export interface TemplateSurroundings {
  units?: Units;
  /** The record of files that hold secrets; without, a secret that was erased once used is not missed. */
  secretFiles?: SecretFiles | undefined;
}

/**
 * A declarative template as a module. `path` is where its text is from; the files that it names beside it are read and parsed
 * now, and have to be root's as it has. Throws ModuleError that names every problem with its line.
 */
export async function loadTemplate(
  path: string,
  text: string,
  { units = new Units(), secretFiles }: TemplateSurroundings = {},
): Promise<ConfigModule> {
  const source = new TemplateText(path, text);
  const file = source.parse();
  const { parameters, problems } = checkParameters(file.parameters);
  const checked = await checkFiles(file, (name) => readTrusted(join(dirname(path), name)));
  const all = [...problems, ...checked.problems, ...unitProblems(file)];
  if (all.length > 0) throw source.failure(all);
  return new TemplateModule({ path, file, parameters, files: checked.files, units, secretFiles });
}

function unitProblems({ files, units, check }: TemplateFile): Problem[] {
  const all = [...units.restart, ...units.reload];
  const problems = all
    .filter((name, index) => all.indexOf(name) !== index)
    .map((name): Problem => ({ place: ["units"], message: `'${name}' is there twice` }));
  if (files.length > 0 || all.length > 0 || check !== undefined) return problems;
  return [...problems, { place: [], message: "has nothing to do: it needs files, units or a check" }];
}

/** The text of a file that nobody but root could have changed. */
async function readTrusted(path: string): Promise<string> {
  try {
    const problem = await trustProblem(path);
    if (problem !== undefined) throw new ModuleError(problem);
    if (!(await stat(path)).isFile()) throw new ModuleError(`${path} is no file`);
    const bytes = await readBeginning(path, MAX_RENDERED_LENGTH + 1);
    if (bytes.length > MAX_RENDERED_LENGTH)
      throw new ModuleError(`${path} is longer than ${MAX_RENDERED_LENGTH} bytes`);
    const text = valueFromBytes(bytes);
    if (typeof text !== "string") throw new ModuleError(`${path} is not UTF-8`);
    return text;
  } catch (error) {
    const code = systemCode(error);
    throw code === undefined ? error : new ModuleError(`${path}: ${code}`, [], { cause: error });
  }
}
