/** `agent`: the guest's daemon and its commands. The only file that touches arguments, environment, signals and the exit code. */
import { isatty } from "node:tty";
import { assertUtf8Arguments } from "../shared/cli/arguments.ts";
import { asFailure, CommandError, Interruption } from "../shared/cli/failure.ts";
import { Output } from "../shared/cli/output.ts";
import { exitCodes } from "../shared/protocol/errors.ts";
import type { Command, ConfigurationCommand, RunCommand } from "./command.ts";
import { clearKeys, deleteKeys, setKeys } from "./commands/change.ts";
import { addCheck, beat, listChecks, removeCheck } from "./commands/applications.ts";
import { getKey } from "./commands/get.ts";
import { listKeys } from "./commands/list.ts";
import { acknowledgeKey, sendEvent } from "./commands/tell-host.ts";
import { waitForKey, watchKeys } from "./commands/watch.ts";
import { calledNameOf, toAgentWords } from "./oracle-names.ts";
import { parseArguments } from "./parse-arguments.ts";

async function main(): Promise<void> {
  const name = calledNameOf(process.argv0);
  const output = new Output(name, process);
  try {
    const args = process.argv.slice(2);
    assertUtf8Arguments(args);
    const called = toAgentWords(name, args);
    const parsed = called.type === "text" ? called : parseArguments(called.words);
    if (parsed.type === "text") process.stdout.write(parsed.text);
    else await runCommand(parsed.command, output);
  } catch (error) {
    process.exitCode = reportFailure(error, output);
  }
}

/** The daemon and the doctor are loaded when asked for: `agent -g` must start as fast as it can. */
async function runCommand(command: Command, output: Output): Promise<void> {
  switch (command.name) {
    case "get":
      return getKey(command, output);
    case "list":
      return listKeys(command, output);
    case "set":
      return setKeys(command, output);
    case "delete":
      return deleteKeys(command, output);
    case "clear":
      return clearKeys(command, output);
    case "event":
      return sendEvent(command, output);
    case "acknowledge":
      return acknowledgeKey(command, output);
    case "watch":
      return watchKeys(command, output);
    case "wait":
      return waitForKey(command, output);
    case "heartbeat":
      return beat(command, output);
    case "check add":
      return addCheck(command, output);
    case "check list":
      return listChecks(command, output);
    case "check remove":
      return removeCheck(command, output);
    case "bootstrap":
    case "config":
    case "config enumerate":
    case "config list":
    case "config enable":
    case "config disable":
    case "config status":
      return configureUntilSignal(command, output);
    case "doctor":
      return (await import("./commands/doctor.ts")).examine(command, output);
    case "run":
      return runUntilSignal(command);
  }
}

/** A bundle of its own: nothing of it is even read by the other commands. A signal ends what was started first. */
async function configureUntilSignal(command: ConfigurationCommand, output: Output): Promise<void> {
  const { configure } = await import("./bootstrap/main.ts");
  const interrupt = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    interrupt.abort(new Interruption(signal, signal === "SIGINT" ? 130 : 143));
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  try {
    const end = await configure(command, {
      output,
      stdin: () => process.stdin,
      terminal: {
        ask: () => (isatty(0) ? process.stdin : undefined),
        show: process.stderr.isTTY ? process.stderr : undefined,
      },
      interrupt: interrupt.signal,
    });
    if (end.type === "failed") throw new CommandError(end.code, end.message, end.details);
  } finally {
    process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
  }
}

/**
 * A write that waits in the kernel for a host cannot be taken back, and a process that exits would wait for it. So once
 * everything is put away the signal ends the process, as it would have without a handler.
 */
async function runUntilSignal(command: RunCommand): Promise<void> {
  const { runAgent } = await import("./commands/run.ts");
  const { takeNotifySettings } = await import("../shared/systemd-service.ts");
  const stop = new AbortController();
  let signal: NodeJS.Signals = "SIGTERM";
  const onSignal = (received: NodeJS.Signals): void => {
    signal = received;
    stop.abort();
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  await runAgent(command, stop.signal, takeNotifySettings(process.env, process.pid));
  process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
  process.kill(process.pid, signal);
}

function reportFailure(error: unknown, output: Output): number {
  const failure = asFailure(error);
  if (failure instanceof Interruption) return failure.exitCode;
  if (!(failure instanceof CommandError)) throw error;
  if (process.argv.includes("--json")) {
    output.json({ error: { code: failure.code, message: failure.message, ...failure.details } });
  } else {
    output.note(failure.message);
  }
  return exitCodes[failure.code];
}

void main();
