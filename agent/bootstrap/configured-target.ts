/** systemd's target that applications wait for. */
import { existsSync } from "node:fs";
import { ModuleError } from "./module.ts";
import { exitProblem, runProgram } from "./run-program.ts";

export const CONFIGURED_TARGET = "vmmessage-configured.target";

/** Is there where systemd runs (sd_booted(3)). */
export const SYSTEMD = "/run/systemd/system";

/** Has it reached, and does not wait: it was not when the first boot gave up. Nothing to do without systemd. Throws ModuleError. */
export async function startConfiguredTarget(signal: AbortSignal): Promise<void> {
  if (!existsSync(SYSTEMD)) return;
  const args = ["--no-ask-password", "--no-block", "start", CONFIGURED_TARGET];
  const { exit, lines } = await runProgram({ file: "systemctl", args, signal });
  const problem = exitProblem(exit, signal);
  if (problem !== undefined) throw new ModuleError(`${CONFIGURED_TARGET} is not started: ${problem}`, lines);
}
