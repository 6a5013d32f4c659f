/** Whether the files of a template can be rendered: the texts they are made from, and the variables in these. */
import type { DeclaredFile, Place, Problem, TemplateFile } from "./template-file.ts";
import { type ParsedTemplate, parseLiquid } from "./liquid.ts";

/** A file that a template renders. */
export interface FileTemplate {
  path: string;
  owner: string | number;
  group: string | number;
  /** Permission bits; undefined where it depends on what the file holds. */
  mode: number | undefined;
  template: ParsedTemplate;
}

/** Reads the text of a template beside the file that names it. Rejects with the reason in words. */
export type ReadText = (relativePath: string) => Promise<string>;

/** With problems, what else is given back means nothing. */
export interface CheckedFiles {
  files: FileTemplate[];
  problems: Problem[];
}

export async function checkFiles({ files, parameters }: TemplateFile, readText: ReadText): Promise<CheckedFiles> {
  const checked: CheckedFiles = { files: [], problems: [] };
  const variables = Object.keys(parameters);
  for (const [index, file] of files.entries()) {
    const place = ["files", index];
    const conflict = conflictWith(files.slice(0, index), file.path);
    if (conflict !== undefined) checked.problems.push({ place: [...place, "path"], message: conflict });
    const { template, problems } = await checkFile(file, place, variables, readText);
    checked.problems.push(...problems);
    const { path, owner, group, mode } = file;
    if (template !== undefined) checked.files.push({ path, owner, group, mode, template });
  }
  return checked;
}

function conflictWith(others: readonly DeclaredFile[], path: string): string | undefined {
  for (const { path: other } of others) {
    if (other === path) return `'${path}' is there twice`;
    if (path.startsWith(`${other}/`) || other.startsWith(`${path}/`)) {
      return `one of '${other}' and '${path}' would have to be a directory`;
    }
  }
  return undefined;
}

async function checkFile(
  file: DeclaredFile,
  place: Place,
  variables: readonly string[],
  readText: ReadText,
): Promise<{ template?: ParsedTemplate; problems: Problem[] }> {
  const { content, template: name } = file;
  if ((content === undefined) === (name === undefined)) {
    return { problems: [{ place, message: "needs exactly one of content and template" }] };
  }
  const source = [...place, content === undefined ? "template" : "content"];
  try {
    const template = parseLiquid(content ?? (await readText(name ?? "")));
    return { template, problems: undeclared(template, variables).map((message) => ({ place: source, message })) };
  } catch (error) {
    return { problems: [{ place: source, message: (error as Error).message }] };
  }
}

function undeclared(template: ParsedTemplate, variables: readonly string[]): string[] {
  const unknown = template.variables.filter((name) => !variables.includes(name));
  return unknown.map((name) => `uses '${name}', which is not among the parameters (known: ${variables.join(", ")})`);
}
