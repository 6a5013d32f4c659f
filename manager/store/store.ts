/**
 * What the manager keeps on disk, as its other parts see it. Everything that settles is durable. Times are milliseconds
 * since 1970.
 */
import type {
  AuditRecord,
  ChangeMethod,
  MessageState,
  Receipt,
  ReceivedMessage,
  Role,
  VmRef,
} from "../../shared/api/schemas.ts";
import type { Params, WireEntry } from "../../shared/protocol/message.ts";
import type { Event, NewEvent } from "../events/event.ts";
import type { Vm } from "../vms/vm.ts";

/** A change, as it will be sent to the guest: the same messageId for every attempt. */
export type Change = { [M in ChangeMethod]: { method: M; params: Params<M> } }[ChangeMethod];

export interface MessageToKeep {
  vm: VmRef;
  change: Change;
  by: string;
  queuedAt: number;
  expiresAt: number | undefined;
}

/**
 * What became of keeping one. `known`: the same messageId with the same change to the same VM was kept before.
 * `unconfirmed`: it was, and another manager has it since; only that one can say what became of it.
 */
export type Kept =
  | { type: "new" | "known"; receipt: Receipt }
  | { type: "conflict" | "unconfirmed"; message: string }
  | { type: "over-limit"; message: string; limit: number };

/** Of a message's end: the guest's result, its refusal, or too late. */
export type Settlement =
  | { type: "delivered"; result: NonNullable<Receipt["result"]> }
  | { type: "refused"; refusal: NonNullable<Receipt["refusal"]> }
  | { type: "expired" };

export interface WaitingMessage {
  messageId: string;
  change: Change;
  queuedAt: number;
  expiresAt: number | undefined;
  /** It was handed over before, here or by another manager. */
  mayBeDone: boolean;
}

/** A message that waits, as one manager hands it to another; as `takeMessages` in peers/wire.ts has it. */
export interface MovedMessage {
  change: Change;
  by: string;
  queuedAt: number;
  expiresAt?: number | undefined;
  /** When it was first handed to the VM, or to another manager that may have handed it to the VM. */
  begunAt?: number | undefined;
  /** Of one that was begun: the revision of the guest's cache then, or an earlier one. */
  begunAtRevision?: number | undefined;
}

/** Of a message that was to be moved: what tells whether it was handed to the VM here meanwhile. */
export interface GivenMessage extends Pick<MovedMessage, "begunAt"> {
  messageId: string;
}

/** Why the other manager never will keep a message. */
export interface MoveRefusal extends GivenMessage {
  refusal: NonNullable<Receipt["refusal"]>;
}

/** Of one batch: so many messages, and so many bytes of their parameters as JSON, or one message that has more. */
export interface MoveBounds {
  messages: number;
  bytes: number;
}

/** What the agent of a VM said last. */
export interface AgentFacts {
  software: string;
  uuid: string | null;
  bootId: string | null;
  nonce: string;
  epoch: string;
  revision: number;
  uptimeMs: number | undefined;
  clonedFrom: string | undefined;
  /** What its cache may hold. */
  limitBytes: number;
  greetedAt: number;
}

/** A key of the mirror. The entry's age counts from `seenAt`. */
export interface MirroredEntry {
  entry: WireEntry;
  seenAt: number;
}

/** Of one VM's mirror, what changed since the last one that was kept. */
export interface MirrorChange {
  vmId: string;
  /** For the events of its keys. */
  vmName: string;
  /** Forget what was kept before. */
  isReset: boolean;
  /** Some of it happened while nobody listened. */
  isLate: boolean;
  epoch: string;
  revision: number;
  limitBytes: number;
  /** Until when the mirror is true. */
  asOf: number;
  agent: AgentFacts;
  set: MirroredEntry[];
  deleted: string[];
}

export interface StoredMirror extends Omit<MirrorChange, "vmName" | "isReset" | "isLate" | "set" | "deleted"> {
  entries: MirroredEntry[];
}

export interface StoredVm {
  vm: Vm;
  inventory: string;
  statusSince: number;
}

