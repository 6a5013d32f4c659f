/** The words that `agent` takes, for commander: what each option is called, reads and is good for. Pure. */
import { Command as Program, InvalidArgumentError } from "commander";
import { type Target, targets } from "../shared/config-targets.ts";
import {
  duration,
  keyAndFile,
  keyAndValue,
  revision,
  type RevisionArgument,
  timeout,
} from "../shared/cli/arguments.ts";
import { usageError } from "../shared/cli/failure.ts";
import type { ValueSource } from "../shared/cli/value-sources.ts";
import { MAX_EVENT_NAME } from "../shared/protocol/limits.ts";
import { applicationName, period } from "../shared/protocol/message.ts";
import { version } from "../shared/version.ts";
import { CONFIGURATION_EXAMPLES, DESCRIPTION, HELP_AFTER, USAGE } from "./help.ts";
import type { DebugLevel } from "./log.ts";
import { DEFAULT_RUN_DIRECTORY, DEFAULT_STATE_DIRECTORY } from "./paths.ts";

export interface Options {
  listParams?: true;
  getParam?: string;
  deleteParam?: string[];
  deleteParams?: true;
  setParam?: ValueSource[];
  event?: string;
  script?: string;
  watch?: string | true;
  wait?: string;
  ack?: string;
  json?: true;
  result?: string;
  since?: RevisionArgument;
  timeout?: number;
  every?: number;
  ttl?: number;
  secret?: true;
  ifAbsent?: true;
  ifRevision?: RevisionArgument;
  debug: DebugLevel;
  pidFile?: string;
  timePeriod?: number;
  runDir: string;
  socket?: string;
  config?: string;
  channel?: string;
  stateDir: string;
  limit?: number;
  module?: string[];
  stdin?: true;
  file?: string;
  consoleInput?: true;
  dryRun?: true;
  humanReadable?: true;
  otherwise?: "defaults" | "fail";
}

/** A command that is a word, not an option. */
export type Subcommand =
  | { name: "run" | "doctor" | "check list" | "bootstrap" | "config list" | "config status" }
  | { name: "heartbeat" | "check add" | "check remove"; application: string }
  | { name: "config" | "config enumerate"; target: Target }
  | { name: "config enable" | "config disable"; module: string; target: Target };

type PlainWord = "run" | "doctor" | "check list";

const EVENT_NAME = new RegExp(`^[A-Z0-9._-]{1,${MAX_EVENT_NAME}}$`);

