/** How commands are added to the command line, each with its examples. */
import { type Command as Program, InvalidArgumentError, Option } from "commander";
import { usageError } from "../shared/cli/failure.ts";
import { COMMAND_EXAMPLES } from "./help.ts";
import type { CommandWord, OwnOptions, Words } from "./words.ts";

/** A word that only stands before others. */
export function group(program: Program, name: string, description: string): Program {
  return program
    .command(name)
    .description(description)
    .helpOption("--help", "print this help")
    .helpCommand(false)
    .addHelpText("after", `\n${COMMAND_EXAMPLES[name] ?? ""}`)
    .allowExcessArguments()
    .action((_options, { args: [word] }: Program) => {
      const saw = word === undefined ? `'${name}' needs a command` : `there is no command '${name} ${word}'`;
      throw usageError(`${saw}; see vmmessage ${name} --help`);
    });
}

type CommandBelow<Prefix extends string> = CommandWord extends infer W
  ? W extends `${Prefix}${infer Name}`
    ? Name
    : never
  : never;

export function adderTo<Prefix extends "" | `${string} ` = "">(parent: Program, words: Words, prefix?: Prefix) {
  return (name: CommandBelow<Prefix>, operands: string, description: string): Program => {
    const word = `${prefix ?? ""}${name}` as CommandWord;
    const examples = COMMAND_EXAMPLES[word];
    return parent
      .command(`${name} ${operands}`.trimEnd())
      .description(description)
      .allowExcessArguments(false)
      .helpOption("--help", "print this help")
      .addHelpText("after", `${examples === undefined ? "" : `\n${examples}\n`}\nThe options: vmmessage --help`)
      .action((...args: unknown[]) => {
        const command = args.at(-1) as Program;
        words.command = word;
        words.operands = command.args;
        words.own = { ...(prefix !== undefined && parent.opts<OwnOptions>()), ...command.opts<OwnOptions>() };
      });
  };
}

export function limitOption(): Option {
  return new Option("--limit <n>", "at most so many (1 to 1000)").argParser((text) => {
    const limit = count(text);
    if (limit < 1 || limit > 1000) throw new InvalidArgumentError("it is not from 1 to 1000");
    return limit;
  });
}

export function count(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("it is not a number");
  return Number(text);
}

export function several(value: string, before: string[] = []): string[] {
  return [...before, value];
}
