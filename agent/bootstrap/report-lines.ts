/** A run in words. Pure. */
import { type BootstrapReport, outcomeOf } from "../../shared/bootstrap.ts";
import type { ModuleEnd } from "./runner.ts";
import type { RunState } from "./run-state.ts";

/** `web  ok  0.2 s`, and why where it is not. */
export function moduleLine({ name, outcome, durationMs, reason }: Omit<ModuleEnd, "lines" | "results">): string {
  return [name, outcome, seconds(durationMs), ...(reason === undefined ? [] : [reason])].join("  ");
}

/** How a run went, in one line. */
export function runLine({ target, state, modules, reason, durationMs = 0 }: BootstrapReport): string {
  const failed = modules.filter((module) => module.state === "error").map(({ name }) => name);
  if (state === "ok") return `${target}: all ${modules.length} modules are done, in ${seconds(durationMs)}`;
  if (failed.length > 0) return `${target}: of ${modules.length} modules these failed: ${failed.join(", ")}`;
  return `${target}: ${reason ?? state}`;
}

/** `agent config status`. */
export function reportLines({
  last,
  isConfigured,
  underway,
}: Pick<RunState, "last" | "isConfigured" | "underway">): string[] {
  const head = isConfigured ? "This machine is configured." : "This machine is not configured.";
  const now = underway === null ? [] : [`A run of ${underway.target} was begun and has not ended.`];
  if (last === null) return [head, ...now];
  const modules = last.modules.map(({ name, state, durationMs = 0, reason }) => {
    const outcome = outcomeOf(state);
    return `  ${moduleLine({ name, outcome, durationMs, ...(reason !== undefined && { reason }) })}`;
  });
  return [head, ...now, `The last run, of ${last.startedAt}: ${runLine(last)}`, ...modules];
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
