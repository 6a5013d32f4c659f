/** From the words of a command line to a {@link Command}. Pure: nothing is read, opened or printed. */
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
import { version } from "../shared/version.ts";
import type { Command, CommonOptions } from "./command.ts";
import { DESCRIPTION, HELP_AFTER, USAGE } from "./help.ts";

/** Either something to do, or a text to print (`--help`, `--version`). */
export type Parsed = { type: "command"; command: Command } | { type: "text"; text: string };

/** What the meaning of a command line depends on beside its words. */
export interface Surroundings {
  hostname: string;
  /** VMMESSAGE_SOCKET_DIR; an empty one counts as none. */
  socketDirectory: string | undefined;
}

type CommandName = Command["name"];

/** The options as commander collects them; those that say keys and values go to {@link Words} in their order. */
interface Options {
  user?: string;
  password?: string;
  host?: string;
  vm?: string;
  query?: string;
  socket?: string;
  socketDir?: string;
  connect?: string;
  json?: true;
  quiet?: true;
  timeout?: number;
  ttl?: number;
  secret?: true;
  readOnly?: true;
  ifAbsent?: true;
  ifRevision?: RevisionArgument;
  waitAck?: true;
  since?: RevisionArgument;
}

/** What was said, before it is checked. */
interface Words {
  command: CommandName | undefined;
  operands: string[];
  values: (ValueSource | { from: "nothing"; key: string })[];
}

/** Options that mean something to some commands only. */
const BELONGS_TO: [option: keyof Options, flag: string, commands: CommandName[]][] = [
  ["ttl", "--ttl", ["set"]],
  ["secret", "--secret", ["set"]],
  ["readOnly", "--read-only", ["set"]],
  ["ifAbsent", "--if-absent", ["set"]],
  ["ifRevision", "--if-revision", ["set", "delete"]],
  ["waitAck", "--wait-ack", ["set"]],
  ["since", "--since", ["watch"]],
];

const LOCAL_HOSTS = ["localhost", "127.0.0.1", "::1"];

/** Throws CommandError (usage). `args` without the program's own name. */
export function parseArguments(args: readonly string[], surroundings: Surroundings): Parsed {
  const words: Words = { command: undefined, operands: [], values: [] };
  let text = "";
  const program = makeProgram(words, (piece) => (text += piece));
  if (!parseWords(program, args)) return { type: "text", text };
  return { type: "command", command: toCommand(words, program.opts<Options>(), surroundings) };
}

function makeProgram(words: Words, print: (text: string) => void): Program {
  const program = new Program("vmmessage")
    .exitOverride()
    .configureOutput({ writeOut: print, writeErr: () => undefined })
    .usage(USAGE)
    .description(DESCRIPTION)
    .version(`vmmessage ${version}`, "--version", "print the version")
    .helpOption("--help", "print this help")
    .helpCommand(false)
    .addHelpText("after", HELP_AFTER)
    .allowExcessArguments()
    .action((_options, { args }: Program) => {
      words.operands = args;
    });
  addTargetOptions(program);
  addMessageOptions(program, words);
  addAnswerOptions(program);
  addCommands(program, words);
  return program;
}

function addTargetOptions(program: Program): void {
  program
    .optionsGroup("Which VM:")
    .option("-v, --vm <vm>", "the name of the virtual machine")
    .option("--socket <path>", "the Unix socket of its channel")
    .option("--socket-dir <dir>", "a directory with a socket for each VM")
    .option("--connect <uri>", "libvirt's connection URI, as virsh -c takes it")
    .optionsGroup("Which manager (there is none yet; only this host is accepted):")
    .option("-u, --user <user>", "a user of the manager")
    .option("-p, --password <password>", "the user's password")
    .option("-h, --host <host>", "the manager's host");
}

function addMessageOptions(program: Program, words: Words): void {
  program
    .optionsGroup("Messages:")
    .option("-k, --key <key>", "a key to set; a -V follows it", (key) => {
      words.values.push({ from: "nothing", key });
    })
    .option("-V, --value <value>", "the value of the key before it, literally", (value) => {
      const last = words.values.at(-1);
      if (last?.from !== "nothing") throw usageError("a -V VALUE has no -k KEY before it");
      words.values[words.values.length - 1] = { from: "argument", key: last.key, value };
    })
    .option("--value-file <key=path>", "a key to set to the bytes of a file", (text) => {
      words.values.push(keyAndFile(text));
    })
    .option("--value-stdin <key>", "a key to set to the bytes of the standard input", (key) => {
      words.values.push({ from: "stdin", key });
    })
    .option("-q, --query <key>", "the key to query", once("a second key to query"))
    .option("--ttl <duration>", "forget the keys after this time: 90, 10m, 2h, 7d", duration)
    .option("--secret", "keep the values off the guest's disk and out of lists")
    .option("--read-only", "let nothing in the guest change the keys")
    .option("--if-absent", "only if none of the keys exists")
    .option("--if-revision <[epoch:]n>", "only if the keys did not change after this revision", revision)
    .option("--wait-ack", "wait until a program in the guest acknowledges the message");
}

function addAnswerOptions(program: Program): void {
  program
    .optionsGroup("Answers:")
    .option("--json", "answer with one JSON object (watch: one a line)")
    .option("--quiet", "answer with the bare value only, byte for byte")
    .option("--since <[epoch:]n>", "watch: go on after this revision", revision)
    .option("--timeout <duration>", "give up after this time (default: 10 s; wait, --wait-ack: 60 s)", timeout);
}

