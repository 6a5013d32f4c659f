/** What modules say that they take, and what follows for values: which are secrets, and who may see them. */
import type { Target } from "../../shared/bootstrap.ts";
import { type ConfigModule, type GivenValue, ModuleError, type Parameter, valueOf, type Values } from "./module.ts";

/** What a module is asked for before it runs takes no work. */
const TIMEOUT_MS = 10_000;

/** By module: its parameters, or why it cannot say which they are. */
export type Declared = ReadonlyMap<ConfigModule, readonly Parameter[] | Error>;

/** Asks all modules at once. */
export async function declaredBy(
  modules: readonly ConfigModule[],
  target: Target,
  signal: AbortSignal,
): Promise<Declared> {
  const timely = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const ask = async (module: ConfigModule): Promise<[ConfigModule, readonly Parameter[] | Error]> => {
    const parameters = await module.parameters(target, timely).catch((error: unknown) => {
      return error instanceof Error ? error : new Error(String(error));
    });
    return [module, parameters];
  };
  return new Map(await Promise.all(modules.map(ask)));
}

/** Those of the modules that can say which they are. */
export function parametersIn(declared: Declared): Parameter[] {
  return [...declared.values()].flatMap((parameters) => (parameters instanceof Error ? [] : parameters));
}

/** The keys and aliases of parameters. */
export function namesOf(parameters: readonly Parameter[]): Set<string> {
  return new Set(parameters.flatMap(({ key, aliases }) => [key, ...aliases]));
}

/** What is a password to one module is a secret to all, however it was set. */
export function withSecretsMarked(values: Values, declared: Declared): Values {
  const passwords = namesOf(parametersIn(declared).filter(({ password }) => password));
  return new Map(
    [...values].map(([name, given]) => [name, passwords.has(name) ? { ...given, isSecret: true } : given]),
  );
}

/** What a module may see: all that are no secrets, and the secrets among its parameters, whose keys come along. */
export function visibleValues(values: Values, parameters: readonly Parameter[]): { values: Values; secrets: string[] } {
  const own = namesOf(parameters);
  const visible = new Map<string, GivenValue>();
  for (const [name, given] of values) if (!given.isSecret || own.has(name)) visible.set(name, given);
  return { values: visible, secrets: [...visible].filter(([, { isSecret }]) => isSecret).map(([name]) => name) };
}

/** Throws ModuleError that names every value which a module cannot do without. */
export function assertComplete(parameters: readonly Parameter[], values: Values): void {
  const missing = parameters.filter((parameter) => {
    return parameter.required && parameter.default === undefined && valueOf(parameter, values) === undefined;
  });
  if (missing.length === 0) return;
  throw new ModuleError(`needs ${missing.map(({ key }) => key).join(", ")}, which is not set`);
}
