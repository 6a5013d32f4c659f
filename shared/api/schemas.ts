/**
 * What the manager's HTTP API takes and answers, as schemas: the manager checks requests with them and describes itself
 * with them (OpenAPI), the CLI reads answers with them. Keys, values and changes are those of the guest's protocol.
 * Times are RFC 3339 in UTC, durations milliseconds.
 */
import * as z from "zod/mini";
import { exitCodes, type ErrorCode } from "../protocol/errors.ts";
import {
  count,
  data,
  key,
  messageId,
  nonce,
  prefix,
  requests,
  shortText,
  wireChange,
  wireEntry,
} from "../protocol/message.ts";
import { isPattern } from "../vm-pattern.ts";
import { vmStatuses } from "../vm-status.ts";

const time = z.iso.datetime();
const errorCode = z.enum(Object.keys(exitCodes) as [ErrorCode, ...ErrorCode[]]);

/** Ten years: what is to last longer is to last for good. */
const lifetimeMs = z.int().check(z.positive(), z.maximum(10 * 365 * 86_400_000));

/** The longest that a request may wait for something: a timer of Node's cannot be longer. */
const waitMs = z.int().check(z.minimum(0), z.maximum(2 ** 31 - 1));

/** An error's body, as RFC 9457 shapes it; `code` is the exit code's name. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: errorCode,
  details: z.optional(z.record(z.string(), z.unknown())),
});
export type Problem = z.infer<typeof problem>;

// ---- VMs

/**
 * `up` the agent is greeted · `silent` connected, and no agent answers · `held` another client has the channel ·
 * `down` it cannot be connected to · `connecting` · `off` the VM does not run.
 */
export const linkStates = ["up", "silent", "held", "down", "connecting", "off"] as const;
export type LinkState = (typeof linkStates)[number];

export const vmRef = z.object({ id: shortText, name: z.string() });
export type VmRef = z.infer<typeof vmRef>;

export const vmSummary = z.object({
  /** The UUID, lower case. */
  id: shortText,
  name: z.string(),
  /** The machine it runs on. */
  host: z.string(),
  status: z.enum(vmStatuses),
  statusSince: time,
  /** Who said so: `libvirt qemu:///system`. */
  inventory: z.string(),
  /** The channel's socket on the host, while there is one. */
  channel: z.optional(z.string()),
  link: z.object({
    state: z.enum(linkStates),
    since: time,
    /** Why it is not up, in words. */
    reason: z.optional(z.string()),
    /** Who holds the channel. */
    holder: z.optional(z.object({ pid: z.optional(z.int()), command: z.optional(z.string()) })),
  }),
  /** What the agent said at the last greeting, also while the VM is away. */
  agent: z.optional(
    z.object({
      software: shortText,
      uuid: z.nullable(shortText),
      bootId: z.nullable(shortText),
      epoch: shortText,
      revision: count,
      greetedAt: time,
    }),
  ),
  /** When the agent was last heard. */
  lastHeardAt: z.optional(time),
  /** Messages that wait for it. */
  pending: count,
  /** The machine whose manager has it now, where that is not the one that says this: it was moved there. */
  heldBy: z.optional(z.string()),
  /** The machine whose manager has it running, too: two VMs with one UUID, or one that is reached twice. */
  contestedBy: z.optional(z.string()),
});
export type VmSummary = z.infer<typeof vmSummary>;

/** What became of asking one manager of several; `reason` when it did not answer. */
export const askedManager = z.object({ host: z.string(), id: z.string(), reason: z.optional(z.string()) });
export type AskedManager = z.infer<typeof askedManager>;

/** `managers`: with `everywhere`, those that were asked, the one that answers first. */
export const vmList = z.object({ vms: z.array(vmSummary), managers: z.optional(z.array(askedManager)) });
export type VmList = z.infer<typeof vmList>;

// ---- Messages to a VM and what became of them

export const changeMethods = ["set", "delete", "clear"] as const;
export type ChangeMethod = (typeof changeMethods)[number];

