/** What a command line says, word by word, before anybody has thought about what it means. */
import type { BodyFormat, ImageFormat } from "../shared/api/event-schemas.ts";
import type { Role } from "../shared/api/schemas.ts";
import type { RevisionArgument } from "../shared/cli/arguments.ts";
import type { ValueSource } from "../shared/cli/value-sources.ts";
import type { EventCategory } from "../shared/event-types.ts";
import type { DiskThresholds, Thresholds } from "./check/thresholds.ts";

/** The options that all commands are parsed with; those that say keys and values go to {@link Words} in their order. */
export interface Options {
  user?: string;
  password?: string;
  tokenFile?: string;
  host?: string;
  manager?: string;
  direct?: true;
  ca?: string;
  fingerprint?: string;
  vm?: string[];
  all?: true;
  vmsFrom?: string;
  query?: string;
  socket?: string;
  socketDir?: string;
  connect?: string;
  json?: true;
  quiet?: true;
  timeout?: number;
  ttl?: number;
  secret?: true;
  readOnly?: true;
  ifAbsent?: true;
  ifRevision?: RevisionArgument;
  expires?: number;
  log?: true;
  waitAck?: true;
  messageId?: string;
  since?: RevisionArgument;
}

/** Those of the commands about events. */
interface EventOptions {
  type?: string[];
  category?: EventCategory[];
  prefix?: string[];
  values?: boolean;
  follow?: true;
  types?: true;
  notify?: string[];
  notifyFile?: string;
  vmId?: string;
  name?: string;
  endpoint?: string[];
  endpointFile?: string;
  everything?: true;
  format?: BodyFormat | ImageFormat;
  secretFile?: string[];
  newSecret?: true;
  unsigned?: true;
  /** False to have none. */
  contact?: string | false;
  to?: string;
  authorEmail?: string;
  /** Which one, or what is judged of them. */
  disk?: string | DiskThresholds[];
  /** False not to. */
  wait?: boolean;
}

/** Those of the commands about guests' health. */
interface HealthOptions {
  table?: true;
  cpu?: Thresholds;
  memory?: Thresholds;
  load?: Thresholds;
  applications?: true;
}

/** Those of the command about a guest's configuration; `wait` and `secretFile` are others' too. */
interface BootstrapOptions {
  file?: string;
  set?: string[];
  /** Keys. */
  secret?: string[];
  commit?: string;
}

/** Those of the command about a domain's channel. */
interface AttachOptions {
  update?: true;
  confirm?: true;
  printDiff?: true;
  printXml?: true;
  define?: true;
}

/** The options of single commands. */
export interface OwnOptions extends EventOptions, HealthOptions, BootstrapOptions, AttachOptions {
  everywhere?: true;
  received?: true;
  limit?: number;
  before?: number;
  who?: string;
  role?: Role;
  vms?: string[];
  keys?: string[];
  publicKey?: string[];
  newPassword?: true;
  label?: string;
  lifetime?: number;
}

/** The commands with a name of their own, as they stand on the command line. */
export type CommandWord =
  | "set"
  | "get"
  | "delete"
  | "clear"
  | "list"
  | "watch"
  | "wait"
  | "info"
  | "ping"
  | "doctor"
  | "check"
  | "bootstrap"
  | "attach"
  | "vms"
  | "forget"
  | "messages"
  | "receipt"
  | "user list"
  | "user add"
  | "user change"
  | "user remove"
  | "token list"
  | "token create"
  | "token revoke"
  | "audit"
  | "health"
  | "monitor"
  | "events"
  | "sinks"
  | "sink show"
  | "sink test"
  | "sink enable"
  | "sink deliveries"
  | "sink dead-letters"
  | "sink redeliver"
  | "subscription list"
  | "subscription show"
  | "subscription add"
  | "subscription change"
  | "subscription remove"
  | "notify list"
  | "notify add"
  | "notify remove"
  | "save"
  | "save list"
  | "save show"
  | "save cancel";

/** What was said, before it is checked. */
export interface Words {
  command: CommandWord | undefined;
  operands: string[];
  values: (ValueSource | { from: "nothing"; key: string })[];
  own: OwnOptions;
}
