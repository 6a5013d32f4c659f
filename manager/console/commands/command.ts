/** What a command of the console is, and how its words are checked against what it takes. */
import { CommandError, usageError } from "../../../shared/cli/failure.ts";
import type { Principal } from "../../access/principal.ts";
import type { Service } from "../../service/service.ts";
import type { CommandLine } from "../command-line.ts";

export interface CommandContext {
  service: Service;
  who: Principal;
  /** Aborted when nobody waits for the answer any more. */
  signal: AbortSignal;
}

export interface Command {
  /** As it is shown; read in any case of letters. */
  verb: string;
  /** What its attributes describe, as it is shown: `Vm`. */
  type: "Vm";
  /** By the name of the attribute, how its value is shown in the usage. */
  required: Readonly<Record<string, string>>;
  optional: Readonly<Record<string, string>>;
  /** Whether it is about one VM, which `name=` or `id=` says. */
  hasVm: boolean;
  summary: string;
  /** The lines of the answer. Rejects with CommandError. */
  run(context: CommandContext, given: Given): Promise<readonly string[]>;
}

export interface Given {
  /** A name or a UUID; empty for a command that is not about one VM. */
  vm: string;
  attributes: ReadonlyMap<string, string>;
}

/** How many messages a command lists, the newest first. */
export const LISTED_MESSAGES = 100;

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;
const UUIDS = /\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/g;

/** `sendVmMessage Vm {name=NAME | id=UUID} key=KEY message=TEXT [log=no|yes]`. */
export function usageOf({ verb, type, hasVm, required, optional }: Command): string {
  const attributes = (values: Command["required"]): string[] => {
    return Object.entries(values).map(([name, value]) => `${name}=${value}`);
  };
  return [
    verb,
    type,
    ...(hasVm ? ["{name=NAME | id=UUID}"] : []),
    ...attributes(required),
    ...attributes(optional).map((attribute) => `[${attribute}]`),
  ].join(" ");
}

/** Checks the words, then runs. Rejects with CommandError; wrong words are `usage` and say the expected form. */
export async function runCommand(
  command: Command,
  line: CommandLine,
  context: CommandContext,
): Promise<readonly string[]> {
  const problem = problemOf(command, line);
  if (problem !== undefined) throw usageError(`${problem}; expected: ${usageOf(command)}`);
  const name = line.attributes.get("name");
  const vm = name ?? line.attributes.get("id")?.toLowerCase() ?? "";
  try {
    return await command.run(context, { vm, attributes: line.attributes });
  } catch (error) {
    throw name === undefined ? error : withHint(error);
  }
}

function problemOf(command: Command, { operands: [type, surplus], attributes }: CommandLine): string | undefined {
  if (type === undefined) return `the type is missing`;
  if (type.toLowerCase() !== command.type.toLowerCase()) return `'${type}' is not a type that ${command.verb} knows`;
  if (surplus !== undefined) return `'${surplus}' is not an attribute=value (a value with spaces needs quotes)`;
  return problemOfNames(command, attributes) ?? (command.hasVm ? problemOfVm(attributes) : undefined);
}

function problemOfNames(command: Command, attributes: ReadonlyMap<string, string>): string | undefined {
  const known = [
    ...(command.hasVm ? ["name", "id"] : []),
    ...Object.keys(command.required),
    ...Object.keys(command.optional),
  ];
  const unknown = [...attributes.keys()].find((name) => !known.includes(name));
  if (unknown !== undefined) return `there is no attribute '${unknown}'`;
  const missing = Object.keys(command.required).find((name) => !attributes.has(name));
  return missing === undefined ? undefined : `${missing}= is missing`;
}

function problemOfVm(attributes: ReadonlyMap<string, string>): string | undefined {
  const name = attributes.get("name");
  const id = attributes.get("id");
  if ((name === undefined) === (id === undefined)) return "name= or id= says which virtual machine, and one of them";
  if (name === "") return "name= is empty";
  if (id !== undefined && !UUID.test(id.toLowerCase())) return `id=${id} is not a UUID`;
  return undefined;
}

/** A name that several VMs have is refused with their UUIDs; what to do with them is the console's to say. */
function withHint(error: unknown): unknown {
  if (!(error instanceof CommandError) || error.code !== "usage") return error;
  const ids = new Set(error.message.match(UUIDS));
  if (ids.size < 2) return error;
  return new CommandError("usage", `${error.message}; use id=UUID`, error.details, { cause: error });
}
