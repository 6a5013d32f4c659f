/** From the words of a command line to a {@link Command}. Pure: nothing is read, opened or printed. */
import { join } from "node:path";
import { Command as Program, InvalidArgumentError } from "commander";
import {
  checkedKey,
  checkedSources,
  distinctKeys,
  duration,
  keyAndFile,
  keyAndValue,
  parseWords,
  revision,
  type RevisionArgument,
  revisionCondition,
  timeout,
} from "../shared/cli/arguments.ts";
import { usageError } from "../shared/cli/failure.ts";
import type { ValueSource } from "../shared/cli/value-sources.ts";
import { MAX_EVENT_NAME } from "../shared/protocol/limits.ts";
import { version } from "../shared/version.ts";
import type { Command } from "./command.ts";
import { DESCRIPTION, HELP_AFTER, USAGE } from "./help.ts";
import type { DebugLevel } from "./log.ts";
import { DEFAULT_RUN_DIRECTORY, DEFAULT_STATE_DIRECTORY, SOCKET_NAME } from "./paths.ts";

/** Either something to do, or a text to print (`--help`, `--version`). */
export type Parsed = { type: "command"; command: Command } | { type: "text"; text: string };

interface Options {
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
}

type Name = Command["name"];

/** The options that say what to do; one of them is given. */
const ACTIONS: [option: keyof Options, name: Name][] = [
  ["listParams", "list"],
  ["getParam", "get"],
  ["deleteParam", "delete"],
  ["deleteParams", "clear"],
  ["setParam", "set"],
  ["event", "event"],
  ["script", "script"],
  ["watch", "watch"],
  ["wait", "wait"],
  ["ack", "acknowledge"],
];

/** Options that mean something to some commands only. */
const BELONGS_TO: [option: keyof Options, flag: string, commands: Name[]][] = [
  ["ttl", "--ttl", ["set"]],
  ["secret", "--secret", ["set"]],
  ["ifAbsent", "--if-absent", ["set"]],
  ["ifRevision", "--if-revision", ["set", "delete"]],
  ["since", "--since", ["watch"]],
  ["result", "--result", ["acknowledge"]],
  ["pidFile", "--pid-file", ["run"]],
  ["timePeriod", "--time-period", ["run"]],
];

const EVENT_NAME = new RegExp(`^[A-Z0-9._-]{1,${MAX_EVENT_NAME}}$`);

/** Throws CommandError (usage). `args` without the program's own name. */
export function parseArguments(args: readonly string[]): Parsed {
  let text = "";
  let subcommand: "run" | "doctor" | undefined;
  const program = makeProgram(
    (piece) => (text += piece),
    (name) => (subcommand = name),
  );
  if (!parseWords(program, args)) return { type: "text", text };
  return { type: "command", command: toCommand(subcommand, program.opts<Options>()) };
}

function makeProgram(print: (text: string) => void, chosen: (name: "run" | "doctor") => void): Program {
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
  const command = (name: "run" | "doctor", description: string): void => {
    program
      .command(name)
      .description(description)
      .allowExcessArguments(false)
      .addHelpText("after", "\nThe options: agent --help")
      .action(() => {
        chosen(name);
      });
  };
  program.commandsGroup("Commands:");
  command("run", "serve the channel to the host and the commands in this machine");
  command("doctor", "find out what is missing when nothing arrives");
  return program;
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
    .option("--watch [prefix]", "print the keys and then every change, till interrupted")
    .option("--wait <key>", "wait until a key is set, and print its value")
    .optionsGroup("Messages to the host:")
    .option("-e, --event <event>", `tell the host of an event: 1-${MAX_EVENT_NAME} of A-Z 0-9 . _ -`, eventName)
    .option("--ack <key>", "acknowledge what the host set")
    .option("--result <text>", "--ack: what came of it")
    .optionsGroup("Configuration:")
    .option("-s, --script <target>", "run the configuration modules of a target (configure, cleanup, ...)");
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
    .option("--config <file>", "the configuration (default: /etc/vmmessage/agent.json, if it is there)")
    .option("--limit <bytes>", "what the keys may take together (default: 8192)", wholeNumber)
    .option("--state-dir <dir>", "where the keys are kept", DEFAULT_STATE_DIRECTORY)
    .option("--run-dir <dir>", "where the socket, the key files and secrets are", DEFAULT_RUN_DIRECTORY);
}

function toCommand(subcommand: "run" | "doctor" | undefined, options: Options): Command {
  const name = commandName(subcommand, options);
  for (const [option, flag, commands] of BELONGS_TO) {
    if (options[option] === undefined || commands.includes(name)) continue;
    throw usageError(`${flag} goes with ${commands.join(" and ")}, not with ${name}; see agent --help`);
  }
  const common = {
    isJson: options.json === true,
    socketPath: options.socket ?? join(options.runDir, SOCKET_NAME),
    timeoutMs: options.timeout,
  };
  switch (name) {
    case "list":
    case "clear":
      return { ...common, name };
    case "get":
      return { ...common, name, key: checkedKey(options.getParam ?? "") };
    case "delete":
      return {
        ...common,
        name,
        keys: distinctKeys(options.deleteParam ?? []),
        condition: revisionCondition(options.ifRevision),
      };
    case "set":
      return { ...common, name, ...setOptions(options) };
    case "event":
      return { ...common, name, event: options.event ?? "" };
    case "script":
      return { ...common, name, target: options.script ?? "" };
    case "watch":
      return { ...common, name, prefix: options.watch === true ? "" : (options.watch ?? ""), since: options.since };
    case "wait":
      return { ...common, name, key: checkedKey(options.wait ?? "") };
    case "acknowledge":
      return { ...common, name, key: checkedKey(options.ack ?? ""), result: options.result };
    case "doctor":
      return { ...common, name, configFile: options.config, channel: options.channel };
    case "run":
      return { ...common, name, ...runOptions(options) };
  }
}

function commandName(subcommand: "run" | "doctor" | undefined, options: Options): Name {
  const given = ACTIONS.filter(([option]) => options[option] !== undefined).map(([, name]) => name);
  if (subcommand !== undefined) given.push(subcommand);
  const [name, second] = given;
  if (name === undefined)
    throw usageError("nothing to do: list with -l, get with -g KEY, set with -p KEY=VALUE, see agent --help");
  if (second !== undefined) throw usageError(`'${name}' and '${second}' are two things to do; give one of them`);
  return name;
}

function setOptions({ setParam, ttl, secret, ifAbsent, ifRevision }: Options) {
  return {
    values: checkedSources(setParam ?? []),
    attributes: { ...(ttl && { ttlMs: ttl }), ...(secret && { secret }) },
    condition: { ...(ifAbsent && { ifAbsent }), ...revisionCondition(ifRevision) },
  };
}

function runOptions(options: Options) {
  return {
    configFile: options.config,
    channel: options.channel,
    stateDirectory: options.stateDir,
    runDirectory: options.runDir,
    pidFile: options.pidFile ?? join(options.runDir, "agent.pid"),
    debugLevel: options.debug,
    limitBytes: options.limit,
    heartbeatSeconds: options.timePeriod,
  };
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
