/**
 * A manual page of a program, from the same definitions as its `--help`: options, commands, and the texts printed after them.
 * What a definition does not say, as the files a program reads, is in {@link PageText}.
 */
import type { Command as Program } from "commander";
import { exitCodesText } from "../../shared/cli/exit-codes-text.ts";
import { type ErrorCode, exitCodeMeanings, exitCodes } from "../../shared/protocol/errors.ts";
import type { Release } from "../release.ts";
import {
  argumentItems,
  blockLines,
  commandItems,
  isReference,
  optionItem,
  rowItem,
  textAfterHelp,
} from "./definitions.ts";
import { type HelpBlock, helpBlocks, type HelpRow } from "./help-text.ts";
import { argument, list, type ListItem, prose, section, subsection } from "./mdoc.ts";
import { usageLine } from "./usage.ts";

export interface PageText {
  name: string;
  /** Under which the page is found too. */
  otherNames?: readonly string[];
  section: 1 | 8;
  /** What it is, for lists of pages: no capital, no full stop. */
  summary: string;
  /** Paragraphs, after what the program says of itself. */
  description?: readonly string[];
  environment?: readonly HelpRow[];
  files?: readonly HelpRow[];
  /** Beside the table of exit codes, or in its place where `--help` has none. */
  exitStatus?: readonly string[];
  compatibility?: readonly string[];
  seeAlso: readonly (readonly [page: string, section: number])[];
}

export type PageRelease = Pick<Release, "version" | "sourceDateEpoch">;

/** The page's source in mdoc(7). Takes over what the program prints. */
export function programPage(program: Program, text: PageText, release: PageRelease): string {
  const printedAfter = textAfterHelp(program);
  const blocks = helpBlocks(printedAfter.replace(exitCodesText, "")).filter((block) => !isReference(block));
  const isExample = (block: HelpBlock): boolean => isOfExamples(block, program.name());
  return page(text, release, {
    synopsis: synopsis(program.usage(), program.name()),
    description: descriptionSection(
      [program.description(), ...(text.description ?? [])],
      blocks.filter((block) => !isExample(block)),
    ),
    reference: [...optionsSection(program), ...commandsSection(program)],
    exitStatus: exitStatusSection(text, { hasTable: printedAfter.includes(exitCodesText) }),
    examples: section("EXAMPLES", ...blocks.filter(isExample).map(asExamples)),
  });
}

/** Of a name that is another program's. */
export function namePage(text: PageText, usage: string, release: PageRelease): string {
  return page(text, release, {
    synopsis: synopsis(usage, text.name),
    description: descriptionSection(text.description ?? [], []),
    reference: [],
    exitStatus: exitStatusSection(text, { hasTable: false }),
    examples: [],
  });
}

/** Lines of whole sections. */
interface PageParts {
  /** Without its heading. */
  synopsis: readonly string[];
  description: readonly string[];
  /** Options and commands. */
  reference: readonly string[];
  exitStatus: readonly string[];
  examples: readonly string[];
}

/** The order of sections is mdoc(7)'s. */
function page(text: PageText, release: PageRelease, parts: PageParts): string {
  const { name, otherNames = [], summary, environment = [], files = [] } = text;
  const names = [name, ...otherNames];
  const lines = [
    `.Dd ${dateInWords(release.sourceDateEpoch)}`,
    `.Dt ${argument(name.toUpperCase())} ${text.section}`,
    `.Os vmmessage ${argument(release.version)}`,
    ".Sh NAME",
    ...names.map((one, index) => `.Nm ${argument(one)}${index < names.length - 1 ? " ," : ""}`),
    `.Nd ${argument(summary)}`,
    ".Sh SYNOPSIS",
    ...parts.synopsis,
    ...parts.description,
    ...parts.reference,
    ...section("ENVIRONMENT", list(environment.map((row) => rowItem("Ev", row)))),
    ...section("FILES", list(files.map((row) => rowItem("Pa", row)))),
    ...parts.exitStatus,
    ...parts.examples,
    ...section("COMPATIBILITY", ...(text.compatibility ?? []).map(prose)),
    ".Sh SEE ALSO",
    ...text.seeAlso.map(([other, number], index) => {
      return `.Xr ${argument(other)} ${number}${index < text.seeAlso.length - 1 ? " ," : ""}`;
    }),
  ];
  return `${lines.join("\n")}\n`;
}