export interface StoredUser {
  name: string;
  role: Role;
  vms: string[];
  keys: string[];
  /** As made by access/passwords.ts. */
  passwordHash: string | undefined;
  publicKeys: string[];
  createdAt: number;
}

export interface StoredToken {
  id: string;
  user: string;
  label: string;
  /** SHA-256 of the token, hexadecimal. */
  digest: string;
  createdAt: number;
  expiresAt: number | undefined;
  lastUsedAt: number | undefined;
}

export type ReceivedFromGuest = { vm: VmRef; receivedAt: number; messageId: string } & (
  | { kind: "event"; params: Params<"event"> }
  | { kind: "acknowledge"; params: Params<"acknowledge"> }
  | { kind: "report"; params: Params<"report"> }
);

/** What the events of a VM's life were made from last; only events/lifecycle.ts knows what is in it. */
export interface StoredLifecycle {
  vmId: string;
  lifecycle: unknown;
}

/** What is known of a guest's health, or of its recoveries; only the part of manager/monitor/ it is of knows what is in it. */
export interface StoredMonitor {
  vmId: string;
  part: "health" | "recovery";
  state: unknown;
}

/** One notification to Masakari, or the intention to send it. */
export interface JournalEntry {
  eventId: string;
  vmId: string;
  /** Of its payload: `LIFECYCLE`. */
  event: string;
  /** `generated_time`, ms since 1970: the same for every attempt, by which Masakari knows one that it has already. */
  generatedAt: number;
  /** When it was taken; undefined while nobody knows. */
  sentAt: number | undefined;
  /** Masakari's own; undefined too when it had it already. */
  notificationId: string | undefined;
}

/**
 * The log of events. `first` is the oldest that is kept, `last + 1` when none is; `last` is the newest ever written, 0
 * before there was one.
 */
export interface EventLogState {
  /** Another database has another. */
  id: string;
  first: number;
  last: number;
}

/** An event that waits for another attempt at a sink, or for one of its resource that does. */
export interface ParkedEvent {
  position: number;
  /** The event's resource: its UUID, or the empty text. */
  resource: string;
  attempts: number;
  /** When that was written, and when it is tried (again), ms since 1970: before the first, the clock was set back. */
  parkedAt: number;
  dueAt: number;
  /** Whether the later ones of its resource wait behind it. */
  holdsOthers: boolean;
  error: string | undefined;
}

export interface StoredDeadLetter {
  event: Event;
  attempts: number;
  error: string;
  at: number;
}

export interface StoredAttempt {
  eventId: string;
  type: string;
  at: number;
  attempt: number;
  outcome: "delivered" | "failed" | "dead" | "obsolete";
  status: number | undefined;
  durationMs: number;
  error: string | undefined;
}

/** Where a sink stands. Events up to `position` are delivered, passed over, parked or dead letters. */
export interface FeedState {
  position: number;
  /** Failed attempts since one did not fail, and since when. */
  failures: number;
  failingSince: number | undefined;
  /** Why it gets nothing until it is enabled. */
  disabled: string | undefined;
  lastDeliveredAt: number | undefined;
}

export interface StoredFeed extends FeedState {
  sink: string;
  /** In the order of the log. */
  parked: ParkedEvent[];
  deadLetters: number;
}

/** What is to be kept of a sink's progress, all together. */
export interface FeedProgress {
  sink: string;
  state: FeedState;
  /** New, or with a changed due time. */
  park: readonly ParkedEvent[];
  /** Positions that are parked no more. */
  unpark: readonly number[];
  /** Parked no more, or never parked. */
  dead: readonly { position: number; attempts: number; error: string; at: number }[];
  attempts: readonly StoredAttempt[];
}

/** A subscription or a notification. What is secret in it is kept encrypted. */
export interface StoredSubscription {
  id: string;
  kind: "subscription" | "notify";
  createdAt: number;
  record: unknown;
  /** Undefined also when it cannot be decrypted any more. */
  secrets: unknown;
}

/** Something that goes on for long, and goes on after a restart. */
export interface StoredJob {
  id: string;
  vmId: string;
  createdAt: number;
  isOver: boolean;
  job: unknown;
}

export interface AuditQuery {
  vmId?: string | undefined;
  who?: string | undefined;
  /** Records older than this id. */
  before?: number | undefined;
  limit: number;
}

