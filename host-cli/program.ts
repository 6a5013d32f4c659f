/** The command line as commander knows it: options, commands and their help. What it all means is parse-arguments.ts. */
import { Command as Program, InvalidArgumentError, Option } from "commander";
import { duration, keyAndFile, revision, timeout } from "../shared/cli/arguments.ts";
import { usageError } from "../shared/cli/failure.ts";
import { version } from "../shared/version.ts";
import { adderTo, count, group, limitOption, several } from "./adding-commands.ts";
import { addAttachCommand } from "./attach-program.ts";
import { addBootstrapCommand } from "./bootstrap-program.ts";
import { addEventCommands } from "./event-program.ts";
import { DESCRIPTION, HELP_AFTER, USAGE } from "./help.ts";
import { addCheckCommand, addMonitorCommand } from "./monitor-program.ts";
import type { Words } from "./words.ts";

export interface ProgramOptions {
  /** Takes the texts of `--help` and `--version`. */
  print: (text: string) => void;
  /** Whether `--secret` says which key is one: else it says that all values are. */
  namesSecrets: boolean;
}

export function makeProgram(words: Words, { print, namesSecrets }: ProgramOptions): Program {
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
  addManagerOptions(program);
  addMessageOptions(program, words, namesSecrets);
  addAnswerOptions(program);
  addVmCommands(program, words);
  addManagerCommands(program, words);
  addEventCommands(program, words);
  return program;
}

function addTargetOptions(program: Program): void {
  program
    .optionsGroup("Which VM:")
    .option("-v, --vm <vm>", "the name of the virtual machine; a pattern ('web*') or several mean many", several)
    .option("--all", "all VMs of the manager")
    .option("--vms-from <file>", "the VMs that a file names, one a line; - is the standard input")
    .option("--socket <path>", "the Unix socket of its channel")
    .option("--socket-dir <dir>", "a directory with a socket for each VM")
    .option("-c, --connect <uri>", "libvirt's connection URI, as virsh -c takes it");
}

function addManagerOptions(program: Program): void {
  program
    .optionsGroup("Which manager, and who asks it:")
    .option("-h, --host <host[:port]>", "the manager's host; this one is asked through its socket")
    .option("-u, --user <user>", "a user of the manager")
    .option("-p, --password <password>", "the user's password; - reads it, from a terminal without showing it")
    .option("--token-file <path>", "the file with a token, in place of a user and a password")
    .option("--ca <file>", "trust the certificates of this authority too (PEM)")
    .option("--fingerprint <sha256>", "trust exactly the manager's certificate with this fingerprint", fingerprint)
    .option("--manager <path>", "the Unix socket of the manager on this host")
    .option("--direct", "never ask a manager: go straight to the VM's channel");
}

function addMessageOptions(program: Program, words: Words, namesSecrets: boolean): void {
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
    .option("--ttl <duration>", "forget the keys after this time: 90, 10m, 2h, 7d", duration);
  // An option of the whole line is taken wherever it stands, also behind a command that has one of the same name.
  if (!namesSecrets) program.option("--secret", "keep the values off the guest's disk and out of lists");
  program
    .option("--read-only", "let nothing in the guest change the keys")
    .option("--if-absent", "only if none of the keys exists")
    .option("--if-revision <[epoch:]n>", "only if the keys did not change after this revision", revision)
    .option("--expires <duration>", "do not deliver the message later than this (manager only)", duration)
    .option("--log", "write the values to the manager's audit log (manager only)")
    .option(
      "--message-id <id>",
      "send again what was unconfirmed: with the same id and the same change it has one effect",
      messageId,
    )
    .option("--wait-ack", "wait until a program in the guest acknowledges the message");
}

function addAnswerOptions(program: Program): void {
  program
    .optionsGroup("Answers:")
    .option("--json", "answer with one JSON object (watch, events, many VMs: one a line)")
    .option("--quiet", "answer with the bare value only, byte for byte")
    .option("--since <[epoch:]n>", "watch: go on after this revision; events: after this cursor", revision)
    .option(
      "--timeout <duration>",
      "give up after this time (default: 10 s; wait, --wait-ack, many VMs, attach: 60 s; bootstrap: 10 m)",
      timeout,
    );
}

function addVmCommands(program: Program, words: Words): void {
  const command = adderTo(program, words);
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
  addBootstrapCommand(program, words);
  addCheckCommand(program, words);
  addAttachCommand(program, words);
}

function addManagerCommands(program: Program, words: Words): void {
  const command = adderTo(program, words);
  program.commandsGroup("Commands of the manager:");
  command("vms", "[pattern]", "the VMs that the manager knows, as a table").option(
    "--everywhere",
    "those of all managers that share its broker",
  );
  command("forget", "", "forget a VM that is gone for good, with all that is kept for it");
  command("messages", "", "what was sent to a VM and became of it, the newest first")
    .option("--received", "what came from the VM instead")
    .addOption(limitOption());
  command("receipt", "<message-id>", "what became of a message");
  addUserCommands(group(program, "user", "the manager's users"), words);
  addTokenCommands(group(program, "token", "tokens, for programs that ask the manager"), words);
  command("audit", "", "who did what, the newest first")
    .option("--who <name>", "only what this user did")
    .option("--before <id>", "only what came before this record", count)
    .addOption(limitOption());
  command("health", "", "what works in the manager and what does not");
  addMonitorCommand(program, words);
}

function addUserCommands(users: Program, words: Words): void {
  const command = adderTo(users, words, "user ");
  command("list", "", "all users");
  addUserProperties(command("add", "<name>", "make a user"));
  addUserProperties(command("change", "<name>", "change a user; what is not given stays"));
  command("remove", "<name>", "remove a user and their tokens");
}

function addUserProperties(command: Program): void {
  command
    .addOption(new Option("--role <role>", "what the user may do").choices(["read", "write", "admin"]))
    .option("--vms <pattern>", "the VMs the user may ask for; may be repeated", several)
    .option("--keys <prefix>", "the keys the user may ask for; may be repeated", several)
    .option("--public-key <file>", "a public key of the user's, for the console; may be repeated", several)
    .option("--new-password <->", "read the user's password, from a terminal without showing it", fromInput);
}

function addTokenCommands(tokens: Program, words: Words): void {
  const command = adderTo(tokens, words, "token ");
  command("list", "", "all tokens, without their secrets");
  command("create", "<user>", "make a token, which is shown once")
    .option("--label <text>", "what it is for")
    .option("--lifetime <duration>", "when it ends", duration);
  command("revoke", "<id>", "revoke a token");
}

/** 64 hexadecimal digits, with or without the colons that openssl prints. */
function fingerprint(text: string): string {
  const digits = text
    .replace(/^sha256[:=]/i, "")
    .replaceAll(":", "")
    .toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(digits)) {
    throw new InvalidArgumentError("it is not the SHA-256 of a certificate: 64 hexadecimal digits");
  }
  return digits;
}

/** As the protocol's schema has it, which takes longer to load than to parse a command line. */
function messageId(text: string): string {
  if (/^[A-Za-z0-9._:-]{1,64}$/.test(text)) return text;
  throw new InvalidArgumentError("it is not a message's id: 1 to 64 of A-Z a-z 0-9 . _ : -");
}

function fromInput(text: string): true {
  if (text === "-") return true;
  // Not an InvalidArgumentError, whose sentence repeats what was given.
  throw usageError("--new-password: others can see a command line; give - and the password on the standard input");
}

function once(what: string) {
  return (value: string, previous: string | undefined): string => {
    if (previous !== undefined) throw new InvalidArgumentError(`it is ${what}; give one`);
    return value;
  };
}
