/**
 * The names that Oracle VM's guests had for what the agent does, `ovmd` and `ovm-template-config`, from their words to the
 * agent's. Pure. The words are those that their `--help` prints in the "Oracle VM Utilities Guide", chapter "Using the Oracle
 * VM Guest Additions".
 */
import { Command as Program, CommanderError, InvalidArgumentError } from "commander";
import { parseWords } from "../shared/cli/arguments.ts";
import { usageError } from "../shared/cli/failure.ts";
import { type Target, targets } from "../shared/config-targets.ts";
import { version } from "../shared/version.ts";

export const calledNames = ["agent", "ovmd", "ovm-template-config"] as const;
export type CalledName = (typeof calledNames)[number];

/** Either the agent's words, or a text to print (`--help`, `--version`). */
export type Translation = { type: "words"; words: string[] } | { type: "text"; text: string };

/** Where ovmd logs unless told otherwise: to syslog. */
const OVMD_DEBUG_LEVEL = 2;

const OVMD_OPERATIONS = ["setParam", "getParam", "deleteParam", "deleteParams", "listParams", "event", "script"];

/** Where the agent is when it is not where it is by default. Oracle VM's programs had no such options. */
const PLACES = ["--config <file>", "--state-dir <dir>", "--run-dir <dir>"];

/** The agent's own options of a daemon, beside {@link PLACES}. */
const MORE_OF_THE_DAEMON = ["--channel <channel>", "--limit <bytes>"];

/** @param argv0 as the caller gave it; whatever is none of Oracle VM's names is the agent */
export function calledNameOf(argv0: string): CalledName {
  const name = argv0.slice(argv0.lastIndexOf("/") + 1);
  return calledNames.find((candidate) => candidate === name) ?? "agent";
}

/** Throws CommandError (usage) for what `ovm-template-config` does not take; the agent judges all other words itself. */
export function toAgentWords(name: CalledName, words: readonly string[]): Translation {
  switch (name) {
    case "agent":
      return { type: "words", words: [...words] };
    case "ovmd":
      return ofOvmd(words);
    case "ovm-template-config":
      return ofTemplateConfig(words);
  }
}

