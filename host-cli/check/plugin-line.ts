/**
 * The line of a monitoring plugin, `VMMESSAGE STATE - TEXT|PERFDATA` (monitoring-plugins.org, Development Guidelines,
 * "Plugin Output" and "Performance data"). Guests have a hand in both halves: neither can end early or run over.
 */
import { printable } from "../../shared/terminal-text.ts";
import { type CheckState, type Measurement, type Verdict, worstFirst, worstOf } from "./verdict.ts";

/** Of the text: more than a pager shows. With the numbers of 32 disks the line stays below 4 KiB, where some cut it off. */
const MAX_TEXT = 400;

/** Of a label; with the numbers of 32 disks a longer one would make the line too long. */
const MAX_LABEL = 64;

/** @param vm its name */
export function pluginLine(vm: string, verdicts: readonly Verdict[]): string {
  const text = worstFirst(verdicts)
    .map((verdict) => verdict.text)
    .join("; ");
  const measurements = verdicts.flatMap(({ measured }) => (measured === undefined ? [] : [measured]));
  const labels = distinctLabels(measurements.map(({ label }) => label));
  const perfdata = measurements.map((measured, index) => datum({ ...measured, label: labels[index] ?? "" }));
  const head = pluginHead(worstOf(verdicts), `${vm}: ${text}`);
  return perfdata.length === 0 ? head : `${head}|${perfdata.join(" ")}`;
}

/** The line of a check that came to nothing. */
export function pluginHead(state: CheckState, text: string): string {
  // The first bar ends the text.
  const safe = printable(text).replaceAll("|", "/");
  return `VMMESSAGE ${state} - ${safe.length <= MAX_TEXT ? safe : `${safe.slice(0, MAX_TEXT - 3)}...`}`;
}

/** `'/var'=42%;80;90;0;100` */
function datum({ label, value, unit, warning, critical, min, max }: Measurement): string {
  const numbers = [warning, critical, min, max].map((number) => (number === undefined ? "" : String(number)));
  return `'${label}'=${value}${unit};${numbers.join(";")}`.replace(/;+$/, "");
}

/** As they can stand in a line; those that have become alike are numbered, since graphs have one of each name. */
function distinctLabels(labels: readonly string[]): string[] {
  const taken = new Set<string>();
  return labels.map((label) => {
    const safe = safeLabel(label);
    let distinct = shortened(safe);
    for (let number = 2; taken.has(distinct); number += 1) distinct = shortened(safe, `_${number}`);
    taken.add(distinct);
    return distinct;
  });
}

/** Without what ends a label, a number or the text (Icinga allows no quoting of a quote). */
function safeLabel(label: string): string {
  return printable(label).replace(/['=|]/g, "_");
}

/** Out of the middle of what is too long: paths are told apart by their ends. */
function shortened(label: string, suffix = ""): string {
  const length = MAX_LABEL - suffix.length;
  if (label.length <= length) return `${label}${suffix}`;
  const half = Math.floor((length - 3) / 2);
  return `${label.slice(0, half)}...${label.slice(-half)}${suffix}`.toWellFormed();
}
