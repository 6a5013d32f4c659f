/** Durations as people write them: `90`, `10m`, `1.5h`. */

const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d+(?:\.\d+)?)(ms|[smhd])?$/;

/** A timer of Node's cannot be longer. */
export const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Milliseconds, or undefined when it is not a duration above zero. Without a unit the number counts seconds. */
export function parseDuration(text: string): number | undefined {
  const [, count, unit = "s"] = DURATION.exec(text) ?? [];
  const ms = Math.round(Number(count) * (UNIT_MS[unit] ?? Number.NaN));
  return Number.isSafeInteger(ms) && ms > 0 ? ms : undefined;
}

/** A time-out in the unit that reads best: `250 ms`, `10 s`. */
export function durationInWords(ms: number): string {
  return ms % 1_000 === 0 ? `${ms / 1_000} s` : `${ms} ms`;
}