/** "November 21, 2026", of the universal time. */
function dateInWords(sourceDateEpoch: number): string {
  const format = new Intl.DateTimeFormat("en-US", { dateStyle: "long", timeZone: "UTC" });
  return format.format(sourceDateEpoch * 1_000);
}

/** A line for each way to call it. */
function synopsis(usage: string, program: string): string[] {
  return usage
    .split("\n")
    .flatMap((line) => line.split(` | ${program} `))
    .map((line) => usageLine(line, program));
}

/** Paragraphs first: one below a subsection would belong to it. */
function descriptionSection(paragraphs: readonly string[], blocks: readonly HelpBlock[]): string[] {
  const plain = blocks.filter(({ type }) => type === "paragraph");
  const titled = blocks.filter((block) => block.type !== "paragraph");
  return section(
    "DESCRIPTION",
    ...paragraphs.map(prose),
    ...plain.map(blockLines),
    ...titled.map((block) => subsection(block.title, blockLines(block))),
  );
}

function optionsSection(program: Program): string[] {
  const help = program.createHelp();
  const visible = help.visibleOptions(program);
  const groups = help.groupItems(visible, visible, (option) => option.helpGroupHeading ?? "Options:");
  const options = [...groups].map(([heading, members]): ListGroup => {
    return { heading, items: members.map((option) => optionItem(program, option)) };
  });
  return groupedSection("OPTIONS", [{ heading: "Arguments:", items: argumentItems(program) }, ...options]);
}

function commandsSection(program: Program): string[] {
  const help = program.createHelp();
  const visible = help.visibleCommands(program);
  const groups = help.groupItems(visible, visible, (command) => command.helpGroup());
  const told = new Set<string>();
  return groupedSection(
    "COMMANDS",
    [...groups].map(([heading, members]) => {
      return { heading, items: members.flatMap((command) => commandItems(command, "", told)) };
    }),
  );
}

interface ListGroup {
  heading: string;
  items: readonly ListItem[];
}

/** A group that is alone needs no heading of its own. */
function groupedSection(title: string, groups: readonly ListGroup[]): string[] {
  const present = groups.filter(({ items }) => items.length > 0);
  if (present.length === 1) return section(title, ...present.map(({ items }) => list(items)));
  return section(title, ...present.map(({ heading, items }) => subsection(heading.replace(/:$/, ""), list(items))));
}

function isOfExamples(block: HelpBlock, program: string): boolean {
  return block.type === "table" && block.rows.every(({ term }) => term.split(" ").includes(program));
}

function asExamples(block: HelpBlock): string[] {
  const lines = blockLines(block);
  return block.type === "paragraph" || block.title === "Examples" ? lines : subsection(block.title, lines);
}

function exitStatusSection({ exitStatus = [] }: PageText, { hasTable }: { hasTable: boolean }): string[] {
  return section("EXIT STATUS", ...(hasTable ? exitCodeTable() : []), ...exitStatus.map(prose));
}

/** The table behind what `--help` prints. */
function exitCodeTable(): string[][] {
  const items = (Object.entries(exitCodes) as [ErrorCode, number][]).map(([code, number]): ListItem => {
    return { term: `${number} Pq ${argument(code)}`, body: prose(exitCodeMeanings[code]) };
  });
  return [
    prose("In parentheses stands what an error is called with --json."),
    list([{ term: "0", body: ["done"] }, ...items]),
  ];
}
