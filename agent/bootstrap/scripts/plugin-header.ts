/**
 * The header that makes an executable a module: comments that ovm-template-config reads too, so that its modules work as
 * they are (Oracle's "Developing Oracle VM Template Configuration Modules", docs.oracle.com, E50251 and E35333):
 *
 *     ### BEGIN PLUGIN INFO
 *     # name: example
 *     # configure: 50
 *     # cleanup: 20
 *     # timeout: 60
 *     # description: a line that is indented further than the members
 *     #   belongs to the member above it
 *     ### END PLUGIN INFO
 *
 * A target's member says that the module takes part in it, and its place there. `timeout` is ours.
 */
import { moduleName, type Target, targets } from "../../../shared/bootstrap.ts";
import { parseDuration } from "../../../shared/cli/duration.ts";
import { describeIssues } from "../../../shared/protocol/message.ts";
import { printable } from "../../../shared/terminal-text.ts";
import { DEFAULT_MODULE_TIMEOUT_MS, MAX_MODULE_TIMEOUT_MS, ModuleError } from "../module.ts";

/** A header stands in the first so many bytes of its file, which may be a program of any size. */
export const MAX_HEADER_BYTES = 64 * 1024;

const BEGIN = /^### BEGIN PLUGIN INFO\s*$/;
const END = /^### END PLUGIN INFO\s*$/;
const EMPTY = /^\s*#?\s*$/;
const COMMENT = /^#(\s*)(.*?)\s*$/;
const MEMBER = /^([^\s:][^:]*?)\s*:\s*(.*)$/;
const ORDER = /^\d{1,3}$/;

/** Enough of a wrong value to recognise it. */
const MAX_SHOWN_LENGTH = 60;

export interface PluginHeader {
  name: string;
  /** One line; empty when the header has none. */
  description: string;
  /** At least one. */
  orders: ReadonlyMap<Target, number>;
  timeoutMs: number;
}

interface Member {
  lineNumber: number;
  value: string;
}

/** The header in the text that a file begins with. Members that are not known are other people's. Throws ModuleError, which names file and line. */
export function readPluginHeader(path: string, text: string): PluginHeader {
  const lines = text.split(/\r?\n/);
  const begin = lines.findIndex((line) => BEGIN.test(line));
  if (begin === -1) throw new ModuleError(`${path}: no '### BEGIN PLUGIN INFO' in its first ${MAX_HEADER_BYTES} bytes`);
  const length = lines.slice(begin + 1).findIndex((line) => END.test(line));
  if (length === -1) throw problem(path, begin + 1, "no '### END PLUGIN INFO' ends the header");
  const members = membersOf(path, lines.slice(begin + 1, begin + 1 + length), begin + 2);
  return {
    name: nameOf(path, begin + 1, members.get("name")),
    description: members.get("description")?.value ?? "",
    orders: ordersOf(path, begin + 1, members),
    timeoutMs: timeoutOf(path, members.get("timeout")),
  };
}

function membersOf(path: string, lines: readonly string[], firstLineNumber: number): Map<string, Member> {
  const members = new Map<string, Member>();
  let indentation = Number.POSITIVE_INFINITY;
  let latest: Member = { lineNumber: firstLineNumber, value: "" };
  for (const [index, line] of lines.entries()) {
    const lineNumber = firstLineNumber + index;
    if (EMPTY.test(line)) continue;
    const [, spaces = "", said = ""] = COMMENT.exec(line) ?? [];
    if (widthOf(spaces) > indentation) {
      latest.value += ` ${said}`;
      continue;
    }
    const [, name = "", value = ""] = MEMBER.exec(said) ?? [];
    const key = name.toLowerCase();
    if (key === "") throw problem(path, lineNumber, `expected '# name: value', found ${shown(line)}`);
    if (members.has(key)) throw problem(path, lineNumber, `${shown(key)} is there twice`);
    indentation = Math.min(indentation, widthOf(spaces));
    latest = { lineNumber, value };
    members.set(key, latest);
  }
  return members;
}

function widthOf(spaces: string): number {
  return spaces.replaceAll("\t", "        ").length;
}

function nameOf(path: string, beginsAt: number, member: Member | undefined): string {
  if (member === undefined) throw problem(path, beginsAt, "the header has no name");
  const parsed = moduleName.safeParse(member.value);
  if (parsed.success) return parsed.data;
  throw problem(path, member.lineNumber, `${shown(member.value)}: ${describeIssues(parsed.error)}`);
}

function ordersOf(path: string, beginsAt: number, members: ReadonlyMap<string, Member>): Map<Target, number> {
  const orders = new Map<Target, number>();
  for (const target of targets) {
    const member = members.get(target);
    if (member === undefined) continue;
    const { lineNumber, value } = member;
    if (!ORDER.test(value))
      throw problem(path, lineNumber, `${target}: expected a number from 0 to 999, found ${shown(value)}`);
    orders.set(target, Number(value));
  }
  if (orders.size > 0) return orders;
  throw problem(path, beginsAt, `the header has none of the targets ${targets.join(", ")}`);
}

function timeoutOf(path: string, member: Member | undefined): number {
  if (member === undefined) return DEFAULT_MODULE_TIMEOUT_MS;
  const timeoutMs = parseDuration(member.value);
  if (timeoutMs !== undefined && timeoutMs <= MAX_MODULE_TIMEOUT_MS) return timeoutMs;
  throw problem(
    path,
    member.lineNumber,
    `timeout: expected seconds or a duration like 90s or 10m, of one day at most, found ${shown(member.value)}`,
  );
}

function problem(path: string, lineNumber: number, what: string): ModuleError {
  return new ModuleError(`${path}:${lineNumber}: ${what}`);
}

function shown(text: string): string {
  return `'${printable(text.slice(0, MAX_SHOWN_LENGTH))}'`;
}
