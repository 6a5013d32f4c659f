/**
 * What becomes of files that were rendered with a secret which is not set any more, since it was erased once used. Such a file
 * is left as it is where nothing else of it would change; else it would lose its secret, and the module fails instead.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { ModuleError, valueOf, type Values } from "../module.ts";
import type { FileTemplate } from "./check-files.ts";
import type { SecretUse, SecretUses } from "./secret-files.ts";
import type { TemplateParameter, Variables } from "./variables.ts";
import { together } from "./words.ts";

/** In place of each secret. Whatever it was, so that one that is not there any more makes no difference. */
const MASK = "***";

export interface RenderPlan {
  files: FileTemplate[];
  /** To be noted when they are rendered. */
  uses: SecretUses;
}

/** Throws ModuleError that names the keys of the secrets which have to be sent again. */
export function planOf(
  files: readonly FileTemplate[],
  parameters: readonly TemplateParameter[],
  values: Values,
  variables: Variables,
  noted: SecretUses,
): RenderPlan {
  const problems: string[] = [];
  const rendered = files.filter((file) => {
    const used = parametersOf(file, parameters);
    const lost = lostOf(used, values, noted.get(file.path));
    if (lost.length === 0 || !existsSync(file.path)) return true;
    const digest = digestOf(file, used, variables, lost);
    const isAsItWas = digest !== null && digest === noted.get(file.path)?.digest;
    if (!isAsItWas || secretsOf(used, values, variables).length > 0)
      problems.push(`needs ${lost.join(", ")} again: ${file.path} was rendered with it`);
    return false;
  });
  if (problems.length > 0) {
    throw new ModuleError(`${together(problems)}; a secret is erased once used: send it, or delete the file`);
  }
  const uses = rendered.map((file) => [file.path, useOf(file, parameters, values, variables)] as const);
  return { files: rendered, uses: new Map(uses) };
}

function parametersOf({ template }: FileTemplate, parameters: readonly TemplateParameter[]): TemplateParameter[] {
  return parameters.filter(({ variable }) => template.variables.includes(variable));
}

/** Also where there is a default now: that is not what was sent. */
function lostOf(used: readonly TemplateParameter[], values: Values, use: SecretUse | undefined): string[] {
  const lost = used.filter(
    ({ parameter }) => use?.keys.includes(parameter.key) === true && valueOf(parameter, values) === undefined,
  );
  return lost.map(({ parameter }) => parameter.key);
}

/** The keys of secrets that were set, and are no defaults. */
function secretsOf(used: readonly TemplateParameter[], values: Values, { secret }: Variables): string[] {
  const set = used.filter(
    ({ variable, parameter }) => secret.has(variable) && valueOf(parameter, values) !== undefined,
  );
  return set.map(({ parameter }) => parameter.key);
}

function useOf(
  file: FileTemplate,
  parameters: readonly TemplateParameter[],
  values: Values,
  variables: Variables,
): SecretUse | undefined {
  const used = parametersOf(file, parameters);
  const keys = secretsOf(used, values, variables);
  return keys.length === 0 ? undefined : { keys, digest: digestOf(file, used, variables, keys) };
}

/** Null where the template can do nothing with a mask: then nobody can tell. */
function digestOf(
  { owner, group, mode, template }: FileTemplate,
  used: readonly TemplateParameter[],
  { values }: Variables,
  secretKeys: readonly string[],
): string | null {
  const masked = used.filter(({ parameter }) => secretKeys.includes(parameter.key));
  const masks = Object.fromEntries(masked.map(({ variable }) => [variable, MASK]));
  try {
    const content = template.render({ ...values, ...masks });
    return createHash("sha256").update(JSON.stringify({ owner, group, mode, content })).digest("hex");
  } catch {
    return null;
  }
}
