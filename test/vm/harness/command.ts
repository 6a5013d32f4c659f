import { runTool } from "../../../scripts/run-tool.ts";

/** Runs a program of this machine to its end; returns its standard output, and throws with its standard error. */
export function runCommand(program: string, args: string[], env: Record<string, string> = {}): Promise<string> {
  return runTool(program, args, { env: { ...process.env, ...env } });
}
