/**
 * Values by their keys from a text: a JSON object, the lines of `agent -l`, or YAML, of which JSON is a part (YAML 1.2.2,
 * section 1.3). Pure. What is wrong is said with its line, and never with a value.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  type YAMLMap,
} from "yaml";
import { CommandError, usageError } from "../../../shared/cli/failure.ts";
import { MAX_ENTRIES_PER_CHANGE, MAX_VALUE } from "../../../shared/protocol/limits.ts";
import { keyProblem, type Value, valueBytes, valueFromBytes } from "../../../shared/protocol/value.ts";
import type { GivenValue, Values } from "../module.ts";

/** RFC 4648, section 4. */
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const BASE64_MEMBER = "base64";

/** The members of the file that `vmmessage bootstrap` sends from the host. */
const KEYS = "keys";
const SECTIONS = [KEYS, "secrets"];

const YAML_OPTIONS = {
  version: "1.2",
  schema: "core",
  stringKeys: true,
  resolveKnownTags: false,
  // Told with the line of the first, and across the lines of a list.
  uniqueKeys: false,
  prettyErrors: false,
} as const;

/**
 * `{"key": "text"}`, `{"key": {"base64": "..."}}`; a number, true and false mean the text that is written, a list and any
 * other map their JSON. All of it may stand below `keys`.
 *
 * @param origin where the text is from, as a failure begins: a file's path, `the standard input`
 * Throws CommandError: `usage`, and `over-limit` for a value or for too many of them.
 */
export function parseValues(text: string, origin: string): Values {
  const taken = new TakenValues(origin);
  const pieces = listLinesOf(text) ?? [{ text, firstLine: 1 }];
  for (const piece of pieces) new PieceReader(piece, taken).read();
  return taken.values;
}

/** A part of the text that is a document of its own. */
interface Piece {
  text: string;
  firstLine: number;
}

/** The lines that hold something, where each of them is an object; undefined for any other text. */
function listLinesOf(text: string): Piece[] | undefined {
  const pieces = text
    .split("\n")
    .map((line, index) => ({ text: line.trim(), firstLine: index + 1 }))
    .filter((piece) => piece.text !== "");
  return pieces.every((piece) => piece.text.startsWith("{") && piece.text.endsWith("}")) ? pieces : undefined;
}

/** What was found so far. */
class TakenValues {
  readonly values = new Map<string, GivenValue>();
  readonly #origin: string;
  readonly #lines = new Map<string, number>();

  constructor(origin: string) {
    this.#origin = origin;
  }

  take(key: string, value: Value, line: number): void {
    if (valueBytes(value).length > MAX_VALUE) {
      throw this.#overLimit(`the value of '${key}' is over the limit of ${MAX_VALUE} bytes`, line, {
        key,
        limit: MAX_VALUE,
      });
    }
    this.values.set(key, { value, isSecret: false });
    if (this.values.size > MAX_ENTRIES_PER_CHANGE) {
      throw this.#overLimit(`more than ${MAX_ENTRIES_PER_CHANGE} keys`, line, { limit: MAX_ENTRIES_PER_CHANGE });
    }
  }

  /** Throws for what is no key, or stands there already. */
  claim(key: string, line: number): void {
    const problem = keyProblem(key);
    if (problem !== undefined) throw this.wrong(`'${key}': ${problem}`, line);
    const first = this.#lines.get(key);
    if (first !== undefined) throw this.wrong(`'${key}' stands there twice, first in line ${first}`, line);
    this.#lines.set(key, line);
  }

  wrong(problem: string, line: number): CommandError {
    return usageError(this.#at(problem, line));
  }

  #overLimit(problem: string, line: number, details: Record<string, unknown>): CommandError {
    return new CommandError("over-limit", this.#at(problem, line), details);
  }

  #at(problem: string, line: number): string {
    return `${this.#origin}, line ${line}: ${problem}`;
  }
}

class PieceReader {
  readonly #piece: Piece;
  readonly #taken: TakenValues;
  readonly #lineCounter = new LineCounter();

  constructor(piece: Piece, taken: TakenValues) {
    this.#piece = piece;
    this.#taken = taken;
  }

