/** A guide that is played from its beginning to its end: its files are put in their places, its commands are typed. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, vi } from "vitest";
import { root } from "./lab.ts";

const run = promisify(execFile);

/** What a guide shows is there when its reader has typed the next line; after a failure, up to a minute and some. */
const SOON = { timeout: 100_000, interval: 200 };

/** What only looks, and may be typed again until it shows what the guide says. */
const LOOKS =
  /^(?:dig|\/usr\/local\/bin\/ask-inventory|vmmessage (?:vms|sinks|sink deliveries|messages|events|monitor|check|doctor))\b/;

/** What prints what is there and takes it away: what comes later is printed by the next one. */
const TAKES = " --once ";

export interface Block {
  /** Of ```json title=FILE: the file it is. */
  title: string | undefined;
  isConsole: boolean;
  text: string;
}

/** The machines of a guide. */
export interface Lab {
  /** Puts a guide's file in its place. */
  place(documented: string, text: string): Promise<void>;
  /** Types a line of shell at a machine's prompt; settles with what it prints, in the guide's paths and names. */
  type(prompt: string, command: string): Promise<string>;
}

interface Step {
  /** `host# ` */
  prompt: string;
  command: string;
  shown: string;
}

export function textOf(guide: string): string {
  return readFileSync(join(root, "docs", "guides", guide), "utf8");
}

/** The files that a guide leads to. */
export function linksOf(guide: string): string[] {
  return [...textOf(guide).matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, path = ""]) => {
    return join(root, "docs", "guides", dirname(guide), path);
  });
}

/** @param elsewhere what a block with another title than a path's is for */
export async function play(
  guide: string,
  lab: Lab,
  elsewhere: Readonly<Record<string, (text: string) => Promise<void>>> = {},
): Promise<void> {
  await playBlocks(blocksOf(guide), lab, elsewhere);
}

export async function playBlocks(
  blocks: readonly Block[],
  lab: Lab,
  elsewhere: Readonly<Record<string, (text: string) => Promise<void>>> = {},
): Promise<void> {
  for (const { title, isConsole, text } of blocks) {
    if (isConsole) for (const step of stepsOf(text)) await playStep(step, lab);
    else if (title?.startsWith("/") === true) await lab.place(title, text);
    else if (title !== undefined) await elsewhere[title]?.(text);
  }
}

export function blocksOf(guide: string): Block[] {
  return blocksIn(textOf(guide));
}

/** The sections of a guide by their headings, in their order. */
export function sectionsOf(guide: string): Map<string, Block[]> {
  const [, ...sections] = textOf(guide).split(/^## /m);
  return new Map(
    sections.map((section) => {
      const [heading = ""] = section.split("\n", 1);
      return [heading, blocksIn(section)];
    }),
  );
}

function blocksIn(text: string): Block[] {
  return [...text.matchAll(/^```(\w+)(?: title=(\S+))?\n([^]*?)^```$/gm)].map(([, language, title, block = ""]) => ({
    title,
    isConsole: language === "console",
    text: block,
  }));
}

/** A command goes on in the next line after a backslash, as in a shell. */
function stepsOf(text: string): Step[] {
  const step = /^([a-z]+\d?# )((?:.*\\\n)*.*)\n((?:(?![a-z]+\d?# ).*\n)*)/gm;
  const steps = [...text.matchAll(step)].map(([, prompt = "", command = "", shown = ""]) => {
    return { prompt, command, shown };
  });
  expect(steps.length, `a prompt in: ${text}`).toBeGreaterThan(0);
  return steps;
}

async function playStep({ prompt, command, shown }: Step, lab: Lab): Promise<void> {
  let printed = "";
  const played = async (): Promise<void> => {
    const now = await lab.type(prompt, command);
    printed = command.includes(TAKES) ? printed + now : now;
    expect(`${prompt}${command}\n${comparable(printed)}`).toBe(`${prompt}${command}\n${comparable(shown)}`);
  };
  await (LOOKS.test(command) || command.includes(TAKES) ? vi.waitFor(played, SOON) : played());
}

/** The words that a shell makes of a line, for a stand-in of the program that it calls. Rejects when a shell refuses the line. */
export async function wordsOf(line: string): Promise<string[]> {
  const { stdout } = await run("sh", ["-c", `printf '%s\\0' ${line}`], { cwd: "/" });
  return stdout.split("\0").slice(0, -1);
}

/** Without what is different in each run: ids, places in the log, times, durations, and the widths of columns. */
export function comparable(text: string): string {
  return (
    text
      .trimEnd()
      .replace(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, "UUID")
      .replace(/\b[0-9a-f]{16}:\d+\b/g, "CURSOR")
      .replace(/\bheld by .+ \(pid \d+\)/g, "held by PROGRAM (pid N)")
      .replace(/\bepoch [0-9a-f]{16}\b/g, "epoch EPOCH")
      .replace(/\bfingerprint is [0-9a-f]{16}\b/g, "fingerprint is FINGERPRINT")
      .replace(/\b[0-9a-f]{32}\b/g, "MESSAGE")
      .replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "TIME")
      .replace(/\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+]0000/g, "TIME")
      .replace(/\b\d+ (?:second|minute)s? ago\b/g, "N ago")
      .replace(/\bdurationMs=\d+/g, "durationMs=N")
      .replace(/\b\d+(?:\.\d+)? ms\b/g, "N ms")
      .replace(/\b\d+\.\d s\b/g, "N s")
      // In a table of deliveries: which attempt, what came of it, how long it took.
      .replace(/ \d+ +(delivered|failed|dead|obsolete)( +\d{3})? +\d+(?= |$)/gm, " N $1$2 N")
      .replace(/ +$/gm, "")
      .replace(/(?<=\S) {2,}/g, "  ")
  );
}
