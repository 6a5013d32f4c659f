import type { GivenValue, ModuleRun } from "../../../../../agent/bootstrap/module.ts";

/** A run of `configure` with these values, which nobody ends. */
export function runWith(values: Record<string, GivenValue["value"]>): ModuleRun {
  const given = Object.entries(values).map(([key, value]): [string, GivenValue] => [key, { value, isSecret: false }]);
  return { target: "configure", values: new Map(given), signal: new AbortController().signal };
}
