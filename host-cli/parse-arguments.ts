/** From the words of a command line to a {@link Command}. Pure: nothing is read, opened or printed. */
import {
  checkedKey,
  checkedSources,
  distinctKeys,
  keyAndValue,
  parseWords,
  revisionCondition,
} from "../shared/cli/arguments.ts";
import { usageError } from "../shared/cli/failure.ts";
import { unreachable } from "../shared/protocol/errors.ts";
import { isPattern } from "../shared/vm-pattern.ts";
import type {
  Command,
  CommonOptions,
  FleetRequestCommand,
  FleetSelection,
  ManagerCommand,
  SendingOptions,
  Target,
  UserProperties,
  VmCommand,
} from "./command.ts";
import { attachCommand } from "./attach-arguments.ts";
import { bootstrapCommand } from "./bootstrap-arguments.ts";
import { doorChoice, loginOptions, type Surroundings } from "./door-arguments.ts";
import {
  eventCommand,
  type EventCommandWord,
  isEventCommand,
  neededVm,
  readsInput,
  VM_FILTERS,
} from "./event-arguments.ts";
import { checkCommand, monitorCommand } from "./monitor-arguments.ts";
import { makeProgram } from "./program.ts";
import type { CommandWord, Options, OwnOptions, Words } from "./words.ts";

export type { Surroundings } from "./door-arguments.ts";

/** Either something to do, or a text to print (`--help`, `--version`). */
export type Parsed = { type: "command"; command: Command } | { type: "text"; text: string };

type VmCommandWord = VmCommand["name"];
type ManagerCommandWord = Exclude<CommandWord, VmCommandWord | EventCommandWord | "attach">;

const VM_COMMANDS: readonly string[] = [
  "set",
  "get",
  "delete",
  "clear",
  "list",
  "watch",
  "wait",
  "info",
  "ping",
  "doctor",
  "check",
  "bootstrap",
] satisfies VmCommandWord[];

/** What many VMs can be asked for at once. */
const FLEET_COMMANDS: CommandWord[] = ["set", "get", "delete", "clear", "ping"];

const CHANGES: CommandWord[] = ["set", "delete", "clear"];

/** Options that mean something to some commands only. */
const BELONGS_TO: [option: keyof Options, flag: string, commands: CommandWord[]][] = [
  ["ttl", "--ttl", ["set"]],
  ["secret", "--secret", ["set"]],
  ["readOnly", "--read-only", ["set"]],
  ["ifAbsent", "--if-absent", ["set"]],
  ["ifRevision", "--if-revision", ["set", "delete"]],
  ["expires", "--expires", CHANGES],
  ["log", "--log", CHANGES],
  ["messageId", "--message-id", CHANGES],
  ["waitAck", "--wait-ack", ["set", "receipt"]],
  ["since", "--since", ["watch", "events"]],
  ["all", "--all", FLEET_COMMANDS],
  ["vmsFrom", "--vms-from", FLEET_COMMANDS],
];

/** Throws CommandError (usage). `args` without the program's own name. */
export function parseArguments(args: readonly string[], surroundings: Surroundings): Parsed {
  const words: Words = { command: undefined, operands: [], values: [], own: {} };
  let text = "";
  // Looked for first among all words, which takes no time: most lines have no such word.
  const namesSecrets = args.includes("bootstrap") && firstWord(args) === "bootstrap";
  const program = makeProgram(words, { print: (piece) => (text += piece), namesSecrets });
  if (!parseWords(program, args)) return { type: "text", text };
  return { type: "command", command: toCommand(words, program.opts<Options>(), surroundings) };
}

/** Whether these are the words of a check, also when they are refused: as a plugin it has to say so in a way of its own. */
export function isCheck(args: readonly string[]): boolean {
  return firstWord(args) === "check";
}

