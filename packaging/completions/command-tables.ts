/** The tables that engine.bash looks up, of a commander program. */
import type { Argument, Command as Program, Option } from "commander";
import { type Kind, kindOf, type KindTable } from "./value-kinds.ts";

/** A command by its words ("config enable"; the program itself has none), with what can follow them. */
interface CommandRow {
  path: string;
  commands: readonly string[];
  /** Its own, and those of the commands that it is below. */
  options: readonly OptionRow[];
  operands: readonly { kind: Kind; isVariadic: boolean }[];
}

interface OptionRow {
  flags: readonly string[];
  /** Nothing for a switch; with "?" where the value may be left out. */
  kind: "" | Kind | `?${Kind}`;
  isHidden: boolean;
}

/** In a `case` of bash: patterns, and what to do. */
type Case = [patterns: readonly string[], statement: string];

/** Functions in bash. */
export function commandTables(program: Program, kinds: KindTable): string {
  const rows = commandRows(program, { path: "", inherited: [], kinds });
  const [root, ...others] = rows;
  return [
    lookUp("commands", "The commands below $1, in listed.", "$1", rows.map(commandsCase), listing([])),
    lookUp("options", "The options of $1, in listed.", "$1", rows.map(optionsCase), listing([])),
    lookUp(
      "value",
      'What follows the option $2 of $1, in REPLY: nothing or a kind, and "?" before what may be left out.',
      "$1:$2",
      [...others.flatMap((row) => valueCases(row, root?.options ?? [])), ...(root ? valueCasesOfAll(root) : [])],
      "REPLY=''",
    ),
    lookUp("operand", "The kind of $1's operand $2, in REPLY.", "$1:$2", rows.flatMap(operandCases), "REPLY=''"),
  ].join("\n");
}

/** An option is taken behind all commands below the one that has it, unless a lower one has another of that name. */
function commandRows(
  command: Program,
  { path, inherited, kinds }: { path: string; inherited: readonly OptionRow[]; kinds: KindTable },
): CommandRow[] {
  const help = command.createHelp();
  const hidden = command.options.filter((option) => option.hidden);
  const own = [...help.visibleOptions(command), ...hidden].map((option) => optionRow(option, kinds));
  const ownFlags = new Set(own.flatMap(({ flags }) => flags));
  const options = [...own, ...inherited.filter(({ flags }) => !flags.some((flag) => ownFlags.has(flag)))];
  const below = help.visibleCommands(command);
  const row: CommandRow = {
    path,
    commands: below.map((one) => one.name()),
    options,
    operands: command.registeredArguments.map((operand) => operandRow(operand, kinds)),
  };
  const pathOf = (one: Program): string => `${path} ${one.name()}`.trim();
  return [row, ...below.flatMap((one) => commandRows(one, { path: pathOf(one), inherited: options, kinds }))];
}

function optionRow(option: Option, kinds: KindTable): OptionRow {
  const { name = "" } = /[<[](?<name>.*)[>\]]$/.exec(option.flags)?.groups ?? {};
  const kind = kindOf({ name, option: option.long, choices: option.argChoices }, kinds);
  return {
    flags: [option.short, option.long].filter((flag) => flag !== undefined),
    kind: option.required ? kind : option.optional ? `?${kind}` : "",
    isHidden: option.hidden,
  };
}

function operandRow(operand: Argument, kinds: KindTable): CommandRow["operands"][number] {
  return { kind: kindOf({ name: operand.name(), choices: operand.argChoices }, kinds), isVariadic: operand.variadic };
}

function commandsCase({ path, commands }: CommandRow): Case {
  return [commands.length === 0 ? [] : [quoted(path)], listing(commands)];
}

function optionsCase({ path, options }: CommandRow): Case {
  return [[quoted(path)], listing(options.filter(({ isHidden }) => !isHidden).flatMap(({ flags }) => flags))];
}

/** Only what is not the same for the program as a whole. */
function valueCases({ path, options }: CommandRow, ofAll: readonly OptionRow[]): Case[] {
  const others = options.filter(({ flags, kind }) => {
    const same = ofAll.filter((option) => option.flags.some((flag) => flags.includes(flag)));
    return same.length === 0 ? kind !== "" : same.some((option) => option.kind !== kind);
  });
  return byKind(others).map(([kind, flags]) => [
    flags.map((flag) => quoted(`${path}:${flag}`)),
    `REPLY=${quoted(kind)}`,
  ]);
}

function valueCasesOfAll({ options }: CommandRow): Case[] {
  return byKind(options.filter(({ kind }) => kind !== "")).map(([kind, flags]) => [
    flags.map((flag) => `*:${flag}`),
    `REPLY=${quoted(kind)}`,
  ]);
}

function byKind(options: readonly OptionRow[]): [kind: string, flags: string[]][] {
  const groups = Map.groupBy(options, ({ kind }) => kind);
  return [...groups].map(([kind, members]) => [kind, members.flatMap(({ flags }) => flags)]);
}

function operandCases({ path, operands }: CommandRow): Case[] {
  return operands.map(({ kind, isVariadic }, index) => [
    kind === "any" ? [] : [isVariadic ? `${quoted(`${path}:`)}*` : quoted(`${path}:${index}`)],
    `REPLY=${quoted(kind)}`,
  ]);
}

function lookUp(table: string, comment: string, subject: string, cases: readonly Case[], otherwise: string): string {
  const present = cases.filter(([patterns]) => patterns.length > 0);
  const lines = [...present, [["*"], otherwise] satisfies Case].map(([patterns, statement]) => {
    return `    ${patterns.join(" | ")}) ${statement} ;;`;
  });
  return [`# ${comment}`, `__PROGRAM_${table}() {`, `  case ${subject} in`, ...lines, "  esac", "}", ""].join("\n");
}

function listing(words: readonly string[]): string {
  return `listed=(${words.map((word) => (/^[\w-]+$/.test(word) ? word : quoted(word))).join(" ")})`;
}

/** No word of a definition has an apostrophe; one that had would end the quotes. */
function quoted(text: string): string {
  if (text.includes("'")) throw new Error(`${text}: a word with an apostrophe cannot stand in a completion's table`);
  return `'${text}'`;
}
