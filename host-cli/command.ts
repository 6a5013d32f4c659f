/** What a command line asks for, as data: parse-arguments.ts makes it, run-command.ts carries it out. */
import type { Condition, RevisionArgument } from "../shared/cli/arguments.ts";
import type { EntryAttributes, ValueSource } from "../shared/cli/value-sources.ts";

/** Which VM, and where its channel is to be looked for: the first of socket, directory and libvirt that is given. */
export interface Target {
  vm: string | undefined;
  socket: string | undefined;
  socketDirectory: string | undefined;
  libvirtUri: string | undefined;
}

/** `transcript` is for people, `quiet` the bare answer, `json` one object (for `watch`: one a line). */
export type OutputStyle = "transcript" | "quiet" | "json";

export interface CommonOptions {
  target: Target;
  style: OutputStyle;
  /** As the user gave it; what it bounds without one depends on the command. */
  timeoutMs: number | undefined;
  /** What the user should know before the command runs. */
  notes: string[];
}

/** Sets all of the keys or none. */
export interface SetCommand extends CommonOptions {
  name: "set";
  values: ValueSource[];
  attributes: EntryAttributes;
  condition: Condition;
  waitAck: boolean;
}

export interface GetCommand extends CommonOptions {
  name: "get";
  key: string;
}

export interface DeleteCommand extends CommonOptions {
  name: "delete";
  keys: string[];
  condition: Omit<Condition, "ifAbsent">;
}

export interface ListCommand extends CommonOptions {
  name: "list";
  prefix: string;
}

export interface WatchCommand extends CommonOptions {
  name: "watch";
  prefix: string;
  since: RevisionArgument | undefined;
}

export interface WaitCommand extends CommonOptions {
  name: "wait";
  key: string;
}

/** A command that takes no words of its own. */
export interface PlainCommand extends CommonOptions {
  name: "clear" | "info" | "ping" | "doctor";
}

export type Command = SetCommand | GetCommand | DeleteCommand | ListCommand | WatchCommand | WaitCommand | PlainCommand;
