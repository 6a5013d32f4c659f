/** A line of the console: words as a POSIX shell reads them, then `verb Type name=value ...` as Oracle VM's CLI does. */
import { usageError } from "../../shared/cli/failure.ts";

/** What was typed, before it is known whether there is such a command. Names are lower case, values are as they came. */
export interface CommandLine {
  verb: string;
  /** The words that are not attributes: `Vm` in `show Vm name=web1`. */
  operands: string[];
  attributes: Map<string, string>;
}

/** What ssh2 and readline put where the bytes were not UTF-8. */
const REPLACEMENT_CHARACTER = "\ufffd";

const PLAIN_WORD = /^[\w@%+:,./-]+$/;

/** Undefined when there is no word. Throws CommandError (usage). */
export function parseCommandLine(line: string): CommandLine | undefined {
  if (line.includes(REPLACEMENT_CHARACTER)) throw usageError("the line is not UTF-8; set the terminal to UTF-8");
  const [verb, ...rest] = splitWords(line);
  if (verb === undefined) return undefined;
  const attributes = new Map<string, string>();
  for (const word of rest.filter(isAttribute)) addAttribute(attributes, word);
  return { verb: verb.toLowerCase(), operands: rest.filter((word) => !isAttribute(word)), attributes };
}

function isAttribute(word: string): boolean {
  return word.includes("=");
}

function addAttribute(attributes: Map<string, string>, word: string): void {
  const at = word.indexOf("=");
  const name = word.slice(0, at).toLowerCase();
  if (attributes.has(name)) throw usageError(`${name}= is given twice`);
  attributes.set(name, word.slice(at + 1));
}

/**
 * Words as in POSIX.1-2017, XCU 2.2: a backslash keeps the next character, single quotes keep everything, and double
 * quotes keep everything but a backslash before `"` or `\`. Nothing is expanded. Throws CommandError (usage).
 */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let at = 0;
  while (at < line.length) {
    const character = line.charAt(at);
    if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
      at += 1;
      continue;
    }
    const piece = readPiece(line, at);
    word = (word ?? "") + piece.text;
    at = piece.end;
  }
  return word === undefined ? words : [...words, word];
}

interface Piece {
  text: string;
  /** Where the next piece begins. */
  end: number;
}

function readPiece(line: string, at: number): Piece {
  switch (line.charAt(at)) {
    case "'":
      return readSingleQuoted(line, at);
    case '"':
      return readDoubleQuoted(line, at);
    case "\\":
      if (at + 1 === line.length) throw usageError("the line ends in a backslash; write \\\\ for one");
      return { text: line.charAt(at + 1), end: at + 2 };
    default:
      return readPlain(line, at);
  }
}

function readPlain(line: string, at: number): Piece {
  const length = line.slice(at).search(/[\s'"\\]/);
  const end = length === -1 ? line.length : at + length;
  return { text: line.slice(at, end), end };
}

function readSingleQuoted(line: string, at: number): Piece {
  const end = line.indexOf("'", at + 1);
  if (end === -1) throw usageError("a single quote is not closed");
  return { text: line.slice(at + 1, end), end: end + 1 };
}

function readDoubleQuoted(line: string, at: number): Piece {
  const [quoted, inside] = /^"((?:[^"\\]|\\[^])*)"/.exec(line.slice(at)) ?? [];
  if (quoted === undefined || inside === undefined) throw usageError("a double quote is not closed");
  return { text: inside.replace(/\\(["\\])/g, "$1"), end: at + quoted.length };
}

/** A value as {@link splitWords} reads it back: in double quotes where it must be. */
export function quoteWord(value: string): string {
  return PLAIN_WORD.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
}
