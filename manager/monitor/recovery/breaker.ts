/**
 * When a policy's command may be run for a VM, and when no more: never a reboot loop, not even a slow one. Without a clock,
 * events or a store; times are milliseconds since 1970.
 *
 * Runs are counted until the VM was healthy for the policy's time without a break, however long they are apart. When one
 * more would be too many, the breaker opens, and only that health closes it again.
 *
 * Of a clock that was set back, times that lie ahead count as now: health is believed later for it, and never earlier.
 */
import { unreachable } from "../../../shared/protocol/errors.ts";
import type { RecoveryPolicy } from "../../config.ts";

export type RecoveryLimits = Pick<RecoveryPolicy, "atMost" | "within" | "atMostTogether">;

/** What a policy knows of one VM. */
export interface Breaker {
  /** When its command was run since the VM was healthy for long enough, the oldest first. */
  runs: readonly number[];
  /** The breaker is open. */
  isSuspended: boolean;
  /** What failed and has not recovered. */
  failing: readonly string[];
  /** Since when nothing fails; undefined while something does, or the VM does not run. */
  healthySince: number | undefined;
  /** When it was told last that nothing is run because of the other VMs. */
  passedOverAt: number | undefined;
}

export type Decision =
  | { type: "run" }
  /** The breaker opens. */
  | { type: "suspend" }
  /** It is open. */
  | { type: "suspended" }
  /** Too many others were recovered: whatever is wrong, it is not this VM. */
  | { type: "pass-over"; isTold: boolean };

/** Subjects of one VM that fail at once: its guest, its agent, and more applications than an agent watches. */
const MAX_FAILING = 64;

export const closedBreaker: Breaker = {
  runs: [],
  isSuspended: false,
  failing: [],
  healthySince: undefined,
  passedOverAt: undefined,
};

/** As it is after the health that lasted up to a moment: closed, when that was long enough. */
export function afterHealth(breaker: Breaker, { within }: RecoveryLimits, upTo: number): Breaker {
  const { healthySince, passedOverAt } = breaker;
  if (healthySince === undefined || upTo - healthySince < within) return breaker;
  return { ...closedBreaker, healthySince, passedOverAt };
}

/** @param breaker as it was {@link afterHealth} */
export function withFailure(breaker: Breaker, subject: string): Breaker {
  const others = breaker.failing.filter((one) => one !== subject);
  return { ...breaker, failing: [...others, subject].slice(-MAX_FAILING), healthySince: undefined };
}

export function withRecovery(breaker: Breaker, subject: string, at: number): Breaker {
  const failing = breaker.failing.filter((one) => one !== subject);
  return { ...breaker, failing, healthySince: failing.length === 0 ? (breaker.healthySince ?? at) : undefined };
}

/** The VM does not run: that is neither a failure nor health. */
export function withStop(breaker: Breaker): Breaker {
  return { ...breaker, healthySince: undefined };
}

/** @param together runs of all VMs within the policy's time, by {@link runsWithin} */
export function decide(
  { isSuspended, runs, passedOverAt }: Breaker,
  { atMost, within, atMostTogether }: RecoveryLimits,
  together: number,
  now: number,
): Decision {
  if (isSuspended) return { type: "suspended" };
  if (runs.length >= atMost) return { type: "suspend" };
  if (together < atMostTogether) return { type: "run" };
  return { type: "pass-over", isTold: passedOverAt === undefined || now - passedOverAt >= within };
}

export function withDecision(breaker: Breaker, decision: Decision, now: number): Breaker {
  switch (decision.type) {
    case "run":
      return { ...breaker, runs: [...breaker.runs, now] };
    case "suspend":
    case "suspended":
      return { ...breaker, isSuspended: true };
    case "pass-over":
      return decision.isTold ? { ...breaker, passedOverAt: now } : breaker;
    default:
      return unreachable(decision);
  }
}

export function runsWithin({ runs }: Breaker, { within }: RecoveryLimits, now: number): number {
  return runs.filter((at) => now - at < within).length;
}

/** With what lies ahead as now. The same object when nothing does. */
export function withoutFuture(breaker: Breaker, now: number): Breaker {
  const { runs, healthySince, passedOverAt } = breaker;
  const latest = Math.max(...runs, healthySince ?? -Infinity, passedOverAt ?? -Infinity);
  if (latest <= now) return breaker;
  const upToNow = (time: number | undefined): number | undefined => time && Math.min(time, now);
  return {
    ...breaker,
    runs: runs.map((at) => Math.min(at, now)),
    healthySince: upToNow(healthySince),
    passedOverAt: upToNow(passedOverAt),
  };
}
