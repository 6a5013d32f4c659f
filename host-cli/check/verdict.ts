/** What a check found, as monitoring plugins tell it (monitoring-plugins.org, Development Guidelines). */

export const checkStates = ["OK", "WARNING", "CRITICAL", "UNKNOWN"] as const;
export type CheckState = (typeof checkStates)[number];

/** The exit code of each; a check has no others. */
export const checkExitCodes = { OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3 } as const satisfies Record<
  CheckState,
  number
>;

/** A number with what it is judged by. */
export interface Measurement {
  /** What graphs call it. */
  label: string;
  value: number;
  unit: "%" | "ms" | "";
  warning?: number | undefined;
  critical?: number | undefined;
  min?: number;
  max?: number;
}

/** What one thing that was looked at is like. */
export interface Verdict {
  /** `cpu`, `disk /var`, `application db`. */
  name: string;
  state: CheckState;
  /** In words; may have words of the guest's in it. */
  text: string;
  measured?: Measurement;
}

/** The worst first. What is known to be bad outweighs what is not known. */
const bySeverity: readonly CheckState[] = ["CRITICAL", "WARNING", "UNKNOWN", "OK"];

export function worstOf(verdicts: readonly Verdict[]): CheckState {
  return bySeverity.find((state) => verdicts.some((verdict) => verdict.state === state)) ?? "UNKNOWN";
}

export function worstFirst(verdicts: readonly Verdict[]): Verdict[] {
  return verdicts.toSorted((a, b) => bySeverity.indexOf(a.state) - bySeverity.indexOf(b.state));
}
