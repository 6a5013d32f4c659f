/** The host's command. The only file here that touches arguments, environment, signals and exit codes. */
import { homedir, hostname } from "node:os";
import { isatty } from "node:tty";
import { assertUtf8Arguments } from "../shared/cli/arguments.ts";
import { asFailure, CommandError, Interruption } from "../shared/cli/failure.ts";
import { Output } from "../shared/cli/output.ts";
import { exitCodes } from "../shared/protocol/errors.ts";
import type { Context } from "./context.ts";
import { isCheck, parseArguments } from "./parse-arguments.ts";
import { runCommand } from "./run-command.ts";

const INTERRUPTED = { SIGINT: 130, SIGTERM: 143 } as const;

const args = process.argv.slice(2);
const output = new Output("vmmessage", process);
const interrupt = new AbortController();

// What virsh and ss print is read in their own English.
process.env["LC_ALL"] = "C";
for (const [signal, exitCode] of Object.entries(INTERRUPTED)) interruptOn(signal, exitCode);

void main();

async function main(): Promise<void> {
  try {
    assertUtf8Arguments(args);
    const parsed = parseArguments(args, { hostname: hostname(), environment: process.env });
    if (parsed.type === "text") process.stdout.write(parsed.text);
    else if (parsed.command.name === "check") {
      // A plugin says that it was ended, whatever by; of the rest a hang-up is nohup(1)'s to have ignored.
      interruptOn("SIGHUP", 129);
      const { check } = await import("./commands/check.ts");
      process.exitCode = await check(parsed.command, context());
    } else await runCommand(parsed.command, context());
  } catch (error) {
    if (isCheck(args)) await endCheck(asFailure(error));
    else end(asFailure(error));
  }
}

function interruptOn(signal: string, exitCode: number): void {
  process.once(signal, () => {
    interrupt.abort(new Interruption(signal, exitCode));
  });
}

function context(): Context {
  return {
    output,
    stdin: () => process.stdin,
    terminal: {
      ask: () => (isatty(0) ? process.stdin : undefined),
      show: process.stderr.isTTY ? process.stderr : undefined,
    },
    interrupt: interrupt.signal,
    environment: process.env,
    uid: process.getuid?.() ?? 0,
    home: homedir(),
  };
}

/** A plugin says on stdout that it found out nothing, and has no other exit codes. */
async function endCheck(error: unknown): Promise<void> {
  const isSaid = error instanceof CommandError || error instanceof Interruption;
  const { printFailedCheck } = await import("./commands/check.ts");
  const style = args.includes("--json") ? "json" : args.includes("--quiet") ? "quiet" : "transcript";
  process.exitCode = printFailedCheck(isSaid ? error : bug(error), output, style);
}

function end(error: unknown): void {
  // Whoever was to read the answers may have stopped reading: not even what is written is waited for.
  if (error instanceof Interruption) process.exit(error.exitCode);
  const failure = error instanceof CommandError ? error : bug(error);
  if (args.includes("--json")) {
    output.json({ error: { ...failure.details, code: failure.code, message: failure.message } });
  } else {
    output.note(failure.message);
  }
  process.exitCode = exitCodes[failure.code];
}

/** Nothing that a user or a guest does should lead here. */
function bug(error: unknown): CommandError {
  const trace = error instanceof Error ? error.stack : undefined;
  return new CommandError("failed", `this is a bug in vmmessage: ${trace ?? String(error)}`);
}
