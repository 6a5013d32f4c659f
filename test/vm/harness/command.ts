import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** Runs a program of this machine to its end; returns its standard output, and throws with its standard error. */
export async function runCommand(program: string, args: string[], env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await execute(program, args, { env: { ...process.env, ...env }, maxBuffer: 2 ** 26 });
  return stdout;
}
