/**
 * The texts that `--help` prints after its lists, as parts of a manual page. Such a text has paragraphs, and titles that end
 * in a colon with indented lines below: two columns, or what is to be shown as it is.
 */

export type HelpBlock =
  | { type: "paragraph"; text: string }
  | { type: "table"; title: string; rows: HelpRow[] }
  | { type: "literal"; title: string; lines: string[] };

export interface HelpRow {
  term: string;
  /** Empty when the line has one column. */
  meaning: string;
}

/** Two columns have two spaces between them at least. */
const ROW = /^( {2,})(\S.*?)(?: {2,}(\S.*))?$/;

export function helpBlocks(text: string): HelpBlock[] {
  return text.split(/\n{2,}/).flatMap((part) => blocksOfPart(part.split("\n").filter((line) => line !== "")));
}

/** Lines without an empty one between them: a paragraph, and where others are indented its last line is their title. */
function blocksOfPart(lines: readonly string[]): HelpBlock[] {
  const start = lines.findIndex((line) => line.startsWith(" "));
  if (start === -1) return paragraph(lines);
  const end = lines.findIndex((line, index) => index > start && !line.startsWith(" "));
  const [below, rest] = end === -1 ? [lines.slice(start), []] : [lines.slice(start, end), lines.slice(end)];
  const title = (lines[start - 1] ?? "").replace(/:$/, "");
  return [...paragraph(lines.slice(0, Math.max(0, start - 1))), indentedBlock(title, below), ...blocksOfPart(rest)];
}

function paragraph(lines: readonly string[]): HelpBlock[] {
  return lines.length === 0 ? [] : [{ type: "paragraph", text: lines.join(" ") }];
}

/** A table's lines begin in one of its two columns; all else is shown as it is. */
function indentedBlock(title: string, lines: readonly string[]): HelpBlock {
  const rows: HelpRow[] = [];
  const meaningColumns = new Set(lines.map((line) => columnsOf(line).meaningAt));
  for (const line of lines) {
    const { termAt, term, meaning } = columnsOf(line);
    const last = rows.at(-1);
    if (termAt === 2) rows.push({ term, meaning: words(meaning) });
    else if (last !== undefined && meaningColumns.has(termAt)) last.meaning = `${last.meaning} ${line.trim()}`.trim();
    else return { type: "literal", title, lines: lines.flatMap(withRemarkAbove) };
  }
  return { type: "table", title, rows };
}

/** A second column beside literal lines is a remark, which a page of 80 columns has no room for at their side. */
function withRemarkAbove(line: string): string[] {
  const { termAt, term, meaning } = columnsOf(line);
  const indent = " ".repeat(termAt - 2);
  return [...(meaning === "" ? [] : [`${indent}# ${meaning}`]), `${indent}${term}`];
}

function columnsOf(line: string): { termAt: number; term: string; meaning: string; meaningAt: number } {
  const [, indent = "", term = "", meaning = ""] = ROW.exec(line) ?? [];
  return { termAt: indent.length, term, meaning, meaningAt: meaning === "" ? -1 : line.length - meaning.length };
}

/** A third column explains the second. */
function words(text: string): string {
  return text.trim().replace(/ {2,}/g, ": ");
}
