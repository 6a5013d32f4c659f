/** What the modules of a target take, for people and for programs. */
import { tableLines } from "../../shared/cli/table.ts";
import type { Target } from "../../shared/bootstrap.ts";
import { type ConfigModule, ModuleError, type Parameter } from "./module.ts";
import { inOrder } from "./runner.ts";

/** What a module takes is said without any work; one that hangs does not keep the others from saying it. */
const TIMEOUT_MS = 10_000;

const HEADER = ["MODULE", "KEY", "NOTES", "DEFAULT", "DESCRIPTION"];

/** `error`: why it cannot be found out what the module takes. */
export type EnumeratedModule = { module: string; order: number } & (
  { parameters: readonly Parameter[] } | { error: string }
);

/** In the order in which they run. Throws the signal's reason when it is aborted. */
export async function enumerate(
  modules: readonly ConfigModule[],
  target: Target,
  signal: AbortSignal,
): Promise<EnumeratedModule[]> {
  const enumerated: EnumeratedModule[] = [];
  for (const module of inOrder(modules, target)) {
    enumerated.push(await enumerateOne(module, target, signal));
    signal.throwIfAborted();
  }
  return enumerated;
}

async function enumerateOne(module: ConfigModule, target: Target, signal: AbortSignal): Promise<EnumeratedModule> {
  const head = { module: module.name, order: module.orders.get(target) ?? 0 };
  try {
    const parameters = await module.parameters(target, AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]));
    return { ...head, parameters };
  } catch (error) {
    return { ...head, error: error instanceof ModuleError ? error.message : String(error) };
  }
}

/** For programs: an object for each parameter, and `{module, error}` for a module whose parameters are not known. */
export function enumerationJson(enumerated: readonly EnumeratedModule[]): object[] {
  return enumerated.flatMap((one): object[] => {
    if ("error" in one) return [{ module: one.module, error: one.error }];
    return one.parameters.map((parameter) => parameterJson(one.module, parameter));
  });
}

/** A secret's default is a secret. */
function parameterJson(module: string, parameter: Parameter): object {
  const { key, description, required, hidden, password, aliases } = parameter;
  const json = { module, key, description, required, hidden, password, aliases };
  return { ...json, ...(!password && parameter.default !== undefined && { default: parameter.default }) };
}

/** For people: a table in which each module's name stands before its first parameter. Hidden ones are left out. */
export function enumerationLines(enumerated: readonly EnumeratedModule[]): string[] {
  return tableLines(HEADER, enumerated.flatMap(rowsOf));
}

function rowsOf(one: EnumeratedModule): string[][] {
  if ("error" in one) return [[one.module, "", "", "", `cannot be told: ${one.error}`]];
  const shown = one.parameters.filter(({ hidden }) => !hidden);
  if (shown.length === 0) return [[one.module, "", "", "", "takes no keys"]];
  return shown.map((parameter, index) => [index === 0 ? one.module : "", ...parameterCells(parameter)]);
}

function parameterCells({ key, aliases, description, required, password, default: fallback }: Parameter): string[] {
  const notes = [...(required ? ["required"] : []), ...(password ? ["password"] : [])].join(", ");
  const also = aliases.length === 0 ? "" : ` (also ${aliases.join(", ")})`;
  return [key, notes, password ? "" : (fallback ?? ""), description + also];
}