  read(): void {
    const { contents } = this.#document();
    if (contents === null || (isScalar(contents) && contents.value === null)) return;
    if (!isMap(contents)) throw this.#wrong("needs keys with their values, as an object of JSON or in YAML", contents);
    for (const pair of this.#pairsOf(contents)) this.#readPair(pair);
  }

  /** Nothing is built of it: aliases are not followed, and numbers stay as they were written. */
  #document(): Document.Parsed {
    const document = parseDocument(this.#piece.text, { ...YAML_OPTIONS, lineCounter: this.#lineCounter });
    const [problem] = [...document.errors, ...document.warnings];
    if (problem === undefined) return document;
    // The library's message may repeat a piece of the text.
    const what = problem.code.toLowerCase().replaceAll("_", " ");
    throw this.#taken.wrong(`it is neither JSON nor YAML: ${what}`, this.#lineAt(problem.pos[0]));
  }

  /** Those below `keys`, or all. */
  #pairsOf(map: YAMLMap): Pair[] {
    const sections = map.items.filter(({ key, value }) => SECTIONS.includes(textOf(key) ?? "") && isMap(value));
    if (sections.length === 0) return map.items;
    const stray = map.items.find(({ key }) => textOf(key) !== KEYS);
    if (stray !== undefined) {
      throw this.#wrong(
        `'${textOf(stray.key) ?? ""}' cannot stand beside ${KEYS}, and secrets are no part of it`,
        stray.key,
      );
    }
    return sections.flatMap(({ value }) => (isMap(value) ? value.items : []));
  }

  #readPair({ key: keyNode, value: node }: Pair): void {
    const key = textOf(keyNode);
    if (key === undefined) throw this.#wrong("a key has to be text", keyNode);
    const line = this.#lineOf(keyNode);
    this.#taken.claim(key, line);
    const value = this.#valueOf(key, node);
    if (typeof value === "string" && !value.isWellFormed()) {
      throw this.#taken.wrong(`the value of '${key}' has to be well-formed Unicode; give other bytes as base64`, line);
    }
    this.#taken.take(key, value, line);
  }

  #valueOf(key: string, node: unknown): Value {
    if (isMap(node) && node.has(BASE64_MEMBER)) return this.#bytesOf(key, node);
    if (isMap(node) || isSeq(node)) return JSON.stringify(this.#json(key, node));
    const text = textOf(node);
    if (text !== undefined) return text;
    if (isAlias(node)) throw this.#alias(key, node);
    const why = "a list shows null for a secret, whose value no list holds";
    throw this.#wrong(`'${key}' has no value (${why}); give it in a file or with --console-input`, node);
  }

  #bytesOf(key: string, map: YAMLMap): Value {
    const base64 = map.items.length === 1 ? textOf(map.items[0]?.value) : undefined;
    if (base64 !== undefined && BASE64.test(base64)) return valueFromBytes(Buffer.from(base64, "base64"));
    throw this.#wrong(`the value of '${key}' is not {"base64": "..."} as RFC 4648, section 4 has it`, map);
  }

  #json(key: string, node: unknown): unknown {
    if (isMap(node)) {
      return Object.fromEntries(node.items.map((pair) => [textOf(pair.key), this.#json(key, pair.value)]));
    }
    if (isSeq(node)) return node.items.map((item) => this.#json(key, item));
    if (!isScalar(node)) throw this.#alias(key, node);
    if (typeof node.value !== "number" || isExact(node.value)) return node.value;
    throw this.#wrong(`the value of '${key}' has a number that JSON cannot carry unchanged; quote it`, node);
  }

  #alias(key: string, node: unknown): CommandError {
    return this.#wrong(`the value of '${key}' is an alias; write it out`, node);
  }

  #wrong(problem: string, node: unknown): CommandError {
    return this.#taken.wrong(problem, this.#lineOf(node));
  }

  #lineOf(node: unknown): number {
    const { range } = (node ?? {}) as Pick<YAMLMap, "range">;
    return this.#lineAt(range?.[0] ?? 0);
  }

  #lineAt(offset: number): number {
    return this.#piece.firstLine - 1 + Math.max(this.#lineCounter.linePos(offset).line, 1);
  }
}

/** As it is written: 1.10 is not 1.1. Undefined for what is no scalar, or null. */
function textOf(node: unknown): string | undefined {
  if (!isScalar(node) || node.value === null) return undefined;
  return typeof node.value === "string" ? node.value : node.source;
}

function isExact(number: number): boolean {
  return Number.isInteger(number) ? Number.isSafeInteger(number) : Number.isFinite(number);
}