export interface Store {
  // -- messages to VMs

  /** Keeps each of the messages, or says why not; all that are kept are so together. */
  keepMessages(messages: readonly MessageToKeep[]): Promise<Kept[]>;
  /**
   * The message of a VM that is to be delivered next: the first kept of those that are not settled and not over. It counts
   * as handed over from then on, since it may have an effect.
   * @param revision of the guest's cache, now or lately
   */
  nextMessage(vmId: string, revision: number): Promise<WaitingMessage | undefined>;
  /**
   * Settles one that may be done, and that the guest may have done and forgotten: as expired, unconfirmed, unless a program in
   * the guest has seen it. Undefined when it may be handed over again.
   * @param answersSince as `info` of the guest's agent has it, asked for since the message was handed over
   */
  settleForgotten(messageId: string, answersSince: number, at: number): Promise<Receipt | undefined>;
  /**
   * Ends a message; what it carried is erased. Undefined when that was not for this call to do: it was settled before and
   * stays as it is, another manager keeps it now, or its VM was forgotten.
   */
  settle(messageId: string, settlement: Settlement, at: number): Promise<Receipt | undefined>;
  /**
   * Settles as expired what should have been delivered by now. What was handed over is given some time for its answer, and
   * is then expired unconfirmed; what a program in the guest has seen is delivered, though no answer said so.
   */
  expire(now: number): Promise<Receipt[]>;
  /**
   * The first that wait for a VM, to be given to another manager. They count as given from then on: until it is known
   * whether that one keeps them, they may have an effect. `settled` on the way: what a program in the guest has seen is
   * delivered, and what cannot be decrypted any more is refused.
   */
  messagesToMove(
    vmId: string,
    bounds: MoveBounds,
    at: number,
  ): Promise<{ messages: MovedMessage[]; settled: Receipt[] }>;
  /** What was to be given away at that time has not reached the other manager. */
  notMoved(messageIds: readonly string[], at: number): Promise<void>;
  /** Of each change to that VM, the receipt when it is kept here under its messageId, or was. */
  knownMessages(vm: VmRef, changes: readonly Change[]): Promise<(Receipt | undefined)[]>;
  /**
   * Keeps what waited at another manager, on the machine `from`, under the limits for new messages. It is delivered in the
   * order in which it was queued there, and before what was queued later here.
   */
  keepMoved(vm: VmRef, messages: readonly MovedMessage[], from: string, at: number): Promise<Kept[]>;
  /**
   * The manager on the machine `to` keeps them: those that wait are here no more, but for what was handed to the VM here
   * meanwhile. Answers how many those were. Sent here again they are `unconfirmed`.
   */
  dropMoved(vmId: string, messages: readonly GivenMessage[], to: string, at: number): Promise<number>;
  /**
   * Settles those that wait as refused by the other manager, but for what was handed to the VM here meanwhile. What may be
   * done already is expired, unconfirmed: nobody will try it again.
   */
  refuseMoved(vmId: string, refusals: readonly MoveRefusal[], at: number): Promise<Receipt[]>;
  /** A program in the guest fetched what these messages set. Ids that are not known or were read before are passed over. */
  markRead(vmId: string, messageIds: readonly string[], at: number): Promise<Receipt[]>;
  receipt(messageId: string): Promise<Receipt | undefined>;
  /** The newest first. */
  receiptsOf(vmId: string, limit: number): Promise<Receipt[]>;
  /** Those not settled, in the order of their delivery, without what they carry. */
  pendingOf(vmId: string): Promise<{ messageId: string; method: ChangeMethod; keys: string[]; queuedAt: number }[]>;
  /** How many wait, for each VM that has any. */
  pendingCounts(): Promise<Record<string, number>>;
  countsByState(): Promise<Record<MessageState, number>>;

  // -- messages from guests

  /** Keeps it once for its messageId; an acknowledgement is noted at the message it is of, whose new receipt is answered. */
  keepReceived(message: ReceivedFromGuest): Promise<{ isNew: boolean; acknowledged: Receipt | undefined }>;
  /** The newest first. */
  receivedFrom(vmId: string, limit: number): Promise<ReceivedMessage[]>;

