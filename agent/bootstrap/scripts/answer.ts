/** What a script prints on its standard output: JSON, and nothing else. */
import { keyProblem, valueFromBytes } from "../../../shared/protocol/value.ts";
import { ModuleError, type Values } from "../module.ts";

/** Undefined when it printed nothing. Throws ModuleError. */
export function readAnswer(stdout: Uint8Array): unknown {
  const text = valueFromBytes(stdout);
  if (typeof text !== "string") throw notUnderstood(stdout, "UTF-8");
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Not with the reason, which quotes the text.
    throw notUnderstood(stdout, "JSON");
  }
}

/** The members of an answer that are text and were not given to the script as they are. Throws ModuleError. */
export function resultsIn(stdout: Uint8Array, given: Values): Record<string, string> {
  const answer = readAnswer(stdout) ?? {};
  if (typeof answer !== "object" || Array.isArray(answer)) throw notUnderstood(stdout, "a JSON object");
  const texts = Object.entries(answer as Record<string, unknown>).filter(isText);
  const results = texts.filter(([key, value]) => given.get(key)?.value !== value);
  for (const [key, value] of results) checkResult(key, value);
  return Object.fromEntries(results);
}

/** `needed`: what it should have been. */
export function notUnderstood(stdout: Uint8Array, needed: string): ModuleError {
  return new ModuleError(`what it printed on its standard output is not ${needed}: ${beginningOf(stdout)}`);
}

function isText(member: [string, unknown]): member is [string, string] {
  return typeof member[1] === "string";
}

function checkResult(key: string, value: string): void {
  const problem = keyProblem(key) ?? (value.isWellFormed() ? undefined : "a value must be well-formed Unicode");
  if (problem !== undefined) throw new ModuleError(`it gave back '${key}', which cannot be a key: ${problem}`);
}

/**
 * The first line as it is, which {@link runScript} keeps within bounds: whoever masks secrets recognises only those that are
 * whole and were not made printable, and shortens it then.
 */
function beginningOf(stdout: Uint8Array): string {
  const text = Buffer.from(stdout).toString().trim();
  const [line = ""] = text.split(/[\r\n]/, 1);
  return `'${line}'${line === text ? "" : "..."}`;
}
