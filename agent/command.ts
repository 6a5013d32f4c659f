/** What a command line asks for, as data: parse-arguments.ts makes it, run-command.ts carries it out. */
import type { Target } from "../shared/config-targets.ts";
import type { Condition, RevisionArgument } from "../shared/cli/arguments.ts";
import type { EntryAttributes, ValueSource } from "../shared/cli/value-sources.ts";
import type { Params } from "../shared/protocol/message.ts";
import type { DebugLevel } from "./log.ts";

interface Common {
  isJson: boolean;
  /** The agent's socket. */
  socketPath: string;
  timeoutMs: number | undefined;
}

export interface SetCommand extends Common {
  name: "set";
  values: ValueSource[];
  attributes: EntryAttributes;
  condition: Condition;
}

export interface GetCommand extends Common {
  name: "get";
  key: string;
}

export interface DeleteCommand extends Common {
  name: "delete";
  keys: string[];
  condition: Omit<Condition, "ifAbsent">;
}

export interface WatchCommand extends Common {
  name: "watch";
  prefix: string;
  since: RevisionArgument | undefined;
}

export interface WaitCommand extends Common {
  name: "wait";
  key: string;
}

export interface EventCommand extends Common {
  name: "event";
  event: string;
}

export interface AcknowledgeCommand extends Common {
  name: "acknowledge";
  key: string;
  result: string | undefined;
}

export interface PlainCommand extends Common {
  name: "list" | "clear";
}

export interface HeartbeatCommand extends Common {
  name: "heartbeat";
  beat: Params<"beat">;
}

export interface AddCheckCommand extends Common {
  name: "check add";
  check: Params<"addCheck">;
}

export interface ListChecksCommand extends Common {
  name: "check list";
}

export interface RemoveCheckCommand extends Common {
  name: "check remove";
  application: string;
}

export interface DoctorCommand extends Common {
  name: "doctor";
  configFile: string | undefined;
  channel: string | undefined;
}

export interface RunCommand extends Common {
  name: "run";
  configFile: string | undefined;
  channel: string | undefined;
  stateDirectory: string;
  runDirectory: string;
  pidFile: string;
  debugLevel: DebugLevel;
  limitBytes: number | undefined;
  heartbeatSeconds: number | undefined;
}

/** What the commands that configure this machine share. */
interface BootstrapCommon extends Common {
  configFile: string | undefined;
  stateDirectory: string;
  runDirectory: string;
}

export interface BootstrapCommand extends BootstrapCommon {
  name: "bootstrap";
  /** What the configuration says in the place of which this stands. */
  waitMs: number | undefined;
  otherwise: "defaults" | "fail" | undefined;
  /** Not the first boot: every commit from now on. */
  isWatching: boolean;
}

/** Where values come from. */
export type ConfigSource = { from: "agent" } | { from: "stdin" } | { from: "console" } | { from: "file"; path: string };

export interface ConfigCommand extends BootstrapCommon {
  name: "config";
  target: Target;
  /** Only these; all when it is empty. */
  modules: string[];
  source: ConfigSource;
  isDryRun: boolean;
}

export interface EnumerateCommand extends BootstrapCommon {
  name: "config enumerate";
  target: Target;
  modules: string[];
  isHumanReadable: boolean;
}

export interface EnableCommand extends BootstrapCommon {
  name: "config enable" | "config disable";
  module: string;
  target: Target;
}

export interface PlainConfigCommand extends BootstrapCommon {
  name: "config list" | "config status";
}

export type ConfigurationCommand =
  BootstrapCommand | ConfigCommand | EnumerateCommand | EnableCommand | PlainConfigCommand;

/** What asks a running agent for something. */
export type LocalCommand =
  | SetCommand
  | GetCommand
  | DeleteCommand
  | WatchCommand
  | WaitCommand
  | EventCommand
  | AcknowledgeCommand
  | PlainCommand
  | HeartbeatCommand
  | AddCheckCommand
  | ListChecksCommand
  | RemoveCheckCommand;

export type Command = LocalCommand | ConfigurationCommand | DoctorCommand | RunCommand;