/** What a sender may say beside the change itself. */
const sending = {
  /** Not delivered by then: `expired`. */
  expiresInMs: z.optional(lifetimeMs),
  /** Writes the values to the audit log, a secret's never. */
  log: z.optional(z.boolean()),
  /** Answer when this is known, or after `waitMs` as it is then; without it at once. */
  waitFor: z.optional(z.enum(["delivered", "acknowledged"])),
  waitMs: z.optional(waitMs),
};

/** A change of the guest's protocol. A messageId that was used before with the same change gets the same receipt. */
export const newMessage = z.discriminatedUnion("method", [
  z.strictObject({
    method: z.literal("set"),
    params: z.partial(requests.set.params, { messageId: true }),
    ...sending,
  }),
  z.strictObject({
    method: z.literal("delete"),
    params: z.partial(requests.delete.params, { messageId: true }),
    ...sending,
  }),
  z.strictObject({
    method: z.literal("clear"),
    params: z._default(z.partial(requests.clear.params, { messageId: true }), {}),
    ...sending,
  }),
]);
export type NewMessage = z.infer<typeof newMessage>;

/**
 * `queued` it waits, on disk · `delivered` the guest has done it · `read` a program in the guest fetched it ·
 * `acknowledged` a program in the guest said so · `expired` it waited too long · `refused` by the guest.
 */
export const messageStates = ["queued", "delivered", "read", "acknowledged", "expired", "refused"] as const;
export type MessageState = (typeof messageStates)[number];

export const receipt = z.object({
  messageId,
  vm: vmRef,
  method: z.enum(changeMethods),
  /** The keys it sets or deletes; none for `clear`. */
  keys: z.array(key),
  state: z.enum(messageStates),
  /** Who sent it. */
  by: z.string(),
  queuedAt: time,
  expiresAt: z.optional(time),
  deliveredAt: z.optional(time),
  readAt: z.optional(time),
  acknowledgedAt: z.optional(time),
  /** When it was refused or expired. */
  endedAt: z.optional(time),
  /** It was handed to the VM, no answer came, and nobody tries it again: it may or may not be done. */
  isUnconfirmed: z.optional(z.boolean()),
  /** What the guest answered: with `replaced` for a set, with `deleted` for the others. */
  result: z.optional(
    z.object({
      epoch: shortText,
      revision: count,
      replaced: z.optional(z.array(key)),
      volatile: z.optional(z.boolean()),
      deleted: z.optional(z.array(key)),
      more: z.optional(z.boolean()),
    }),
  ),
  refusal: z.optional(
    z.object({ code: errorCode, message: z.string(), details: z.optional(z.record(z.string(), z.unknown())) }),
  ),
  acknowledgement: z.optional(z.object({ key, result: z.optional(z.string()) })),
});
export type Receipt = z.infer<typeof receipt>;

export const receipts = z.object({ receipts: z.array(receipt) });

/** What came from a guest: a key that a program in it set (as it is now), or a message of its queue. */
export const receivedMessage = z.object({
  vm: vmRef,
  kind: z.enum(["set", "event", "acknowledge", "report"]),
  receivedAt: time,
  messageId: z.optional(messageId),
  key: z.optional(key),
  value: z.optional(z.string()),
  base64: z.optional(z.string()),
  /** An event's or a report's name. */
  name: z.optional(z.string()),
  data: z.optional(data),
  /** An acknowledgement: of which message, with which result. */
  of: z.optional(messageId),
  result: z.optional(z.string()),
});
export type ReceivedMessage = z.infer<typeof receivedMessage>;

export const receivedMessages = z.object({ received: z.array(receivedMessage) });

// ---- Keys of a VM

/** `guest`: asked just now. `mirror`: as the manager last saw it, because the guest cannot be asked. */
const answeredBy = z.enum(["guest", "mirror"]);

/** A message that waits and will change what was asked for. */
export const pendingChange = z.object({ messageId, method: z.enum(changeMethods), keys: z.array(key), queuedAt: time });
export type PendingChange = z.infer<typeof pendingChange>;

