// Runs a program to its end, with no environment but the given one.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";

export interface RunOptions {
  env?: Record<string, string>;
  input?: string;
}

export interface Outcome {
  /** null when a signal ended it. */
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

export async function run(
  program: string,
  args: string[],
  { env = {}, input = "" }: RunOptions = {},
): Promise<Outcome> {
  const child = spawn(program, args, { env });
  child.stdin.on("error", () => undefined); // a program need not read it
  child.stdin.end(input);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { exitCode: child.exitCode, stdout, stderr };
}
