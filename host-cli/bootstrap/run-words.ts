/** A guest's run in words. All of it is the guest's: whoever prints it makes it harmless. */
import type { BootstrapReport } from "../../shared/bootstrap.ts";
import type { ModuleReport, Progress, RunView } from "./followed-run.ts";

/** `web-site  error  1.2 s  check 'nginx -t' failed: exit code 1` */
export function moduleLine({ name, state, durationMs, reason }: ModuleReport, width = 0): string {
  const took = durationMs === undefined ? "" : seconds(durationMs);
  return joined([name.padEnd(width), width === 0 ? state : state.padEnd("skipped".length), took, reason ?? ""]);
}

/** `3 modules in 4.1 s` */
export function extentInWords({ modules, report: { durationMs } }: RunView): string {
  const count = `${modules.length} ${modules.length === 1 ? "module" : "modules"}`;
  return durationMs === undefined ? count : `${count} in ${seconds(durationMs)}`;
}

/** `web-site: check 'nginx -t' failed: exit code 1; and 1 more` */
export function failureInWords({ modules, report }: RunView): string {
  const [first, ...more] = modules.filter(({ state }) => state === "error");
  if (first === undefined) return report.reason ?? "the guest does not say why";
  const why = first.reason === undefined ? `${first.name} failed` : `${first.name}: ${first.reason}`;
  return more.length === 0 ? why : `${why}; and ${more.length} more`;
}

/** How far it came when nobody waits any longer: `its module web-site has been running for 12.0 s`. */
export function progressInWords(progress: Progress): string {
  switch (progress.type) {
    case "not-delivered":
      return "it never got the message, which waits in the manager till it answers";
    case "no-run": {
      const { otherCommit } = progress;
      const instead = otherCommit === undefined ? "" : ` (what it shows is of the commit '${otherCommit}')`;
      return `it got the message, but no run by this commit began${instead}; is vmmessage-bootstrap enabled in the guest?`;
    }
    case "running":
      if (progress.module === undefined) return "its run has begun and not ended";
      return `its module ${progress.module.name} has been running for ${seconds(progress.module.forMs)}`;
  }
}

/** Final: nothing comes after it. */
export function isEnd({ state }: BootstrapReport): boolean {
  return state === "ok" || state === "error";
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

function joined(parts: string[]): string {
  return parts.filter((part) => part !== "").join("  ");
}