function addCommands(program: Program, words: Words): void {
  const command = (name: CommandName, operands: string, description: string): void => {
    program
      .command(`${name} ${operands}`.trimEnd())
      .description(description)
      .allowExcessArguments(false)
      .helpOption("--help", "print this help")
      .addHelpText("after", "\nThe options: vmmessage --help")
      .action((...args: unknown[]) => {
        words.command = name;
        words.operands = (args.at(-1) as Program).args;
      });
  };
  program.commandsGroup("Commands:");
  command("set", "<key=value...>", "the same as -k KEY -V VALUE");
  command("get", "<key>", "the same as -q KEY");
  command("delete", "<key...>", "delete keys");
  command("clear", "", "delete all keys");
  command("list", "[prefix]", "list the keys as a table");
  command("watch", "[prefix]", "print the keys and then every change, till interrupted");
  command("wait", "<key>", "wait till a key is set, and print its value");
  command("info", "", "what the guest's agent says of itself");
  command("ping", "", "how fast the guest's agent answers");
  command("doctor", "", "find out why a VM does not answer");
}

function toCommand(words: Words, options: Options, surroundings: Surroundings): Command {
  const name = commandName(words, options);
  const common = commonOptions(options, surroundings);
  for (const [option, flag, commands] of BELONGS_TO) {
    if (options[option] === undefined || commands.includes(name)) continue;
    throw usageError(`${flag} goes with ${commands.join(" and ")}, not with ${name}`);
  }
  const [first = ""] = words.operands;
  switch (name) {
    case "set":
      return { ...common, name, ...setOptions(words, options) };
    case "get":
      return { ...common, name, key: checkedKey(options.query ?? first) };
    case "delete":
      return { ...common, name, keys: distinctKeys(words.operands), condition: revisionCondition(options.ifRevision) };
    case "list":
      return { ...common, name, prefix: first };
    case "watch":
      return { ...common, name, prefix: first, since: options.since };
    case "wait":
      return { ...common, name, key: checkedKey(first) };
    case "clear":
    case "info":
    case "ping":
    case "doctor":
      return { ...common, name };
  }
}

/** The command's own name, or what -k and -q stand for. */
function commandName({ command, operands, values }: Words, { query }: Options): CommandName {
  if (query !== undefined && values.length > 0) throw usageError("-q asks and -k sets; give one of them");
  if (command !== undefined) {
    const flag = query !== undefined ? "-q" : "-k";
    if (query !== undefined || values.length > 0) throw usageError(`${flag} stands alone, without '${command}'`);
    return command;
  }
  if (operands[0] !== undefined) throw usageError(`there is no command '${operands[0]}'; see vmmessage --help`);
  if (query !== undefined) return "get";
  if (values.length > 0) return "set";
  throw usageError("nothing to do: set with -k KEY -V VALUE, query with -q KEY, or see vmmessage --help");
}

function commonOptions(options: Options, surroundings: Surroundings): CommonOptions {
  const { vm, socket, connect, json, quiet, user, password } = options;
  if (vm === "" || socket === "") throw usageError("the name of a VM or a socket cannot be empty");
  if (vm === undefined && socket === undefined) {
    throw usageError("which VM? name it with -v VM, or its socket with --socket PATH");
  }
  if (json && quiet) throw usageError("--json and --quiet are two kinds of answer; give one of them");
  assertThisHost(options.host, surroundings.hostname);
  const defaultDirectory =
    connect === undefined && surroundings.socketDirectory !== "" ? surroundings.socketDirectory : undefined;
  const hasCredentials = user !== undefined || password !== undefined;
  return {
    target: {
      vm,
      socket,
      socketDirectory: options.socketDir ?? defaultDirectory,
      libvirtUri: connect,
    },
    style: json ? "json" : quiet ? "quiet" : "transcript",
    timeoutMs: options.timeout,
    notes: hasCredentials ? ["there is no manager on this host; -u and -p were not used"] : [],
  };
}

function assertThisHost(host: string | undefined, hostname: string): void {
  if (host === undefined || [...LOCAL_HOSTS, hostname].includes(host.toLowerCase())) return;
  throw usageError(
    `-h ${host}: another host can only be reached through a manager, which this version does not have; ` +
      "run vmmessage on the VM's own host, without -h",
  );
}

function setOptions({ operands, values }: Words, options: Options) {
  const { ttl, secret, readOnly, ifAbsent, ifRevision } = options;
  const sources = [...values, ...operands.map(keyAndValue)].map((source) => {
    if (source.from === "nothing") throw usageError(`the key '${source.key}' has no value; a -V VALUE follows its -k`);
    return source;
  });
  return {
    values: checkedSources(sources),
    attributes: { ...(ttl && { ttlMs: ttl }), ...(secret && { secret }), ...(readOnly && { readOnly }) },
    condition: { ...(ifAbsent && { ifAbsent }), ...revisionCondition(ifRevision) },
    waitAck: options.waitAck === true,
  };
}

function once(what: string) {
  return (value: string, previous: string | undefined): string => {
    if (previous !== undefined) throw new InvalidArgumentError(`it is ${what}; give one`);
    return value;
  };
}
