/** The file of a bootstrap: keys and secrets in YAML, and so in JSON too. */
import { isUtf8 } from "node:buffer";
import { dirname, resolve } from "node:path";
import {
  type ErrorCode,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  type Scalar,
  type YAMLMap,
} from "yaml";
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import { MAX_ENTRIES_PER_CHANGE, MAX_PAYLOAD } from "../../shared/protocol/limits.ts";
import { settableKey } from "./settable-key.ts";
import type { GivenKey, SecretSource, Sources } from "./sources.ts";

/** Twice what one message carries, for comments: YAML of this size takes a second or two to read, whatever stands in it. */
export const MAX_VALUES_FILE = 2 * MAX_PAYLOAD;

/** The library's own words repeat what stands in the file, which may be a secret. */
const PROBLEMS: Record<ErrorCode, string> = {
  ALIAS_PROPS: "an alias has an anchor or a tag",
  BAD_ALIAS: "an alias or an anchor has no name, or one that ends in ':'",
  BAD_COLLECTION_TYPE: "a tag does not fit the list or map that follows it",
  BAD_DIRECTIVE: "a directive ('%' at the beginning of a line) is not known",
  BAD_DQ_ESCAPE: "an escape sequence in a \"text\" is not known; in a 'text' a backslash is one",
  BAD_INDENT: "the indentation does not fit what stands before, or a bracket or quote there is not closed",
  BAD_PROP_ORDER: "an anchor or a tag stands before the '-', '?' or ':' it belongs after",
  BAD_SCALAR_START: "a text cannot begin with this character; quote it",
  BLOCK_AS_IMPLICIT_KEY: "a map or a list begins where a text is expected; a text with ': ' has to be quoted",
  BLOCK_IN_FLOW: "a map or a list over lines stands within {} or []",
  DUPLICATE_KEY: "this key stands twice",
  IMPOSSIBLE: "this cannot be read as YAML",
  KEY_OVER_1024_CHARS: "a key is over 1024 characters",
  MISSING_CHAR: "something is missing, such as a ':', a ',', a space, a quote or a bracket",
  MULTILINE_IMPLICIT_KEY: "a key is over several lines, or its ':' is missing",
  MULTIPLE_ANCHORS: "a value has several anchors",
  MULTIPLE_DOCS: "there are several documents ('---'); it has to be one",
  MULTIPLE_TAGS: "a value has several tags",
  NON_STRING_KEY: "a key is no text",
  RESOURCE_EXHAUSTION: "it is nested too deeply",
  TAB_AS_INDENT: "a tab stands in the indentation; it has to be spaces",
  TAG_RESOLVE_FAILED: "a tag ('!') is not known or does not fit the value; quote a text that begins with '!'",
  UNEXPECTED_TOKEN: "this is not expected here; a text with such characters has to be quoted",
};

const SHAPE = "keys: {KEY: VALUE}, secrets: {KEY: {file: PATH} or {prompt: TEXT}}";

type Node = Pair["value"];

/**
 * @param name as the user calls the file; a secret's relative path is relative to it
 * Throws CommandError, usage with the first problem, its line and column, or over-limit; of what stands in the file, names
 * of keys alone are repeated.
 */
export function parseValuesFile(bytes: Uint8Array, name: string): Sources {
  if (!isUtf8(bytes)) throw usageError(`${name} is not UTF-8; it has to be YAML`);
  const lines = new LineCounter();
  const document = parseDocument(Buffer.from(bytes).toString(), {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    // The library compares each with each; ours are looked at when they are read.
    uniqueKeys: false,
    version: "1.2",
    schema: "core",
    resolveKnownTags: false,
    // Of YAML 1.1 and many programs: told from text, so that nobody's date is sent as something else than was meant.
    customTags: ["timestamp"],
  });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) throw usageError(`${placeOf(lines, name, problem.pos[0])}: ${PROBLEMS[problem.code]}`);
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
    this.#assertDistinct(contents.items);
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
    if (!isMap(value)) throw this.#problem(key, `'${textOf(key)}' is no map; it has to be ${SHAPE}`);
    const needed = value.items.length;
    if (needed > MAX_ENTRIES_PER_CHANGE) {
      const message = `'${textOf(key)}' has ${needed} keys, over the limit of ${MAX_ENTRIES_PER_CHANGE} for one set`;
      throw new CommandError("over-limit", `${this.#name}: ${message}`, { needed, limit: MAX_ENTRIES_PER_CHANGE });
    }
    this.#assertDistinct(value.items);
    return value.items;
  }

  #assertDistinct(pairs: readonly Pair[]): void {
    const names = new Set<string>();
    for (const { key } of pairs) {
      if (names.has(textOf(key))) throw this.#problem(key, PROBLEMS.DUPLICATE_KEY);
      names.add(textOf(key));
    }
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
    if (isMap(node)) return this.#jsonMap(node.items);
    if (isSeq(node)) return node.items.map((item) => this.#json(item));
    if (!isScalar(node)) throw this.#problem(node, "this is an alias; write its value out");
    const { value } = node;
    if (value instanceof Date) throw this.#problem(node, "this is a date to YAML; quote it to send it as it is");
    if (typeof value === "number") this.#assertJsonNumber(node, value);
    return typeof value === "string" ? this.#wellFormed(node, value) : value;
  }

  #jsonMap(pairs: readonly Pair[]): object {
    this.#assertDistinct(pairs);
    return Object.fromEntries(pairs.map(({ key, value }) => [this.#wellFormed(key, textOf(key)), this.#json(value)]));
  }

  /** Where numbers cannot be sent as they are written, they have to be written as they are sent. */
  #assertJsonNumber(node: Scalar, value: number): void {
    if (node.source === JSON.stringify(value)) return;
    throw this.#problem(node, "JSON writes this number in another way; quote it to send it as it is");
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
    return usageError(`${placeOf(this.#lines, this.#name, offsetOf(node))}: ${message}`);
  }
}

/** `web1.yaml:3:12` */
function placeOf(lines: LineCounter, name: string, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${name}:${line}:${col}`;
}

/** With `stringKeys` every key is a text. */
function textOf(key: unknown): string {
  return isScalar(key) ? String(key.value) : "";
}

function offsetOf(node: unknown): number {
  const { range } = (node ?? {}) as Pick<YAMLMap, "range">;
  return range?.[0] ?? 0;
}
