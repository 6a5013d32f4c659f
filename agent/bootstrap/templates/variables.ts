/** A template's variables, from the values of its keys: pure. */
import type { Value } from "../../../shared/protocol/value.ts";
import { ModuleError, type Parameter, valueOf, type Values } from "../module.ts";
import { type TypedValue, typeValue, type Typing, type ValueSchema } from "./typed-values.ts";
import { shortened, together } from "./words.ts";

const MAX_SHOWN_VALUE = 60;

/** A parameter as a template's file declares it. */
export interface TemplateParameter {
  /** What its value is called in the template. */
  variable: string;
  parameter: Parameter;
  schema: ValueSchema;
}

export interface Variables {
  /** By variable, null for those without a value. */
  values: Readonly<Record<string, TypedValue>>;
  secret: ReadonlySet<string>;
}

interface Given {
  value: Value;
  isSecret: boolean;
}

/**
 * Undefined when nothing is given for any of them, and their defaults alone do not make a whole. Throws ModuleError that names
 * every key that is missing, or every value that is not as it has to be.
 */
export function variablesFrom(parameters: readonly TemplateParameter[], values: Values): Variables | undefined {
  const given = parameters.map(({ parameter }) => givenFor(parameter, values));
  const isNoneSet = parameters.every(({ parameter }) => valueOf(parameter, values) === undefined);
  if (isNoneSet && given.includes(undefined)) return undefined;
  refuseMissing(parameters.filter(({ parameter }, index) => parameter.required && given[index] === undefined));
  return typeAll(parameters, given, values);
}

function givenFor(parameter: Parameter, values: Values): Given | undefined {
  const set = valueOf(parameter, values);
  if (set !== undefined) return { value: set.value, isSecret: set.isSecret || parameter.password };
  return parameter.default === undefined ? undefined : { value: parameter.default, isSecret: parameter.password };
}

function refuseMissing(missing: readonly TemplateParameter[]): void {
  if (missing.length === 0) return;
  const keys = missing.map(({ parameter }) => parameter.key).join(", ");
  throw new ModuleError(`needs ${keys}, which ${missing.length === 1 ? "is" : "are"} not set`);
}

function typeAll(
  parameters: readonly TemplateParameter[],
  given: readonly (Given | undefined)[],
  values: Values,
): Variables {
  const typed: Record<string, TypedValue> = Object.create(null) as Record<string, TypedValue>;
  const secret = new Set<string>();
  const problems: string[] = [];
  for (const [index, { variable, parameter, schema }] of parameters.entries()) {
    const one = given[index];
    const typing: Typing = one === undefined ? { value: null } : typeGiven(one.value, schema);
    if ("value" in typing) typed[variable] = typing.value;
    else problems.push(`${keySet(parameter, values)}: ${shownValue(one)} ${typing.problem}`);
    if (one?.isSecret === true) secret.add(variable);
  }
  if (problems.length > 0) throw new ModuleError(together(problems));
  return { values: typed, secret };
}

function typeGiven(value: Value, schema: ValueSchema): Typing {
  return typeof value === "string" ? typeValue(value, schema) : { problem: "is no text: its bytes are not UTF-8" };
}

/** The key that the value stands under. */
function keySet({ key, aliases }: Parameter, values: Values): string {
  return [key, ...aliases].find((candidate) => values.has(candidate)) ?? key;
}

function shownValue(given: Given | undefined): string {
  if (given === undefined || given.isSecret || typeof given.value !== "string") return "the value";
  return `'${shortened(given.value, MAX_SHOWN_VALUE)}'`;
}
