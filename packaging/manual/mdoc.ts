/**
 * Pieces of manual pages in mdoc(7), as lines of its source. Words on a line of macros are made with {@link argument}, and
 * prose with {@link prose}: then nothing that a text says is taken for markup, and what a reader copies is what was written.
 */

/** Characters that roff takes for markup, or prints as others than those a shell reads (groff_char(7)). */
const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\(rs",
  "-": "\\-",
  "'": "\\(aq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
};

/** What mdoc takes for a macro wherever it stands on a macro's line: its macros have two or three characters. */
const MACRO_LIKE = /^[A-Z%][A-Za-z0-9]{1,2}$/;

/** mdoc(7), "Delimiters": a word of one of these is no argument. */
const DELIMITER = /^[.,:;()[\]?!|]$/;

export interface ListItem {
  /** Words of a line of macros. */
  term: string;
  body: readonly string[];
}

/** Whatever it says, it is nothing but text. */
export function escaped(text: string): string {
  return Array.from(text, escapedCharacter).join("");
}

/** One argument of a macro. */
export function argument(text: string): string {
  const plain = escaped(text).replaceAll('"', "\\(dq");
  if (plain === "" || plain.includes(" ")) return `"${plain}"`;
  return MACRO_LIKE.test(text) || DELIMITER.test(text) ? `\\&${plain}` : plain;
}

/** Sentences on lines of their own, as mdoc(7) wants them. */
export function prose(text: string): string[] {
  return text
    .replace(/\s+/g, " ")
    .trim()
    .split(/(?<=\.) (?=[A-Z])/)
    .map((sentence) => sentence.split(" ").map(unhyphenated).join(" "));
}

/** Paragraphs and what else makes a body, with the space between them. Lists and displays have their own. */
export function body(...blocks: (readonly string[])[]): string[] {
  return blocks
    .filter((block) => block.length > 0)
    .flatMap((block, index) => (index === 0 || /^\.(B[ld]|Ss) /.test(block[0] ?? "") ? block : [".Pp", ...block]));
}

export function section(title: string, ...blocks: (readonly string[])[]): string[] {
  const lines = body(...blocks);
  return lines.length === 0 ? [] : [`.Sh ${title}`, ...lines];
}

export function subsection(title: string, ...blocks: (readonly string[])[]): string[] {
  return [`.Ss ${argument(title)}`, ...body(...blocks)];
}

/** Terms, and below each what it means. */
export function list(items: readonly ListItem[], { isCompact = false } = {}): string[] {
  if (items.length === 0) return [];
  const lines = items.flatMap(({ term, body: meaning }) => [`.It ${term}`, ...meaning]);
  return [`.Bl -tag -width Ds${isCompact ? " -compact" : ""}`, ...lines, ".El"];
}

/** Lines as they stand. */
export function display(lines: readonly string[]): string[] {
  return [".Bd -literal -offset indent", ...lines.map(atLineStart), ".Ed"];
}

/** Names of files and the like are copied; they are not broken as words are. `\%` at a line's start hides a full stop too. */
function unhyphenated(word: string): string {
  return /^\W*[a-z]+('[a-z]+)?\W*$/i.test(word) && !word.startsWith(".") ? escaped(word) : `\\%${escaped(word)}`;
}

/** A line that begins like a request is none. */
function atLineStart(line: string): string {
  return (line.startsWith(".") ? "\\&" : "") + escaped(line);
}

function escapedCharacter(character: string): string {
  const escape = ESCAPES[character];
  if (escape !== undefined) return escape;
  if (character <= "~") return character;
  const codePoint = character.codePointAt(0) ?? 0;
  return `\\[u${codePoint.toString(16).toUpperCase().padStart(4, "0")}]`;
}
