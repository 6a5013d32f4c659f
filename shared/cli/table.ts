/** A table for people: aligned columns, two spaces between them, none at the end of a line. */
import { printable } from "../terminal-text.ts";

const GAP = "  ";

/** The lines of a table. Columns in which nothing stands are left out. */
export function tableLines(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const columns = header.map((_, index) => index).filter((index) => rows.some((row) => row[index] !== ""));
  const cells = [header, ...rows].map((row) => columns.map((index) => printable(row[index] ?? "")));
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => row[index]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join(GAP)
      .trimEnd(),
  );
}
