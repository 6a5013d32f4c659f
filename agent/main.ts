/** `agent`: the guest's daemon and its commands. The only file that touches arguments, signals and the exit code. */
import type { Output } from "../shared/cli/output.ts";
import type { Command } from "./command.ts";

async function main(): Promise<void> {
  const { Output } = await import("../shared/cli/output.ts");
  const output = new Output("agent", process);
  try {
    const { assertUtf8Arguments } = await import("../shared/cli/arguments.ts");
    const { parseArguments } = await import("./parse-arguments.ts");
    const args = process.argv.slice(2);
    assertUtf8Arguments(args);
    const parsed = parseArguments(args);
    if (parsed.type === "text") process.stdout.write(parsed.text);
    else await runCommand(parsed.command, output);
  } catch (error) {
    process.exitCode = await reportFailure(error, output);
  }
}

/** Each command's code is loaded when it is the one: `agent -g` must start as fast as it can. */
async function runCommand(command: Command, output: Output): Promise<void> {
  switch (command.name) {
    case "get":
      return (await import("./commands/get.ts")).getKey(command, output);
    case "list":
      return (await import("./commands/list.ts")).listKeys(command, output);
    case "set":
      return (await import("./commands/change.ts")).setKeys(command, output);
    case "delete":
      return (await import("./commands/change.ts")).deleteKeys(command, output);
    case "clear":
      return (await import("./commands/change.ts")).clearKeys(command, output);
    case "event":
      return (await import("./commands/tell-host.ts")).sendEvent(command, output);
    case "acknowledge":
      return (await import("./commands/tell-host.ts")).acknowledgeKey(command, output);
    case "watch":
      return (await import("./commands/watch.ts")).watchKeys(command, output);
    case "wait":
      return (await import("./commands/watch.ts")).waitForKey(command, output);
    case "doctor":
      return (await import("./commands/doctor.ts")).examine(command, output);
    case "script": {
      const { CommandError } = await import("../shared/cli/failure.ts");
      throw new CommandError("failed", `-s ${command.target}: configuration modules are not built yet`);
    }
    case "run":
      await runUntilSignal(command);
  }
}

/**
 * A write that waits in the kernel for a host cannot be taken back, and a process that exits would wait for it. So once
 * everything is put away the signal ends the process, as it would have without a handler.
 */
async function runUntilSignal(command: Extract<Command, { name: "run" }>): Promise<void> {
  const { runAgent } = await import("./commands/run.ts");
  const stop = new AbortController();
  let signal: NodeJS.Signals = "SIGTERM";
  const onSignal = (received: NodeJS.Signals): void => {
    signal = received;
    stop.abort();
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  await runAgent(command, stop.signal);
  process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
  process.kill(process.pid, signal);
}

async function reportFailure(error: unknown, output: Output): Promise<number> {
  const { asFailure, CommandError } = await import("../shared/cli/failure.ts");
  const { exitCodes } = await import("../shared/protocol/errors.ts");
  const failure = asFailure(error);
  if (!(failure instanceof CommandError)) throw error;
  if (process.argv.includes("--json")) {
    output.json({ error: { code: failure.code, message: failure.message, ...failure.details } });
  } else {
    output.note(failure.message);
  }
  return exitCodes[failure.code];
}

await main();
