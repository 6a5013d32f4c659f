/** A guest's run in words. All of it is the guest's: whoever prints it makes it harmless. */
import { hasEnded, type ModuleReport, type Progress, type RunView, type Seen } from "./followed-run.ts";

const UNITS =
  "is vmmessage-bootstrap (for the first boot) or vmmessage-reconfigure (for later ones) enabled in the guest?";

/** `web-site  error  1.2 s  check 'nginx -t' failed: exit code 1` */
export function moduleLine({ name, state, durationMs, reason }: ModuleReport, width = 0): string {
  const took = durationMs === undefined ? "" : seconds(durationMs);
  return joined([name.padEnd(width), width === 0 ? state : state.padEnd("skipped".length), took, reason ?? ""]);
}

/** What a module that failed printed last, as it stands under the module's line. */
export function printedLines({ state, lines = [] }: ModuleReport): string[] {
  return state === "error" ? lines.map((line) => `  ${line}`) : [];
}

/** `3 modules in 4.1 s` */
export function extentInWords({ modules, report: { durationMs } }: RunView): string {
  const count = `${modules.length} ${modules.length === 1 ? "module" : "modules"}`;
  return durationMs === undefined ? count : `${count} in ${seconds(durationMs)}`;
}

/** `web-site: check 'nginx -t' failed: exit code 1; and 1 more` */
export function failureInWords({ modules, report }: RunView): string {
  const [first, ...more] = modules.filter(({ state }) => state === "error");
  if (first === undefined) return report.reason ?? unendedInWords(modules) ?? "the guest does not say why";
  const why = first.reason === undefined ? `${first.name} failed` : `${first.name}: ${first.reason}`;
  return more.length === 0 ? why : `${why}; and ${more.length} more`;
}

/** `1 of 3 modules failed`; the reason of a run that failed as a whole. */
export function lossInWords(view: RunView): string {
  const failed = view.modules.filter(({ state }) => state === "error").length;
  return failed === 0 ? failureInWords(view) : `${failed} of ${view.modules.length} modules failed`;
}

/** Of a guest that says all is done. */
function unendedInWords(modules: readonly ModuleReport[]): string | undefined {
  const unended = modules.find((module) => !hasEnded(module));
  return unended && `the run has ended, but its module ${unended.name} is ${unended.state}`;
}

/** How far it came when nobody waits any longer: `its module web-site has been running for 12.0 s`. */
export function progressInWords(progress: Progress): string {
  switch (progress.type) {
    case "not-delivered":
      return "it never got the message, which waits in the manager till it answers";
    case "no-run": {
      const { otherCommit } = progress;
      const instead = otherCommit === undefined ? "" : ` (what it shows is of the commit '${otherCommit}')`;
      return `it got the message, but no run by this commit began${instead}; ${UNITS}`;
    }
    case "running":
      if (progress.module === undefined) return "its run has begun and not ended";
      return `its module ${progress.module.name} has been running for ${seconds(progress.module.forMs)}`;
  }
}

/** `superseded by the commit 'two'` */
export function supersededInWords({ commit, hadBegun }: Extract<Seen, { type: "superseded" }>): string {
  const by = `superseded by ${commit === null ? "another commit" : `the commit '${commit}'`}`;
  return hadBegun ? `${by}; its run had begun, and its end was not seen` : by;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

function joined(parts: string[]): string {
  return parts.filter((part) => part !== "").join("  ");
}
