/** Options, arguments and commands of a commander program as items of lists in a manual page. */
import type { Argument, Command as Program, Option } from "commander";
import { type HelpBlock, helpBlocks, type HelpRow } from "./help-text.ts";
import { argument, body, display, list, type ListItem, prose } from "./mdoc.ts";

/** "The options: agent --help": a page has them itself, or another page to refer to. */
const REFERENCE_TO_HELP = /: [a-z_ -]+ --help$/;

export function optionItem(program: Program, option: Option): ListItem {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined);
  const names = flags.map((flag) => `Fl ${argument(flag.slice(1))}`).join(" , ");
  const { value } = /[<[](?<value>.*)[>\]]$/.exec(option.flags)?.groups ?? {};
  return {
    term: value === undefined ? names : `${names} ${placeholder(value, option)}`,
    body: prose(program.createHelp().optionDescription(option)),
  };
}

/** Those that are explained. */
export function argumentItems(program: Program): ListItem[] {
  return program.registeredArguments
    .filter(({ description }) => description !== "")
    .map((operand) => ({
      term: placeholder(operand.name(), operand),
      body: prose(program.createHelp().argumentDescription(operand)),
    }));
}

/**
 * A command and those below it, each by all of its words.
 * @param told what earlier commands were followed by, which is not said again
 */
export function commandItems(command: Program, above: string, told: Set<string>): ListItem[] {
  const words = `${above}${command.name()}`;
  const help = command.createHelp();
  const options = command.options.filter(({ hidden }) => !hidden).map((option) => optionItem(command, option));
  const after = helpBlocks(textAfterHelp(command)).filter((block) => !isReference(block) && isNew(block, told));
  const item = {
    term: [`Cm ${words}`, ...command.registeredArguments.map((operand) => placeholder(operand.name(), operand))].join(
      " ",
    ),
    body: body(
      prose(command.description()),
      list(argumentItems(command), { isCompact: true }),
      list(options, { isCompact: true }),
      ...after.map(asParagraph),
    ),
  };
  const below = help.visibleCommands(command).flatMap((one) => commandItems(one, `${words} `, told));
  return [item, ...below];
}

/** What `--help` prints behind its lists. Takes over what the program prints. */
export function textAfterHelp(program: Program): string {
  let whole = "";
  program.configureOutput({ writeOut: (piece) => (whole += piece) });
  program.outputHelp();
  return whole.slice(program.helpInformation().length);
}

export function isReference(block: HelpBlock): boolean {
  return block.type === "paragraph" && REFERENCE_TO_HELP.test(block.text);
}

/** @param macro of mdoc(7), for what the term is */
export function rowItem(macro: "Ev" | "Ic" | "Pa", { term, meaning }: HelpRow): ListItem {
  return { term: `${macro} ${argument(term)}`, body: meaning === "" ? [] : prose(meaning) };
}

/** Without its title. */
export function blockLines(block: HelpBlock): string[] {
  switch (block.type) {
    case "paragraph":
      return prose(block.text);
    case "table":
      return list(block.rows.map((row) => rowItem("Ic", row)));
    case "literal":
      return display(block.lines);
  }
}

function asParagraph(block: HelpBlock): string[] {
  return block.type === "paragraph" ? blockLines(block) : [...prose(`${block.title}:`), ...blockLines(block)];
}

function isNew(block: HelpBlock, told: Set<string>): boolean {
  const text = JSON.stringify(block);
  return told.size !== told.add(text).size;
}

function placeholder(name: string, { required, variadic }: Pick<Option | Argument, "required" | "variadic">): string {
  const macros = `Ar ${argument(name)}${variadic ? " ..." : ""}`;
  return required ? macros : `Op ${macros}`;
}