const answerHead = {
  vm: vmRef,
  status: z.enum(vmStatuses),
  from: answeredBy,
  /** When the answer was true. */
  asOf: time,
  pending: z.array(pendingChange),
};

export const keyAnswer = z.object({ ...answerHead, epoch: shortText, entry: wireEntry });
export type KeyAnswer = z.infer<typeof keyAnswer>;

export const keyList = z.object({
  ...answerHead,
  epoch: shortText,
  revision: count,
  usedBytes: count,
  limitBytes: count,
  entries: z.array(wireEntry),
});
export type KeyList = z.infer<typeof keyList>;

/** A batch of a watch. The event's id is `EPOCH:REVISION`, from which a watch is resumed (`Last-Event-ID`). */
export const changedBatch = z.object({
  epoch: nonce,
  revision: count,
  more: z.boolean(),
  /** Forget what you had: this begins a snapshot. */
  resync: z.boolean(),
  changes: z.array(wireChange),
});
export type ChangedBatch = z.infer<typeof changedBatch>;

export const pingAnswer = z.object({
  vm: vmRef,
  roundTripMs: z.number(),
  uptimeMs: count,
  /** Left out where the agent watches none. */
  applications: requests.ping.result.shape.applications,
});
export type PingAnswer = z.infer<typeof pingAnswer>;

// ---- Many VMs at once

/** A VM's name has at most 255 characters. */
const MAX_VM_NAME_LENGTH = 256;

/** A name is looked up; a pattern is compared with the name of every VM. */
const MAX_VM_NAMES = 10_000;
const MAX_VM_PATTERNS = 100;

const vmName = z
  .string()
  .check(z.minLength(1), z.maxLength(MAX_VM_NAME_LENGTH, `a VM's name has at most ${MAX_VM_NAME_LENGTH} characters`));

/** Names, UUIDs or patterns (`web*`), or all. */
export const vmSelection = z.union([
  z.strictObject({ all: z.literal(true) }),
  z.strictObject({
    names: z.array(vmName).check(
      z.minLength(1),
      z.maxLength(MAX_VM_NAMES),
      z.refine(
        (names) => names.filter(isPattern).length <= MAX_VM_PATTERNS,
        `at most ${MAX_VM_PATTERNS} of the names may be patterns (with * or ?)`,
      ),
    ),
  }),
]);
export type VmSelection = z.infer<typeof vmSelection>;

/** A messageId here is the fleet's; each VM's message has one derived from it, so that a retry has no second effect. */
export const fleetRequest = z.strictObject({
  vms: vmSelection,
  request: z.discriminatedUnion("method", [
    ...newMessage.def.options,
    z.strictObject({ method: z.literal("get"), params: requests.get.params }),
    z.strictObject({ method: z.literal("ping") }),
  ]),
});
export type FleetRequest = z.infer<typeof fleetRequest>;

/** What became of one VM's part; exactly one of `error` and the answer to the method. */
export const fleetResult = z.object({
  vm: vmRef,
  status: z.enum(vmStatuses),
  receipt: z.optional(receipt),
  answer: z.optional(keyAnswer),
  ping: z.optional(pingAnswer),
  error: z.optional(
    z.object({ code: errorCode, message: z.string(), details: z.optional(z.record(z.string(), z.unknown())) }),
  ),
});
export type FleetResult = z.infer<typeof fleetResult>;

/** `failed` counts the results with an error and the receipts that were refused or expired. */
export const fleetSummary = z.object({ vms: count, done: count, queued: count, failed: count });
export type FleetSummary = z.infer<typeof fleetSummary>;

/** The stream of a fleet's call: how many there are, a result for each as it comes, the summary. */
export type FleetEvent =
  { type: "begin"; vms: number } | { type: "result"; result: FleetResult } | { type: "summary"; summary: FleetSummary };

// ---- Users

export const roles = ["read", "write", "admin"] as const;
export type Role = (typeof roles)[number];

