/** What both programs read from a command line in the same way. Problems are commander's InvalidArgumentError or usage. */
import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { type Command as Program, CommanderError, InvalidArgumentError } from "commander";
import type { Cursor, Params } from "../protocol/message.ts";
import { keyProblem } from "../protocol/value.ts";
import { MAX_TIMEOUT_MS, parseDuration } from "./duration.ts";
import { usageError } from "./failure.ts";
import type { ValueSource } from "./value-sources.ts";

/**
 * Parses the words with a program that exits by throwing; true when they are something to do, false when the program
 * printed a text (`--help`, `--version`). Throws CommandError (usage).
 */
export function parseWords(program: Program, words: readonly string[]): boolean {
  try {
    program.parse(words, { from: "user" });
    return true;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return false;
    const problem = error.message.replace(/^error: /, "").replaceAll("\n", " ");
    throw usageError(`${problem}; see ${program.name()} --help`);
  }
}

/** A place in the cache's history; without an epoch, the present one is meant. */
export interface RevisionArgument {
  revision: number;
  epoch: Cursor["epoch"] | undefined;
}

export type Condition = Pick<Params<"set">, "ifAbsent" | "ifRevision" | "ifEpoch">;

const REVISION = /^(?:([0-9a-f]{16}):)?(\d{1,15})$/;

export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError("it is not a duration like 90, 10m, 2h or 7d");
  return ms;
}

export function timeout(text: string): number {
  const ms = duration(text);
  if (ms > MAX_TIMEOUT_MS) throw new InvalidArgumentError("it is longer than 24 days");
  return ms;
}

export function revision(text: string): RevisionArgument {
  const [, epoch, number] = REVISION.exec(text) ?? [];
  if (number === undefined) throw new InvalidArgumentError("it is not N or EPOCH:N, as list and watch show them");
  return { revision: Number(number), epoch };
}

export function revisionCondition(given: RevisionArgument | undefined): Omit<Condition, "ifAbsent"> {
  if (given === undefined) return {};
  return { ifRevision: given.revision, ...(given.epoch !== undefined && { ifEpoch: given.epoch }) };
}

export function checkedKey(key: string): string {
  const problem = keyProblem(key);
  if (problem !== undefined) throw usageError(`'${key}': ${problem}`);
  return key;
}

export function distinctKeys(keys: readonly string[]): string[] {
  const checked = keys.map(checkedKey);
  const seen = new Set<string>();
  const twice = checked.find((key) => seen.size === seen.add(key).size);
  if (twice !== undefined) throw usageError(`the key '${twice}' stands twice in one change`);
  return checked;
}

/** The sources of one atomic set, each key once and stdin at most once. */
export function checkedSources(sources: ValueSource[]): ValueSource[] {
  distinctKeys(sources.map(({ key }) => key));
  if (sources.filter(({ from }) => from === "stdin").length > 1) {
    throw usageError("--value-stdin can be given once; there is only one standard input");
  }
  return sources;
}

/** The value is literal, whatever it begins with and however many `=` it has. */
export function keyAndValue(pair: string): ValueSource {
  const [key, value] = splitPair(pair) ?? [];
  if (key === undefined || value === undefined) throw usageError(`'${pair}' is not KEY=VALUE`);
  return { from: "argument", key, value };
}

export function keyAndFile(pair: string): ValueSource {
  const [key, path] = splitPair(pair) ?? [];
  if (key === undefined || path === undefined || path === "") throw new InvalidArgumentError("it is not KEY=PATH");
  return { from: "file", key, path };
}

/** The two sides of the first `=`, which no key contains. */
function splitPair(pair: string): [key: string, rest: string] | undefined {
  const at = pair.indexOf("=");
  return at === -1 ? undefined : [pair.slice(0, at), pair.slice(at + 1)];
}

/** Node replaces what is not UTF-8 in an argument; a value must never be changed in silence. Throws a usage failure. */
export function assertUtf8Arguments(args: readonly string[]): void {
  if (!args.some((argument) => argument.includes("\ufffd"))) return;
  if (isUtf8(readFileSync("/proc/self/cmdline"))) return;
  throw usageError("an argument is not UTF-8; give such a value with --value-file or --value-stdin");
}
