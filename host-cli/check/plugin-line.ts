/**
 * The line of a monitoring plugin, `VMMESSAGE STATE - TEXT|PERFDATA` (monitoring-plugins.org, Development Guidelines,
 * "Plugin Output" and "Performance data"). Guests have a hand in both halves: neither can end early or run over.
 */
import { printable } from "../../shared/terminal-text.ts";
import { type CheckState, type Measurement, type Verdict, worstFirst, worstOf } from "./verdict.ts";

/** Of the text: more than a pager shows. With the numbers of 32 disks the line stays below 4 KiB, where some cut it off. */
const MAX_TEXT = 400;

/** Of a label; graphs tell them apart by their first characters. */
const MAX_LABEL = 64;

/** @param vm its name */
export function pluginLine(vm: string, verdicts: readonly Verdict[]): string {
  const text = worstFirst(verdicts)
    .map((verdict) => verdict.text)
    .join("; ");
  const perfdata = verdicts.flatMap(({ measured }) => (measured === undefined ? [] : [datum(measured)]));
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
  return `'${safeLabel(label)}'=${value}${unit};${numbers.join(";")}`.replace(/;+$/, "");
}

/** Without what ends a label, a number or the text (Icinga allows no quoting of a quote). */
function safeLabel(label: string): string {
  return printable(label).replace(/['=|]/g, "_").slice(0, MAX_LABEL);
}
