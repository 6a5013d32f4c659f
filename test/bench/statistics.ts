/** The smallest value that at least `percent` per cent of the values do not exceed (nearest rank). */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
  if (value === undefined) throw new Error("there is no percentile of no values");
  return value;
}

export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** The median of the repetitions, and the least and the most of them. */
export function summary(values: readonly number[]): { ours: number; range: [number, number] } {
  return { ours: median(values), range: [Math.min(...values), Math.max(...values)] };
}
