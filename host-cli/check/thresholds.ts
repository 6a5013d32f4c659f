/** What a check raises an alarm at, as the command line says it. Problems are commander's InvalidArgumentError. */
import { InvalidArgumentError } from "commander";

/** An alarm is raised at or over these. */
export interface Thresholds {
  warning: number | undefined;
  critical: number;
}

/** For one file system; for all that are not named when there is no path. */
export interface DiskThresholds extends Thresholds {
  path: string | undefined;
}

/** What is looked at in a guest. With nothing in it, whether it answers. */
export interface CheckRequest {
  cpu: Thresholds | undefined;
  memory: Thresholds | undefined;
  disks: readonly DiskThresholds[];
  load: Thresholds | undefined;
  applications: boolean;
}

/** Between the two answers by which processors are judged. */
export const CPU_WINDOW_MS = 1_000;

const NUMBER = /^\d{1,4}(?:\.\d{1,2})?$/;

/** `90`, or `80,90`: critical, or warning and critical, in percent. */
export function percentThresholds(text: string): Thresholds {
  const thresholds = thresholdsOf(text, "80,90");
  if (thresholds.critical > 100) throw new InvalidArgumentError("a percentage is at most 100");
  return thresholds;
}

/** `8`, or `4,8`. */
export function loadThresholds(text: string): Thresholds {
  return thresholdsOf(text, "4,8");
}

/** `80,90` for every file system, or `/var=70,85` for one; each once. */
export function diskThresholds(text: string, before: readonly DiskThresholds[] = []): DiskThresholds[] {
  // A path can have a `=` in it, and thresholds have none.
  const at = text.lastIndexOf("=");
  const path = at === -1 ? undefined : text.slice(0, at);
  if (path === "") throw new InvalidArgumentError("it has no path before the =");
  if (before.some((other) => other.path === path)) {
    throw new InvalidArgumentError(
      path === undefined ? "every disk has thresholds already" : `${path} has some already`,
    );
  }
  return [...before, { path, ...percentThresholds(text.slice(at + 1)) }];
}

function thresholdsOf(text: string, example: string): Thresholds {
  const parts = text.split(",");
  const [first, second = first] = parts.map(Number);
  if (parts.length > 2 || !parts.every((part) => NUMBER.test(part)) || first === undefined || second === undefined) {
    const [, one = ""] = example.split(",");
    throw new InvalidArgumentError(`it is not CRITICAL or WARNING,CRITICAL, as ${one} or ${example}`);
  }
  if (first > second) throw new InvalidArgumentError(`the warning, ${first}, is over the critical ${second}`);
  return { warning: parts.length === 2 ? first : undefined, critical: second };
}
