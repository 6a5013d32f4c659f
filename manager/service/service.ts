/**
 * What may be asked of the manager, by whichever door: the HTTP API and the `OVM>` console call this, and only this. Every
 * method that is given a principal checks its role, VMs and keys, and answers with no more than these allow; a door adds
 * nothing to that. In the audit log is whoever asks for keys or their values, sends, forgets a VM, or changes users and
 * tokens, with what was refused; not whoever looks at VMs and their health, receipts, users, tokens, the audit log or
 * metrics, or asks for `info`, `ping` or `stats`, and not who names a VM that is not there. Failures are CommandError: the
 * codes of the programs' exit codes.
 */
import type {
  AuditRecord,
  ChangedBatch,
  CreatedToken,
  FleetEvent,
  FleetRequest,
  Health,
  KeyAnswer,
  KeyList,
  NewMessage,
  NewToken,
  PingAnswer,
  Receipt,
  ReceivedMessage,
  Token,
  User,
  UserChange,
  VmSummary,
} from "../../shared/api/schemas.ts";
import type { VmHealth } from "../../shared/api/monitor-schemas.ts";
import type { Cursor, Result } from "../../shared/protocol/message.ts";
import type { Principal } from "../access/principal.ts";
import type { EventService, ImageService, SinkService, SubscriptionService } from "./event-service.ts";

/** What a watch says. The first is `changed`: a snapshot, or what was missed; `link` when the VM's link changed its state. */
export type WatchEvent = { type: "changed"; batch: ChangedBatch } | { type: "link"; vm: VmSummary };

export interface WatchOptions {
  prefix: string;
  since: Cursor | undefined;
}

export interface ReceiptWait {
  waitFor?: "delivered" | "acknowledged" | undefined;
  waitMs?: number | undefined;
}

/** How guests are. Of VMs that the principal may not see, nothing. */
export interface MonitorService {
  list(who: Principal): VmHealth[];
  show(who: Principal, vm: string): VmHealth;
}

/** `vm` is a name or a UUID. One that is not there, or that the principal may not see, is `failed`; a name that two VMs have is `usage`, with the UUIDs. */
export interface Service {
  readonly events: EventService;
  readonly sinks: SinkService;
  readonly subscriptions: SubscriptionService;
  readonly images: ImageService;
  readonly monitor: MonitorService;

  listVms(who: Principal): VmSummary[];
  showVm(who: Principal, vm: string): VmSummary;
  forgetVm(who: Principal, vm: string): Promise<void>;

  getKey(who: Principal, vm: string, key: string): Promise<KeyAnswer>;
  listKeys(who: Principal, vm: string, prefix: string): Promise<KeyList>;
  /** Ends when aborted. A reader that is slow gets fewer and larger batches, never a queue of them. */
  watchKeys(who: Principal, vm: string, options: WatchOptions, signal: AbortSignal): AsyncIterable<WatchEvent>;
  info(who: Principal, vm: string): Promise<Result<"info">>;
  ping(who: Principal, vm: string): Promise<PingAnswer>;
  stats(who: Principal, vm: string): Promise<Result<"stats">>;

  /** Settles when the message is on disk, or later if `waitFor` says so. */
  send(who: Principal, vm: string, message: NewMessage, signal?: AbortSignal): Promise<Receipt>;
  receipt(who: Principal, messageId: string, wait?: ReceiptWait, signal?: AbortSignal): Promise<Receipt>;
  listSent(who: Principal, vm: string, limit?: number): Promise<Receipt[]>;
  listReceived(who: Principal, vm: string, limit?: number): Promise<ReceivedMessage[]>;

  /** One request for many VMs: bounded in parallel; one VM that fails is a result, not an error. */
  fleet(who: Principal, request: FleetRequest, signal: AbortSignal): AsyncIterable<FleetEvent>;

  listUsers(who: Principal): Promise<User[]>;
  changeUser(who: Principal, name: string, change: UserChange): Promise<User>;
  removeUser(who: Principal, name: string): Promise<void>;
  listTokens(who: Principal): Promise<Token[]>;
  createToken(who: Principal, token: NewToken): Promise<CreatedToken>;
  revokeToken(who: Principal, id: string): Promise<void>;
  listAudit(
    who: Principal,
    query: {
      vm?: string | undefined;
      who?: string | undefined;
      before?: number | undefined;
      limit?: number | undefined;
    },
  ): Promise<AuditRecord[]>;

  /** For everybody: it counts VMs and messages, and names none. */
  health(): Promise<Health>;
  /** Prometheus' text format. */
  metrics(who: Principal): Promise<string>;
}