  // -- VMs and mirrors

  loadVms(): Promise<StoredVm[]>;
  saveVms(vms: readonly StoredVm[]): Promise<void>;
  loadLifecycles(): Promise<StoredLifecycle[]>;
  /** With everything that belongs to it. */
  forgetVm(id: string): Promise<void>;
  loadMirrors(): Promise<StoredMirror[]>;
  saveMirrors(changes: readonly MirrorChange[]): Promise<void>;

  // -- events: what is kept above writes those that follow from it, in the same commit (KEY.*, MESSAGE.*, GUEST.*)

  /** Writes them to the log, and what they were made from. */
  appendEvents(
    events: readonly NewEvent[],
    lifecycles?: readonly StoredLifecycle[],
    monitors?: readonly StoredMonitor[],
  ): Promise<Event[]>;
  /** Gone with its VM. */
  loadMonitors(part: StoredMonitor["part"]): Promise<StoredMonitor[]>;
  /** The oldest first, up to `limit`, or fewer when they are large. Only an empty answer says that there are no more. */
  eventsAfter(position: number, limit: number): Promise<Event[]>;
  /** Those that are still kept, in the order of the log; of dead letters that are parked again also what the log lost. */
  eventsAt(positions: readonly number[]): Promise<Event[]>;
  event(id: string): Promise<Event | undefined>;
  eventLog(): Promise<EventLogState>;

  // -- sinks

  /** Undefined for a sink that is new. */
  loadFeed(sink: string): Promise<StoredFeed | undefined>;
  saveProgress(progress: readonly FeedProgress[]): Promise<void>;
  /** The newest first. */
  deadLetters(sink: string, limit: number): Promise<StoredDeadLetter[]>;
  /**
   * Parks dead letters again, due now and with no attempts, or any other events of the log: all dead letters without ids.
   * Answers what is parked, with each event's resource. An event that is not kept, or a sink whose progress was never saved,
   * is `failed`, and nothing is parked.
   */
  redeliver(sink: string, eventIds: readonly string[] | undefined, now: number): Promise<ParkedEvent[]>;
  /** The newest first. */
  attemptsAt(sink: string, limit: number): Promise<StoredAttempt[]>;
  /** Everything that is kept for a sink that is no more. */
  removeFeed(sink: string): Promise<void>;
  /** The sinks that anything is kept for. */
  feedNames(): Promise<string[]>;

  // -- notifications to Masakari

  /** Of a sink, those generated since a time, the oldest first. */
  journal(sink: string, since: number): Promise<JournalEntry[]>;
  /** New, or what became of one. Old ones are removed with the sink's feed, and by {@link prune}. */
  saveJournalEntry(sink: string, entry: JournalEntry): Promise<void>;
  /** Of one that was refused. */
  removeJournalEntry(sink: string, eventId: string): Promise<void>;

  // -- subscriptions and jobs

  subscriptions(): Promise<StoredSubscription[]>;
  saveSubscription(subscription: StoredSubscription): Promise<void>;
  removeSubscription(id: string): Promise<boolean>;
  /** Those that are not over, and the newest of the others. */
  jobs(): Promise<StoredJob[]>;
  /** With the events that tell of it. */
  saveJob(job: StoredJob, events?: readonly NewEvent[]): Promise<void>;

  // -- users, tokens, audit

  users(): Promise<StoredUser[]>;
  saveUser(user: StoredUser): Promise<void>;
  /** False when there was none. */
  removeUser(name: string): Promise<boolean>;
  tokens(): Promise<StoredToken[]>;
  saveToken(token: StoredToken): Promise<void>;
  /** Notes when it was last used; false when there is none, and then none comes back. */
  touchToken(id: string, at: number): Promise<boolean>;
  removeToken(id: string): Promise<boolean>;
  addAudit(records: readonly Omit<AuditRecord, "id">[]): Promise<void>;
  /** The newest first. */
  audit(query: AuditQuery): Promise<AuditRecord[]>;

  /** Removes what is older than it is to be kept. */
  prune(now: number): Promise<void>;
  /** Ends the worker after what was asked before. */
  close(): Promise<void>;
}
