/** How a program is called, as its `--help` words it: `[-u USER] -v VM COMMAND [ARGS...] | ...`. */
import { argument } from "./mdoc.ts";

/** The line as macros of mdoc(7), the program's name before it. */
export function usageLine(line: string, program: string): string {
  const words = line.trim().split(/\s+/);
  const named = words[0] === program ? words : [program, ...words];
  const [start = "", ...rest] = named.map((word) => macrosOf(word, program));
  return [`.${start}`, ...rest].join(" ");
}

/** Brackets stand around several words, or around one: then it is a placeholder, however it is written. */
function macrosOf(word: string, program: string): string {
  const [, opening = "", inner = "", closing = ""] = /^(\[?)(.*?)(\]?)$/.exec(word) ?? [];
  const isPlaceholder = /^[A-Z]/.test(inner) || (opening !== "" && closing !== "" && /^[a-z]/.test(inner));
  const macros = isPlaceholder ? placeholder(inner) : plainWord(inner, program);
  return [opening && "Oo", macros, closing && "Oc"].filter((part) => part !== "").join(" ");
}

function placeholder(word: string): string {
  const name = word.replace(/\.\.\.$/, "");
  return `Ar ${argument(name)}${name === word ? "" : " ..."}`;
}

function plainWord(word: string, program: string): string {
  if (word === program) return `Nm ${argument(word)}`;
  if (word === "...") return `No ${word}`;
  if (word === "|") return word;
  if (word.startsWith("-")) return `Fl ${argument(word.slice(1))}`;
  return `Cm ${argument(word)}`;
}