export const userName = z
  .string()
  .check(z.regex(/^[a-z_][a-z0-9_.-]{0,63}$/, "a user's name is 1 to 64 of a-z 0-9 _ . -"));
const password = z.string().check(z.minLength(8, "a password has at least 8 characters"), z.maxLength(1024));

/** What a user may do, to which VMs (names or patterns) and which keys (prefixes). */
const rights = {
  role: z.enum(roles),
  vms: z.array(z.string().check(z.minLength(1))),
  keys: z.array(prefix),
};

export const user = z.object({
  name: userName,
  ...rights,
  hasPassword: z.boolean(),
  /** In OpenSSH's form, for the console. */
  publicKeys: z.array(z.string()),
  createdAt: time,
});
export type User = z.infer<typeof user>;

/** A user to make or to change; what is left out stays, or is the default: all VMs, all keys. */
export const userChange = z.strictObject({
  role: z.optional(rights.role),
  vms: z.optional(rights.vms),
  keys: z.optional(rights.keys),
  password: z.optional(password),
  publicKeys: z.optional(z.array(z.string().check(z.maxLength(16_384))).check(z.maxLength(64))),
});
export type UserChange = z.infer<typeof userChange>;

export const userList = z.object({ users: z.array(user) });

export const newToken = z.strictObject({
  user: userName,
  label: z._default(shortText, ""),
  expiresInMs: z.optional(lifetimeMs),
});
export type NewToken = z.infer<typeof newToken>;

export const token = z.object({
  id: shortText,
  user: userName,
  label: shortText,
  createdAt: time,
  expiresAt: z.optional(time),
  lastUsedAt: z.optional(time),
});
export type Token = z.infer<typeof token>;

/** `token` is shown this once. */
export const createdToken = z.extend(token, { token: z.string() });
export type CreatedToken = z.infer<typeof createdToken>;

export const tokenList = z.object({ tokens: z.array(token) });

// ---- The manager itself

export const auditRecord = z.object({
  id: count,
  time,
  /** The user, or the socket that stands for one. */
  who: z.string(),
  /** From where: `unix:PATH`, `https:ADDRESS`, `ssh:ADDRESS`. */
  via: z.string(),
  /** `set`, `delete`, `clear`, `get`, `list`, `watch`, `login`, `user.change`, `token.create` ... */
  action: z.string(),
  vm: z.optional(vmRef),
  keys: z.array(z.string()),
  messageId: z.optional(messageId),
  /** `ok`, or the error's code. A message's later fate is in its receipt. */
  outcome: z.string(),
  /** KEY=VALUE lines, when they were asked for (`log`). */
  values: z.optional(z.record(z.string(), z.string())),
});
export type AuditRecord = z.infer<typeof auditRecord>;

export const auditRecords = z.object({ records: z.array(auditRecord) });

export const health = z.object({
  status: z.enum(["ok", "degraded"]),
  version: z.string(),
  startedAt: time,
  inventory: z.array(
    z.object({ name: z.string(), isConnected: z.boolean(), reason: z.optional(z.string()), vms: count }),
  ),
  links: z.record(z.enum(linkStates), count),
  messages: z.record(z.enum(messageStates), count),
  /** Managers on other hosts; none where no broker is configured for them. */
  peers: z.optional(
    z.object({
      /** Without its password. */
      broker: z.string(),
      state: z.enum(["connected", "disconnected"]),
      reason: z.optional(z.string()),
      managers: z.array(z.object({ host: z.string(), id: z.string(), vms: count })),
    }),
  ),
  /** Where events go by configuration; of those that users subscribed, only how many are in which state. */
  sinks: z.object({
    configured: z.array(
      z.object({
        id: z.string(),
        state: z.string(),
        reason: z.optional(z.string()),
        backlog: count,
        deadLetters: count,
      }),
    ),
    subscribed: z.object({ connected: count, disconnected: count, idle: count, disabled: count }),
  }),
});
export type Health = z.infer<typeof health>;
