/** From the words of a command line to a {@link Command}. Pure: nothing is read, opened or printed. */
import { join } from "node:path";
import { checkedKey, checkedSources, distinctKeys, parseWords, revisionCondition } from "../shared/cli/arguments.ts";
import { durationInWords } from "../shared/cli/duration.ts";
import { usageError } from "../shared/cli/failure.ts";
import { checkCommand } from "../shared/protocol/message.ts";
import type { Command } from "./command.ts";
import { SOCKET_NAME } from "./paths.ts";
import { configurationCommand } from "./parse-configuration.ts";
import { makeProgram, type Options, type Subcommand } from "./program.ts";

/** Either something to do, or a text to print (`--help`, `--version`). */
export type Parsed = { type: "command"; command: Command } | { type: "text"; text: string };

type Name = Command["name"];

/** The options that say what to do; one of them is given. */
const ACTIONS: [option: keyof Options, name: Name][] = [
  ["listParams", "list"],
  ["getParam", "get"],
  ["deleteParam", "delete"],
  ["deleteParams", "clear"],
  ["setParam", "set"],
  ["event", "event"],
  ["script", "config"],
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
  ["every", "--every", ["heartbeat", "check add"]],
  ["pidFile", "--pid-file", ["run"]],
  ["timePeriod", "--time-period", ["run"]],
  ["module", "--module", ["config", "config enumerate"]],
  ["stdin", "--stdin", ["config"]],
  ["file", "--file", ["config"]],
  ["consoleInput", "--console-input", ["config"]],
  ["dryRun", "--dry-run", ["config"]],
  ["humanReadable", "--human-readable", ["config enumerate"]],
  ["otherwise", "--otherwise", ["bootstrap"]],
];

/** What `bootstrap` says with options that are things to do of their own without it. */
const OF_BOOTSTRAP: readonly (keyof Options)[] = ["wait", "watch"];

/** Not measured. */
const DEFAULT_CHECK_EVERY_MS = 30_000;
const DEFAULT_CHECK_TIMEOUT_MS = 10_000;

/** Throws CommandError (usage). `args` without the program's own name. */
export function parseArguments(args: readonly string[]): Parsed {
  let text = "";
  let subcommand: Subcommand | undefined;
  const { words, checked } = withoutCheckedCommand(args);
  const program = makeProgram(
    (piece) => (text += piece),
    (given) => (subcommand = given),
  );
  if (!parseWords(program, words)) return { type: "text", text };
  return { type: "command", command: toCommand(program.opts<Options>(), subcommand, checked) };
}

/** `check add NAME -- COMMAND...`: whatever the command's own words look like, they are none of ours. */
function withoutCheckedCommand(args: readonly string[]): { words: readonly string[]; checked: readonly string[] } {
  const start = args.findIndex((word, index) => word === "check" && args[index + 1] === "add");
  const end = args.indexOf("--", start);
  if (start === -1 || end === -1) return { words: args, checked: [] };
  return { words: args.slice(0, end), checked: args.slice(end + 1) };
}

function toCommand(options: Options, subcommand: Subcommand | undefined, checked: readonly string[]): Command {
  const name = commandName(options, subcommand);
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
    case "heartbeat":
      return { ...common, name, beat: beatOptions(applicationOf(subcommand), options) };
    case "check add":
      // Its --timeout is the check's.
      return {
        ...common,
        name,
        timeoutMs: undefined,
        check: checkOptions(applicationOf(subcommand), options, checked),
      };
    case "check list":
      return { ...common, name };
    case "check remove":
      return { ...common, name, application: applicationOf(subcommand) };
    default:
      return { ...common, ...configurationCommand(name, options, subcommand) };
  }
}

function commandName(options: Options, subcommand: Subcommand | undefined): Name {
  const own = subcommand?.name === "bootstrap" ? OF_BOOTSTRAP : [];
  const given = ACTIONS.filter(([option]) => options[option] !== undefined && !own.includes(option)).map(
    ([, name]) => name,
  );
  if (subcommand !== undefined) given.push(subcommand.name);
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

function applicationOf(subcommand: Subcommand | undefined): string {
  return subcommand !== undefined && "application" in subcommand ? subcommand.application : "";
}

function beatOptions(application: string, { every }: Options) {
  if (every === undefined) throw usageError("heartbeat needs --every: the time within which the next one comes");
  return { application, everyMs: every };
}

function checkOptions(application: string, options: Options, command: readonly string[]) {
  const { every: everyMs = DEFAULT_CHECK_EVERY_MS } = options;
  const { timeout: timeoutMs = Math.min(DEFAULT_CHECK_TIMEOUT_MS, everyMs) } = options;
  if (command.length === 0) throw usageError("what to run is missing: agent check add NAME -- COMMAND [ARGS...]");
  const { error, data } = checkCommand.safeParse(command);
  if (error) throw usageError(error.issues.map(({ message }) => message).join("; "));
  const [file = ""] = data;
  if (file.includes("/") && !file.startsWith("/")) {
    throw usageError(`'${file}' is a relative path; the agent runs it in /, so give it whole`);
  }
  if (timeoutMs > everyMs) {
    throw usageError(`--timeout ${durationInWords(timeoutMs)} is longer than --every ${durationInWords(everyMs)}`);
  }
  if (timeoutMs < 1_000) throw usageError("the --timeout of a check is 1 s at least");
  return { application, command: data, everyMs, timeoutMs };
}