/** With nothing to do it is the daemon. Whatever ovmd did not know either is the agent's own. */
function ofOvmd(words: readonly string[]): Translation {
  let text = "";
  const program = makeOvmdProgram((piece) => (text += piece));
  try {
    program.parse(words, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? { type: "text", text } : { type: "words", words: [...words] };
  }
  const options = program.opts<Record<string, unknown>>();
  if (OVMD_OPERATIONS.some((operation) => options[operation] !== undefined))
    return { type: "words", words: [...words] };
  return { type: "words", words: ["run", `--debug=${OVMD_DEBUG_LEVEL}`, ...words] };
}

/** @param print takes the texts of `--help` and `--version` */
export function makeOvmdProgram(print: (text: string) => void): Program {
  const program = makeProgram("ovmd", print)
    .usage("[options]")
    .description(
      "Sends and receives messages between this virtual machine and its host; without an operation, the daemon.",
    )
    .version(`ovmd (vmmessage) ${version}`, "-v, --version", "show version number and exit")
    .option("-p, --set-param <key=value>", "set a param (may be repeated: one atomic change)")
    .option("-g, --get-param <key>", "get a param's value")
    .option("-r, --delete-param <key>", "delete a param (may be repeated)")
    .option("-x, --delete-params", "delete all params")
    .option("-l, --list-params", "list all params")
    .option("-e, --event <event>", "inject an event")
    .option("-s, --script <target>", "run the configuration modules of a target, as ovm-template-config does")
    .option("-d, --debug <level>", `log nowhere (0), to stderr (1) or to syslog (2); default: ${OVMD_DEBUG_LEVEL}`)
    .option("-f, --pid-file <file>", "where the daemon writes its process id")
    .option("-t, --time-period <seconds>", "seconds between the daemon's heartbeats to the host (default: 10)")
    .addHelpText("after", "\nAll else that agent takes is taken too: agent --help");
  return withHidden(program, [...PLACES, ...MORE_OF_THE_DAEMON]);
}

interface TemplateConfigOptions {
  enumerate?: true;
  humanReadable?: true;
  script?: string[];
  stdin?: true;
  consoleInput?: true;
  input?: string;
  output?: string;
  ovfTransportIso?: true;
  config?: string;
  stateDir?: string;
  runDir?: string;
}

function ofTemplateConfig(words: readonly string[]): Translation {
  let text = "";
  const program = makeTemplateConfigProgram((piece) => (text += piece));
  if (!parseWords(program, words)) return { type: "text", text };
  const options = program.opts<TemplateConfigOptions>();
  const [target = ""] = program.args;
  refuseUnsupported(options, target);
  return { type: "words", words: [...configWords(options), target, ...modulesAndSource(options), ...places(options)] };
}

/** @param print takes the texts of `--help` and `--version` */
export function makeTemplateConfigProgram(print: (text: string) => void): Program {
  const program = makeProgram("ovm-template-config", print)
    .usage("[options] TARGET")
    .description("Configures this machine by its configuration modules, or lists what they take.")
    .version(`ovm-template-config (vmmessage) ${version}`, "--version", "show version number and exit")
    .argument("<target>", targets.join(", "), targetOf)
    .option("-e, --enumerate", "list the parameters of the target's modules, as JSON")
    .option("--human-readable", "with --enumerate: a table for people")
    .option("-s, --script <name>", "only this module (may be repeated)", collect)
    .option("--stdin", "values from the standard input: JSON, or as ovmd -l prints them")
    .option("--console-input", "ask for the values")
    .option("--input <fd>", "not supported: use --stdin <&FD")
    .option("--output <fd>", "not supported: use agent config TARGET --json >&FD")
    .option("--ovf-transport-iso", "not supported: send the values as keys, or use --stdin")
    .addHelpText("after", TEMPLATE_CONFIG_HELP);
  return withHidden(program, PLACES);
}

const TEMPLATE_CONFIG_HELP = `
Without --stdin and --console-input the values are the keys that this machine has.

Examples:
  ovm-template-config --enumerate --human-readable configure
  ovmd -l | ovm-template-config --script authentication --stdin configure
  ovm-template-config --console-input configure

The same, and more: agent config --help`;

function makeProgram(name: CalledName, print: (text: string) => void): Program {
  return new Program(name)
    .exitOverride()
    .configureOutput({ writeOut: print, writeErr: () => undefined })
    .helpOption("-h, --help", "show this help message and exit")
    .allowExcessArguments(false);
}

function withHidden(program: Program, options: readonly string[]): Program {
  for (const flags of options) program.addOption(program.createOption(flags).hideHelp());
  return program;
}

function refuseUnsupported({ input, output, ovfTransportIso }: TemplateConfigOptions, target: string): void {
  if (input !== undefined) {
    throw usageError(
      `--input ${input} is not supported; give the values on the standard input: ovm-template-config --stdin ${target} <&${input}`,
    );
  }
  if (output !== undefined) {
    throw usageError(
      `--output ${output} is not supported; the modules' results are printed by: agent config ${target} --json >&${output}`,
    );
  }
  if (ovfTransportIso) {
    throw usageError(
      "--ovf-transport-iso is not supported; the host sends the values as keys, or give them with --stdin",
    );
  }
}

function configWords({ enumerate, humanReadable, stdin, consoleInput }: TemplateConfigOptions): string[] {
  if (!enumerate) {
    if (humanReadable) throw usageError("--human-readable goes with --enumerate; see ovm-template-config --help");
    return ["config"];
  }
  if (stdin || consoleInput) throw usageError("--enumerate lists what the modules take, and takes no values itself");
  return ["config", "enumerate", ...(humanReadable ? ["--human-readable"] : [])];
}

function modulesAndSource({ script = [], stdin, consoleInput }: TemplateConfigOptions): string[] {
  return [
    ...script.map((name) => `--module=${name}`),
    ...(stdin ? ["--stdin"] : []),
    ...(consoleInput ? ["--console-input"] : []),
  ];
}

function places({ config, stateDir, runDir }: TemplateConfigOptions): string[] {
  const given = { config, "state-dir": stateDir, "run-dir": runDir };
  return Object.entries(given).flatMap(([option, path]) => (path === undefined ? [] : [`--${option}=${path}`]));
}

function targetOf(text: string): Target {
  const target = targets.find((candidate) => candidate === text);
  if (target === undefined) throw new InvalidArgumentError(`the targets are ${targets.join(", ")}`);
  return target;
}

function collect(text: string, earlier: string[] = []): string[] {
  return [...earlier, text];
}
