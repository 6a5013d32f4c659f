/** What a command line asks for, as data: parse-arguments.ts makes it, run-command.ts carries it out. */
import type { Role } from "../shared/api/schemas.ts";
import type { Condition, RevisionArgument } from "../shared/cli/arguments.ts";
import type { EntryAttributes, ValueSource } from "../shared/cli/value-sources.ts";
import type { AttachCommand, ChannelXmlCommand } from "./attach-command.ts";
import type { BootstrapCommand } from "./bootstrap-command.ts";
import type { EventCommand } from "./event-command.ts";
import type { CheckCommand, MonitorCommand, MonitorTableCommand } from "./monitor-command.ts";

/** Which VM, and where its channel is to be looked for: the first of socket, directory and libvirt that is given. */
export interface Target {
  vm: string | undefined;
  socket: string | undefined;
  socketDirectory: string | undefined;
  libvirtUri: string | undefined;
}

/**
 * Which way the command takes: `channel` straight to the VM's, without asking a manager; `local` to the manager of this
 * host where one listens, else to the channel; `network` to the manager of a host.
 */
export type DoorChoice =
  | { via: "channel" }
  | { via: "local"; socket: string | undefined }
  | { via: "network"; host: string; port: number | undefined };

/** Who asks the manager, and by what its certificate is trusted, as the command line says it. */
export interface LoginOptions {
  user: string | undefined;
  /** A literal one, or `-` for one that is read. */
  password: string | undefined;
  tokenFile: string | undefined;
  caFile: string | undefined;
  /** SHA-256 of the manager's certificate: 64 hexadecimal digits, lower case. */
  fingerprint: string | undefined;
}

/** `transcript` is for people, `quiet` the bare answer, `json` one object (for `watch`, `events` and many VMs: one a line). */
export type OutputStyle = "transcript" | "quiet" | "json";

export interface CommonOptions {
  target: Target;
  door: DoorChoice;
  login: LoginOptions;
  style: OutputStyle;
  /** As the user gave it; what it bounds without one depends on the command. */
  timeoutMs: number | undefined;
}

/** What a manager can be told about a message; a VM's channel cannot. */
export interface SendingOptions {
  expiresInMs: number | undefined;
  log: boolean;
}

interface ChangeCommand extends CommonOptions {
  sending: SendingOptions;
  /** The id of a message that was sent before and is sent again; a new one has a new id. */
  messageId: string | undefined;
}

/** Sets all of the keys or none. */
export interface SetCommand extends ChangeCommand {
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

export interface DeleteCommand extends ChangeCommand {
  name: "delete";
  keys: string[];
  condition: Omit<Condition, "ifAbsent">;
}

export interface ClearCommand extends ChangeCommand {
  name: "clear";
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
  name: "info" | "ping" | "doctor";
}

/** Names and patterns of VMs, and the file (`-` is stdin) that has more of them; or all. */
export type FleetSelection = { all: true } | { all: false; names: string[]; file: string | undefined };

/** A command that many VMs can be asked for at once. */
export type FleetRequestCommand =
  SetCommand | GetCommand | DeleteCommand | ClearCommand | (PlainCommand & { name: "ping" });

export interface FleetCommand extends CommonOptions {
  name: "fleet";
  vms: FleetSelection;
  request: FleetRequestCommand;
}

export interface VmsCommand extends CommonOptions {
  name: "vms";
  pattern: string | undefined;
  /** Those of all managers that share a broker with the one that is asked. */
  everywhere: boolean;
}

export interface MessagesCommand extends CommonOptions {
  name: "messages";
  vm: string;
  direction: "sent" | "received";
  limit: number | undefined;
}

export interface ForgetCommand extends CommonOptions {
  name: "forget";
  vm: string;
}

export interface ReceiptCommand extends CommonOptions {
  name: "receipt";
  messageId: string;
  waitAck: boolean;
}

/** What is left out stays as it is, or is the manager's default. */
export interface UserProperties {
  role: Role | undefined;
  vms: string[] | undefined;
  keys: string[] | undefined;
  publicKeyFiles: string[] | undefined;
  /** A password is read, from a terminal or the standard input. */
  readsPassword: boolean;
}

export type UserAction =
  | { type: "list" }
  | { type: "add"; user: string; properties: UserProperties }
  | { type: "change"; user: string; properties: UserProperties }
  | { type: "remove"; user: string };

export interface UserCommand extends CommonOptions {
  name: "user";
  action: UserAction;
}

export type TokenAction =
  | { type: "list" }
  | { type: "create"; user: string; label: string | undefined; expiresInMs: number | undefined }
  | { type: "revoke"; id: string };

export interface TokenCommand extends CommonOptions {
  name: "token";
  action: TokenAction;
}

export interface AuditCommand extends CommonOptions {
  name: "audit";
  vm: string | undefined;
  who: string | undefined;
  before: number | undefined;
  limit: number | undefined;
}

export interface HealthCommand extends CommonOptions {
  name: "health";
}

/** Asks about one VM, through either door. */
export type VmCommand =
  | SetCommand
  | GetCommand
  | DeleteCommand
  | ClearCommand
  | ListCommand
  | WatchCommand
  | WaitCommand
  | PlainCommand
  | CheckCommand
  | BootstrapCommand;

/** Asks the manager itself. */
export type ManagerCommand =
  | FleetCommand
  | VmsCommand
  | ForgetCommand
  | MessagesCommand
  | ReceiptCommand
  | UserCommand
  | TokenCommand
  | AuditCommand
  | HealthCommand
  | MonitorCommand
  | MonitorTableCommand
  | EventCommand;

/** Asks libvirt, or nobody. */
export type LibvirtCommand = AttachCommand | ChannelXmlCommand;

export type Command = VmCommand | ManagerCommand | LibvirtCommand;
