/** From the words of a command line to a {@link Command}. Pure: nothing is read, opened or printed. */
import { Command as Program } from "commander";
import { parseWords } from "../shared/cli/arguments.ts";
import { exitCodesText } from "../shared/cli/exit-codes-text.ts";
import { usageError } from "../shared/cli/failure.ts";
import { version } from "../shared/version.ts";
import type { Command } from "./command.ts";

export type Parsed = { type: "command"; command: Command } | { type: "text"; text: string };

interface Options {
  config?: string;
  stateDir?: string;
  runDir?: string;
  json?: true;
}

const DESCRIPTION =
  "Keeps a link to every VM of this host: mirrors their keys, keeps messages for those that are away, and serves " +
  "'vmmessage', its HTTP API and the OVM> console. Without a configuration it finds the VMs of libvirt and listens on a " +
  "Unix socket alone.";

const EXAMPLES = `Examples:
  vmmessaged                                     with /etc/vmmessage/manager.json, or without one
  vmmessaged check                               what it would do: configuration, hypervisors, certificates
  vmmessaged --config lab.json --state-dir ~/lab --run-dir ~/lab

Signals: SIGTERM and SIGINT end it when what is under way is done; SIGHUP reads the configuration and certificates anew.`;

/** Throws CommandError (usage). `args` without the program's own name. */
export function parseArguments(args: readonly string[]): Parsed {
  let text = "";
  let name = "run" as Command["name"];
  const program = makeProgram(
    (piece) => (text += piece),
    (chosen) => (name = chosen),
  );
  if (!parseWords(program, args)) return { type: "text", text };
  const { config, stateDir, runDir, json } = program.opts<Options>();
  if (json && name !== "check") throw usageError("--json goes with check, not with run");
  return {
    type: "command",
    command: {
      name,
      json: json === true,
      places: { configFile: config, stateDirectory: stateDir, runDirectory: runDir },
    },
  };
}

/** @param print takes the texts of `--help` and `--version` */
export function makeProgram(print: (text: string) => void, chosen: (name: Command["name"]) => void): Program {
  return new Program("vmmessaged")
    .exitOverride()
    .configureOutput({ writeOut: print, writeErr: () => undefined })
    .description(DESCRIPTION)
    .version(`vmmessaged ${version}`, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .option("-c, --config <file>", "the configuration, JSON (default: /etc/vmmessage/manager.json)")
    .option("--state-dir <dir>", "what has to survive (default: /var/lib/vmmessage/manager)")
    .option("--run-dir <dir>", "the manager's own socket (default: /run/vmmessage)")
    .option("--json", "check: answer with one JSON object")
    .argument("[command]", "run (the default) or check")
    .allowExcessArguments(false)
    .addHelpText("after", `\n${EXAMPLES}\n\n${exitCodesText}`)
    .action((command: string | undefined) => {
      chosen(commandName(command));
    });
}

function commandName(word = "run"): Command["name"] {
  if (word === "run" || word === "check") return word;
  throw usageError(`there is no command '${word}'; it is run or check`);
}
