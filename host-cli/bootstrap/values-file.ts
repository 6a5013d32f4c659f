/** The file of a bootstrap: keys and secrets in YAML, and so in JSON too. */
import { isUtf8 } from "node:buffer";
import { dirname, resolve } from "node:path";
import { isMap, isScalar, isSeq, LineCounter, type Pair, parseDocument, type Scalar, type YAMLMap } from "yaml";
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import { settableKey } from "./settable-key.ts";
import type { GivenKey, SecretSource, Sources } from "./sources.ts";

/** Several times what one message carries, for comments. Not measured. */
export const MAX_VALUES_FILE = 1024 * 1024;

const SHAPE = "keys: {KEY: VALUE}, secrets: {KEY: {file: PATH} or {prompt: TEXT}}";

type Node = Pair["value"];

/**
 * @param name as the user calls the file; a secret's relative path is relative to it
 * Throws CommandError (usage) with the first problem and its line; what is said in the file is not repeated.
 */
export function parseValuesFile(bytes: Uint8Array, name: string): Sources {
  if (!isUtf8(bytes)) throw usageError(`${name} is not UTF-8; it has to be YAML`);
  const lines = new LineCounter();
  const document = parseDocument(Buffer.from(bytes).toString(), {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    version: "1.2",
    schema: "core",
    resolveKnownTags: false,
    // Of YAML 1.1 and many programs: told from text, so that nobody's date is sent as something else than was meant.
    customTags: ["timestamp"],
  });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const saw =
      problem.code === "RESOURCE_EXHAUSTION" ? "it is nested too deeply" : problem.message.replace(/\n.*/s, "");
    throw usageError(`${name}:${lines.linePos(problem.pos[0]).line}: ${saw}`);
  }
  return new ValuesReader(name, lines).read(document.contents);
}

class ValuesReader {
  readonly #name: string;
  readonly #lines: LineCounter;

  constructor(name: string, lines: LineCounter) {
    this.#name = name;
    this.#lines = lines;
  }

  read(contents: Node): Sources {
    if (!isMap(contents)) throw this.#problem(contents, `this is no map; it has to be ${SHAPE}`);
    const sources: Sources = { keys: [], secrets: [] };
    for (const pair of contents.items) {
      const name = textOf(pair.key);
      if (name === "keys") sources.keys = this.#members(pair).map((member) => this.#givenKey(member));
      else if (name === "secrets") sources.secrets = this.#members(pair).map((member) => this.#secret(member));
      else throw this.#problem(pair.key, `'${name}' is not known here; it has to be ${SHAPE}`);
    }
    return sources;
  }

  #members({ key, value }: Pair): Pair[] {
    if (isMap(value)) return value.items;
    throw this.#problem(key, `'${textOf(key)}' is no map; it has to be ${SHAPE}`);
  }

  #givenKey({ key, value }: Pair): GivenKey {
    const name = this.#key(key);
    return { key: name, value: this.#wellFormed(value ?? key, this.#text(name, key, value)) };
  }

  #key(key: unknown): string {
    try {
      return settableKey(textOf(key));
    } catch (error) {
      throw error instanceof CommandError ? this.#problem(key, error.message) : error;
    }
  }

  /** What is sent of a value: numbers as they are written, lists and maps as JSON. */
  #text(name: string, key: unknown, value: Node): string {
    if (isMap(value) || isSeq(value)) return JSON.stringify(this.#json(value));
    if (!isScalar(value)) throw this.#problem(value ?? key, `'${name}' is an alias; write its value out`);
    const { value: scalar } = value;
    if (typeof scalar === "string") return scalar;
    if (typeof scalar === "number") return value.source ?? String(scalar);
    if (typeof scalar === "boolean") return String(scalar);
    if (scalar instanceof Date) throw this.#problem(value, `'${name}' is a date to YAML; quote it to send it as it is`);
    throw this.#problem(value, `'${name}' has no value (null in YAML); quote it if "" or "null" is meant`);
  }

  #json(node: unknown): unknown {
    if (isMap(node)) return Object.fromEntries(node.items.map(({ key, value }) => [textOf(key), this.#json(value)]));
    if (isSeq(node)) return node.items.map((item) => this.#json(item));
    if (!isScalar(node)) throw this.#problem(node, "this is an alias; write its value out");
    const { value } = node;
    if (value instanceof Date) throw this.#problem(node, "this is a date to YAML; quote it to send it as it is");
    if (typeof value === "number") this.#assertJsonNumber(node, value);
    return value;
  }

  #assertJsonNumber(node: Scalar, value: number): void {
    if (Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value)) return;
    throw this.#problem(node, "this is a number that JSON cannot carry unchanged; quote it");
  }

  #wellFormed(node: unknown, text: string): string {
    if (text.isWellFormed()) return text;
    throw this.#problem(node, "this is no well-formed Unicode");
  }

  #secret({ key, value }: Pair): SecretSource {
    const name = this.#key(key);
    const [member, ...more] = isMap(value) ? value.items : [];
    const how = member === undefined || more.length > 0 ? undefined : textOf(member.key);
    const text = member !== undefined && isScalar(member.value) ? member.value.value : undefined;
    if (typeof text === "string" && text !== "") {
      if (how === "file") return { from: "file", key: name, path: resolve(dirname(this.#name), text) };
      if (how === "prompt") return { from: "prompt", key: name, prompt: text };
    }
    throw this.#problem(key, `'${name}' is a secret, which is {file: PATH} or {prompt: TEXT} here and no value`);
  }

  #problem(node: unknown, message: string): CommandError {
    return usageError(`${this.#name}:${this.#lines.linePos(offsetOf(node)).line}: ${message}`);
  }
}

/** With `stringKeys` every key is a text. */
function textOf(key: unknown): string {
  return isScalar(key) ? String(key.value) : "";
}

function offsetOf(node: unknown): number {
  const { range } = (node ?? {}) as Pick<YAMLMap, "range">;
  return range?.[0] ?? 0;
}