/** The command's name where there is one: what is neither an option of the whole line nor its value. */
function firstWord(args: readonly string[]): string | undefined {
  const words: Words = { command: undefined, operands: [], values: [], own: {} };
  const { options } = makeProgram(words, { print: () => undefined, namesSecrets: false });
  for (let index = 0; index < args.length; index += 1) {
    const word = args[index] ?? "";
    if (!word.startsWith("-")) return word;
    if (options.some((option) => option.required && [option.short, option.long].includes(word))) index += 1;
  }
  return undefined;
}

function toCommand(words: Words, options: Options, surroundings: Surroundings): Command {
  const word = commandWord(words, options);
  for (const [option, flag, commands] of BELONGS_TO) {
    if (options[option] === undefined || commands.includes(word)) continue;
    throw usageError(`${flag} goes with ${inWords(commands)}, not with ${word}`);
  }
  const selection = fleetSelection(options);
  const fleet = VM_FILTERS.includes(word) ? undefined : selection;
  if (fleet !== undefined && !FLEET_COMMANDS.includes(word)) {
    throw usageError(`${word} is for one VM; many can be asked with ${inWords(FLEET_COMMANDS)}`);
  }
  const common = commonOptions(options, surroundings, fleet === undefined);
  assertOneReader(words, options);
  if (word === "attach") return attachCommand(words.own, options, common);
  if (isEventCommand(word)) {
    assertManager(word, common);
    return eventCommand(word, words, options, common);
  }
  if (!isVmCommand(word)) return managerCommand(word, words, options, common);
  if (fleet === undefined && common.target.vm === undefined && common.target.socket === undefined) {
    throw usageError("which VM? name it with -v VM, or its socket with --socket PATH");
  }
  const command = vmCommand(word, words, options, common);
  if (fleet === undefined) return command;
  if (common.door.via === "channel") throw usageError("many VMs at once need a manager; a channel is that of one VM");
  return { ...common, name: "fleet", vms: fleet, request: command as FleetRequestCommand };
}

function isVmCommand(word: CommandWord): word is VmCommandWord {
  return VM_COMMANDS.includes(word);
}

function vmCommand(name: VmCommandWord, words: Words, options: Options, common: CommonOptions): VmCommand {
  const [first = ""] = words.operands;
  const change = { sending: sendingOptions(options), messageId: options.messageId };
  switch (name) {
    case "set":
      return { ...common, name, ...setOptions(words, options), ...change };
    case "get":
      return { ...common, name, key: checkedKey(options.query ?? first) };
    case "delete": {
      const keys = distinctKeys(words.operands);
      return { ...common, name, keys, condition: revisionCondition(options.ifRevision), ...change };
    }
    case "clear":
      return { ...common, name, ...change };
    case "list":
      return { ...common, name, prefix: first };
    case "watch":
      return { ...common, name, prefix: first, since: options.since };
    case "wait":
      return { ...common, name, key: checkedKey(first) };
    case "info":
    case "ping":
    case "doctor":
      return { ...common, name };
    case "check":
      return checkCommand(words.own, common);
    case "bootstrap":
      return bootstrapCommand(words.own, common);
    default:
      return unreachable(name);
  }
}

function managerCommand(
  word: ManagerCommandWord,
  { operands, own }: Words,
  options: Options,
  common: CommonOptions,
): ManagerCommand {
  const [first = ""] = operands;
  const { limit, who, before, label, lifetime: expiresInMs } = own;
  assertManager(word, common);
  switch (word) {
    case "vms":
      return { ...common, name: "vms", pattern: operands[0], everywhere: own.everywhere === true };
    case "forget":
      return { ...common, name: "forget", vm: neededVm(common) };
    case "messages": {
      const direction = own.received ? "received" : "sent";
      return { ...common, name: "messages", vm: neededVm(common), direction, limit };
    }
    case "receipt":
      return { ...common, name: "receipt", messageId: first, waitAck: options.waitAck === true };
    case "user list":
      return { ...common, name: "user", action: { type: "list" } };
    case "user add":
      if (own.role === undefined) throw usageError("user add: what may the user do? --role read, write or admin");
      return { ...common, name: "user", action: { type: "add", user: first, properties: userProperties(own) } };
    case "user change":
      return { ...common, name: "user", action: { type: "change", user: first, properties: changedProperties(own) } };
    case "user remove":
      return { ...common, name: "user", action: { type: "remove", user: first } };
    case "token list":
      return { ...common, name: "token", action: { type: "list" } };
    case "token create":
      return { ...common, name: "token", action: { type: "create", user: first, label, expiresInMs } };
    case "token revoke":
      return { ...common, name: "token", action: { type: "revoke", id: first } };
    case "audit":
      return { ...common, name: "audit", vm: common.target.vm, who, before, limit };
    case "health":
      return { ...common, name: "health" };
    case "monitor":
      return monitorCommand(own, common);
    default:
      return unreachable(word);
  }
}

