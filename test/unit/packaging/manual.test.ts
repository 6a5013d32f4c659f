/** Manual pages as sources: what they say. Whether mandoc and man take them is tested with the packages. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command as Program, Option } from "commander";
import { describe, expect, test, vi } from "vitest";
import { programPage } from "../../../packaging/manual/program-page.ts";
import { agentText } from "../../../packaging/manual/page-texts.ts";
import { programs } from "../../../packaging/manual/programs.ts";
import { manuals } from "../../../packaging/manual/write-manuals.ts";
import { projectRoot } from "../../../packaging/release.ts";
import { exitCodes } from "../../../shared/protocol/errors.ts";

const release = { version: "1.2.3", sourceDateEpoch: Date.UTC(2026, 10, 21, 23, 59) / 1_000 };
const pages = manuals(release);

/** A page's lines as they read, but for the macros. */
function linesOf(page: string): string[] {
  const characters: Record<string, string> = { "\\(rs": "\\", "\\(aq": "'", "\\(ga": "`", "\\(ha": "^", "\\(ti": "~" };
  return (pages.get(page) ?? "")
    .replace(/\\[&%]/g, "")
    .replaceAll("\\(dq", '"')
    .replaceAll("\\-", "-")
    .replace(/\\\((?:rs|aq|ga|ha|ti)/g, (escape) => characters[escape] ?? "")
    .split("\n");
}

/** What stands below the item of a list. */
function itemBody(lines: readonly string[], term: string): string {
  const start = lines.indexOf(`.It ${term}`);
  expect(start, `the item ${term}`).toBeGreaterThan(-1);
  const end = lines.findIndex((line, index) => index > start && /^\.(It|El|Bl)\b/.test(line));
  return lines.slice(start + 1, end).join(" ");
}

function termOf({ short, long, flags, required, optional }: Option): string {
  const names = [short, long].filter((flag) => flag !== undefined).map((flag) => `Fl ${flag.slice(1)}`);
  const value = /[<[](.*)[>\]]$/.exec(flags)?.[1] ?? "";
  return `${names.join(" , ")}${required ? ` Ar ${value}` : optional ? ` Op Ar ${value}` : ""}`;
}

/** A program's commands, by all of their words. */
function commandsOf(program: Program, above = ""): [words: string, command: Program][] {
  return program.commands.flatMap((command) => {
    const words = `${above}${command.name()}`;
    return [[words, command] as [string, Program], ...commandsOf(command, `${words} `)];
  });
}

describe.each([
  ["vmmessage-agent.8", programs.agent()],
  ["vmmessage.1", programs.vmmessage()],
  ["vmmessaged.8", programs.vmmessaged()],
  ["ovmd.8", programs.ovmd()],
  ["ovm-template-config.8", programs["ovm-template-config"]()],
])("%s", (page, program) => {
  const lines = linesOf(page);

  test("has every option that --help has, in its words", () => {
    const options = program.createHelp().visibleOptions(program);
    expect(options.length).toBeGreaterThan(3);
    for (const option of options) {
      expect(itemBody(lines, termOf(option))).toBe(program.createHelp().optionDescription(option));
    }
  });

  test("has every command that --help has, with its arguments, options and examples", () => {
    for (const [words, command] of commandsOf(program)) {
      const start = lines.findIndex((line) => line === `.It Cm ${words}` || line.startsWith(`.It Cm ${words} `));
      expect(start, words).toBeGreaterThan(-1);
      const [item = "", ...below] = lines.slice(start);
      expect(below[0]).toBe(command.description());
      for (const operand of command.registeredArguments) expect(item).toContain(`Ar ${operand.name()}`);
      for (const option of command.options) {
        expect(itemBody(below, termOf(option))).toBe(command.createHelp().optionDescription(option));
      }
    }
  });

  test("has every example that --help prints, and every way to call the program", () => {
    let help = "";
    program.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    const examples = help.split("\n").filter((line) => line.startsWith(`  ${program.name()} `));
    for (const example of examples) {
      const [command = ""] = example.trim().split(/ {2,}/);
      expect(
        lines.some((line) => line === `.It Ic "${command.replaceAll('"', "")}"` || line === `.It Ic ${command}`),
      ).toBe(true);
    }
    const calls = program.usage().split(/\n| \| (?=agent )/);
    expect(lines.filter((line) => line.startsWith(`.Nm ${program.name()} `) && !line.endsWith(","))).toHaveLength(
      calls.length,
    );
  });
});

describe.each(["vmmessage-agent.8", "vmmessage.1", "vmmessaged.8"])("%s", (page) => {
  test("explains every exit code", () => {
    const lines = linesOf(page);
    const status = lines.slice(lines.indexOf(".Sh EXIT STATUS"));
    for (const [name, code] of Object.entries(exitCodes)) expect(status).toContain(`.It ${code} Pq ${name}`);
  });
});

test("vmmessage(1) has every variable of the environment that the program reads", async () => {
  const directory = join(projectRoot, "host-cli");
  const files = (await readdir(directory, { recursive: true })).filter((file) => file.endsWith(".ts"));
  const sources = await Promise.all(files.map((file) => readFile(join(directory, file), "utf8")));
  const names = sources.flatMap((source) =>
    [...source.matchAll(/environment\["(\w+)"\]/g)].map(([, name = ""]) => name),
  );
  expect(names).toContain("VMMESSAGE_HOST");
  const lines = linesOf("vmmessage.1");
  for (const name of names) expect(lines).toContain(`.It Ev ${name}`);
});

test("examples that several commands share are told once", () => {
  const lines = linesOf("vmmessage-agent.8");
  expect(lines.filter((line) => line === '.It Ic "agent config cleanup"')).toHaveLength(1);
});

test("no page sends its reader to the help of the same program", () => {
  for (const page of pages.keys()) expect(linesOf(page).join("\n")).not.toMatch(/The options: /);
});

test("the date is the release's in universal time, and the system's name is the release", () => {
  for (const timeZone of ["Pacific/Kiritimati", "Pacific/Pago_Pago"]) {
    vi.stubEnv("TZ", timeZone);
    const [date, , system] = programPage(programs.agent(), agentText, release).split("\n");
    expect([date, system]).toEqual([".Dd November 21, 2026", ".Os vmmessage 1.2.3"]);
  }
  vi.unstubAllEnvs();
});
