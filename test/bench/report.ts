/** The figures as a table for people and as JSON for programs. */
import type { Figure } from "./figure.ts";
import { isGoalMet } from "./goal.ts";

const HEADER = ["name", "unit", "ours", "range", "peer", "floor", "ours/peer", "goal", "met"];
/** Columns of numbers, which are compared best with their ends below each other. */
const NUMERIC = new Set(["ours", "ours/peer"]);
const GAP = "  ";

export function figuresTable(figures: readonly Figure[]): string {
  const rows = [HEADER, ...figures.map(tableRow)];
  const widths = HEADER.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) => row.map((cell, column) => aligned(cell, column, widths[column] ?? 0)).join(GAP));
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}

function aligned(cell: string, column: number, width: number): string {
  return NUMERIC.has(HEADER[column] ?? "") ? cell.padStart(width) : cell.padEnd(width);
}

function tableRow(figure: Figure): string[] {
  const { name, unit, ours, range, peer, peerName, floor, floorName, goal = "" } = figure;
  const ratio = peer === undefined || peer === 0 ? "" : (ours / peer).toFixed(2);
  const met = { true: "yes", false: "no", undefined: "" }[`${isGoalMet(figure)}`];
  const spread = range?.map(shortNumber).join("-") ?? "";
  return [name, unit, shortNumber(ours), spread, named(peer, peerName), named(floor, floorName), ratio, goal, met];
}

function named(value: number | undefined, name = ""): string {
  return value === undefined ? "" : `${shortNumber(value)} ${name}`.trimEnd();
}

/** Three digits are more than such measurements hold. */
function shortNumber(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

export function figuresJson(figures: readonly Figure[]): string {
  const entries = figures.map(({ name, unit, ours, range, peer, peerName, floor, floorName }) => {
    return { name, unit, ours, range, peer, peerName, floor, floorName };
  });
  return `${JSON.stringify({ figures: entries }, null, 2)}\n`;
}