function assertManager(word: CommandWord, { door }: CommonOptions): void {
  if (door.via === "channel") throw usageError(`${word} asks the manager; a VM's channel cannot tell`);
}

/** The command's own name, or what -k and -q stand for. */
function commandWord({ command, operands, values }: Words, { query }: Options): CommandWord {
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

/** Undefined when one VM is meant, or none. */
function fleetSelection({ vm: names = [], all, vmsFrom: file }: Options): FleetSelection | undefined {
  if (names.includes("") || file === "") throw usageError("the name of a VM or a socket cannot be empty");
  if (all) {
    if (names.length > 0 || file !== undefined) throw usageError("--all is all VMs; give it without -v and --vms-from");
    return { all };
  }
  const isMany = file !== undefined || names.length > 1 || names.some(isPattern);
  return isMany ? { all: false, names, file } : undefined;
}

function commonOptions(options: Options, surroundings: Surroundings, isForOne: boolean): CommonOptions {
  const { json, quiet } = options;
  if (options.socket === "") throw usageError("the name of a VM or a socket cannot be empty");
  if (json && quiet) throw usageError("--json and --quiet are two kinds of answer; give one of them");
  return {
    target: target(options, surroundings, isForOne),
    door: doorChoice(options, surroundings),
    login: loginOptions(options),
    style: json ? "json" : quiet ? "quiet" : "transcript",
    timeoutMs: options.timeout,
  };
}

function target({ vm, socket, socketDir, connect }: Options, { environment }: Surroundings, isForOne: boolean): Target {
  const fromEnvironment = environment["VMMESSAGE_SOCKET_DIR"];
  const defaultDirectory = connect === undefined && fromEnvironment !== "" ? fromEnvironment : undefined;
  return {
    vm: isForOne ? vm?.[0] : undefined,
    socket,
    socketDirectory: socketDir ?? defaultDirectory,
    libvirtUri: connect,
  };
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

function sendingOptions({ expires, log }: Options): SendingOptions {
  return { expiresInMs: expires, log: log === true };
}

function userProperties({ role, vms, keys, publicKey, newPassword }: OwnOptions): UserProperties {
  return { role, vms, keys, publicKeyFiles: publicKey, readsPassword: newPassword === true };
}

function changedProperties(own: OwnOptions): UserProperties {
  if (Object.keys(own).length > 0) return userProperties(own);
  throw usageError("user change: what? give --role, --vms, --keys, --public-key or --new-password -");
}

/** Passwords may follow one another on the standard input; bytes and lists of VMs go to its end. */
function assertOneReader({ values, own }: Words, { password, vmsFrom }: Options): void {
  const bytes = values.some(({ from }) => from === "stdin");
  const passwords = password === "-" || own.newPassword === true || own.secret !== undefined;
  if ([bytes, vmsFrom === "-", own.file === "-", passwords, readsInput(own)].filter(Boolean).length < 2) return;
  throw usageError("there is only one standard input; give the password in VMMESSAGE_PASSWORD, or the rest in a file");
}

function inWords(commands: readonly CommandWord[]): string {
  return commands.length < 3
    ? commands.join(" and ")
    : `${commands.slice(0, -1).join(", ")} and ${commands.at(-1) ?? ""}`;
}