/** @param print takes the texts of `--help` and `--version` */
export function makeProgram(print: (text: string) => void, chosen: (subcommand: Subcommand) => void): Program {
  const program = new Program("agent")
    .exitOverride()
    .configureOutput({ writeOut: print, writeErr: () => undefined })
    .usage(USAGE)
    .description(DESCRIPTION)
    .version(`agent ${version}`, "-v, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .addHelpText("after", HELP_AFTER)
    .allowExcessArguments(false)
    .action(() => undefined);
  addActions(program);
  addModifiers(program);
  addDaemonOptions(program);
  addSubcommands(program, chosen);
  return program;
}

function addSubcommands(program: Program, chosen: (subcommand: Subcommand) => void): void {
  const command = (parent: Program, word: string, description: string): Program => {
    return parent
      .command(word)
      .description(description)
      .allowExcessArguments(false)
      .addHelpText("after", "\nThe options: agent --help");
  };
  const plain = (parent: Program, word: string, name: PlainWord, description: string): void => {
    command(parent, word, description).action(() => {
      chosen({ name });
    });
  };
  const ofApplication = (
    parent: Program,
    word: string,
    name: "heartbeat" | "check add" | "check remove",
    description: string,
  ): void => {
    const withName = command(parent, word, description).argument("<name>", "the application's", application);
    withName.action((given: string) => {
      chosen({ name, application: given });
    });
  };
  program.commandsGroup("Commands:");
  plain(program, "run", "run", "serve the channel to the host and the commands in this machine");
  plain(program, "doctor", "doctor", "find out what is missing when nothing arrives");
  ofApplication(program, "heartbeat", "heartbeat", "say that an application lives, and beats again within --every");
  const check = command(program, "check", "add, list, remove: what the agent watches in this machine").action(() => {
    throw usageError("check what? 'check add', 'check list' or 'check remove'; see agent --help");
  });
  ofApplication(
    check,
    "add",
    "check add",
    "run a command (after --) every so often; the application is well when it exits with 0",
  );
  plain(check, "list", "check list", "list the applications, by heartbeat and by check, and how they are");
  ofApplication(check, "remove", "check remove", "watch an application no more");
  program
    .command("bootstrap")
    .description("configure this machine once, when the host has completed its keys")
    .allowExcessArguments(false)
    .addHelpText("after", `\n${CONFIGURATION_EXAMPLES}`)
    .action(() => {
      chosen({ name: "bootstrap" });
    });
  addConfigCommands(program, chosen);
}

/** `config TARGET` runs a target; `config list` and its like are words of their own. */
function addConfigCommands(program: Program, chosen: (subcommand: Subcommand) => void): void {
  const help = `\n${CONFIGURATION_EXAMPLES}`;
  const config = program
    .command("config")
    .description("run the configuration modules of a target, or list, enumerate, enable, disable them, or their status")
    .argument("<target>", targets.join(", "), targetOf)
    .allowExcessArguments(false)
    .addHelpText("after", help)
    .action((target: Target) => {
      chosen({ name: "config", target });
    });
  const below = (word: string, description: string): Program => {
    return config.command(word).description(description).allowExcessArguments(false).addHelpText("after", help);
  };
  below("enumerate", "list every parameter of every module, as JSON or for people (--human-readable)")
    .argument("[target]", "those of this target", targetOf, "configure")
    .action((target: Target) => {
      chosen({ name: "config enumerate", target });
    });
  for (const word of ["list", "status"] as const) {
    const what = { list: "list the modules, where they are, and their targets", status: "how the last run went" };
    below(word, what[word]).action(() => {
      chosen({ name: `config ${word}` });
    });
  }
  for (const word of ["enable", "disable"] as const) {
    below(word, `${word} a module for a target; all are enabled unless said`)
      .argument("<module>", "its name")
      .argument("<target>", "", targetOf)
      .action((module: string, target: Target) => {
        chosen({ name: `config ${word}`, module, target });
      });
  }
}

function targetOf(text: string): Target {
  const target = targets.find((candidate) => candidate === text);
  if (target === undefined) throw new InvalidArgumentError(`the targets are ${targets.join(", ")}`);
  return target;
}

function addActions(program: Program): void {
  program
    .optionsGroup("Keys:")
    .option("-l, --list-params", 'list all keys, one {"key":"value"} a line')
    .option("-g, --get-param <key>", "print the value of a key")
    .option(
      "-p, --set-param <key=value>",
      "set a key; the value is literal (may be repeated: one atomic change)",
      addPair,
    )
    .option("-r, --delete-param <key>", "delete a key (may be repeated)", collect)
    .option("-x, --delete-params", "delete all keys")
    .option(
      "--watch [prefix]",
      "print the keys and then every change, till interrupted (bootstrap: go on with every commit)",
    )
    .option("--wait <key>", "wait until a key is set, and print its value (bootstrap: how long to wait, 5m)")
    .optionsGroup("Messages to the host:")
    .option("-e, --event <event>", `tell the host of an event: 1-${MAX_EVENT_NAME} of A-Z 0-9 . _ -`, eventName)
    .option("--ack <key>", "acknowledge what the host set")
    .option("--result <text>", "--ack: what came of it")
    .optionsGroup("Configuration:")
    .option("-s, --script <target>", "run the configuration modules of a target, as config TARGET does")
    .option("--module <name>", "config: only this module (may be repeated)", collect)
    .option("--stdin", "config: values from the standard input, JSON or as -l prints them")
    .option("--file <path>", "config: values from a file, JSON, YAML or as -l prints them")
    .option("--console-input", "config: ask for the values")
    .option("--dry-run", "config: show what would change, and change nothing")
    .option("--human-readable", "config enumerate: a table for people")
    .option("--otherwise <defaults|fail>", "bootstrap: what to do when no commit comes within --wait", otherwise);
}

function addModifiers(program: Program): void {
  // --value-file and --value-stdin say what -p says, from another source, so they join its list.
  const another = (source: (text: string) => ValueSource) => (text: string) => {
    const values = program.getOptionValue("setParam") as ValueSource[] | undefined;
    program.setOptionValue("setParam", [...(values ?? []), source(text)]);
  };
  program
    .optionsGroup("How:")
    .option("--value-file <key=path>", "set a key to the bytes of a file", another(keyAndFile))
    .option(
      "--value-stdin <key>",
      "set a key to the bytes of the standard input",
      another((key) => ({ from: "stdin", key })),
    )
    .option("--ttl <duration>", "forget the keys after this time: 90, 10m, 2h, 7d", duration)
    .option("--secret", "keep the values off the disk and out of lists")
    .option("--if-absent", "only if none of the keys exists")
    .option("--if-revision <[epoch:]n>", "only if the keys did not change after this revision", revision)
    .option("--since <[epoch:]n>", "--watch: go on after this revision", revision)
    .option("--timeout <duration>", "give up after this time (default: 10 s; --wait: 60 s)", timeout)
    .option("--every <duration>", "heartbeat, check add: the time between two, 1s to 1d (check: 30 s)", every)
    .option("--json", "answer with JSON")
    .option("--socket <path>", "the agent's socket (default: agent.sock in the run directory)");
}

function addDaemonOptions(program: Program): void {
  program
    .optionsGroup("The daemon (agent run):")
    .option("-d, --debug <level>", "log nowhere (0), to stderr (1) or to syslog (2)", debugLevel, 1)
    .option("-f, --pid-file <file>", "where to write the process id (default: agent.pid in the run directory)")
    .option("-t, --time-period <seconds>", "seconds between heartbeats to the host (default: 10)", seconds)
    .option("--channel <channel>", "virtio:NAME, tty:PATH[@BAUD] or unix:PATH (default: virtio:org.vmmessage.agent.0)")
    .option(
      "--config <file>",
      "the configuration (default: /etc/vmmessage/agent.json, of bootstrap and config bootstrap.json, if it is there)",
    )
    .option("--limit <bytes>", "what the keys may take together (default: 8192)", wholeNumber)
    .option("--state-dir <dir>", "where the keys are kept", DEFAULT_STATE_DIRECTORY)
    .option("--run-dir <dir>", "where the socket, the key files and secrets are", DEFAULT_RUN_DIRECTORY);
}

function otherwise(text: string): "defaults" | "fail" {
  if (text === "defaults" || text === "fail") return text;
  throw new InvalidArgumentError("it is not 'defaults' or 'fail'");
}

function application(text: string): string {
  const { error } = applicationName.safeParse(text);
  if (error === undefined) return text;
  throw new InvalidArgumentError(error.issues.map(({ message }) => message).join("; "));
}

function every(text: string): number {
  const ms = duration(text);
  if (!period.safeParse(ms).success) throw new InvalidArgumentError("it is not between 1 s and 1 d");
  return ms;
}

function addPair(pair: string, earlier: ValueSource[] = []): ValueSource[] {
  return [...earlier, keyAndValue(pair)];
}

function collect(text: string, earlier: string[] = []): string[] {
  return [...earlier, text];
}

/** ovmd takes events in any case; they are raised before they are checked. */
function eventName(text: string): string {
  const event = text.toUpperCase();
  if (!EVENT_NAME.test(event)) throw new InvalidArgumentError(`an event is 1 to ${MAX_EVENT_NAME} of A-Z 0-9 . _ -`);
  return event;
}

function debugLevel(text: string): DebugLevel {
  if (text === "0" || text === "1" || text === "2") return Number(text) as DebugLevel;
  throw new InvalidArgumentError("it is not 0, 1 or 2");
}

function seconds(text: string): number {
  const count = wholeNumber(text);
  if (count < 1 || count > 3600) throw new InvalidArgumentError("it is not between 1 and 3600");
  return count;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("it is not a whole number");
  return Number(text);
}
