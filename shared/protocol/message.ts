/** Every message of the protocol as a schema: JSON-RPC 2.0 objects, no batches. docs/protocol.md says what they mean. */
import { type $ZodError, toDotPath } from "zod/v4/core";
import * as z from "zod/mini";
import english from "zod/v4/locales/en.js";
import type { RpcError } from "./errors.ts";
import {
  MAX_ACKNOWLEDGEMENT,
  MAX_APPLICATION_REASON,
  MAX_APPLICATIONS,
  MAX_COMMAND_BYTES,
  MAX_COMMAND_WORDS,
  MAX_DISKS,
  MAX_ENTRIES_PER_CHANGE,
  MAX_EVENT_NAME,
  MAX_NESTING,
  MAX_PAGE_ENTRIES,
  MAX_VALUE,
} from "./limits.ts";
import { madeOnUse } from "./made-on-use.ts";
import { keyProblem } from "./value.ts";

// Without a language zod says "Invalid input" to everything.
z.config(english());

/** The versions this software speaks, the best first. */
export const PROTOCOL_VERSIONS: readonly number[] = [1];

const NONCE = /^[0-9a-f]{16}$/;
const MESSAGE_ID = /^[A-Za-z0-9._:-]{1,64}$/;
/** The longest date with time: nanoseconds, and some more. */
const MAX_TIME_LENGTH = 40;
const EVENT_NAME = new RegExp(`^[A-Z0-9._-]{1,${MAX_EVENT_NAME}}$`);
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export const nonce = z.string().check(z.regex(NONCE));
export const count = z.int().check(z.nonnegative());
export const shortText = z.string().check(z.maxLength(256));
export const prefix = z.string().check(z.maxLength(256));

export const key = z.string().check(
  z.check<string>((context) => {
    const problem = keyProblem(context.value);
    if (problem === undefined) return;
    context.issues.push({ code: "custom", message: problem, input: context.value });
  }),
);

const text = z.string().check(
  z.refine((value) => value.isWellFormed(), "a value must be well-formed Unicode; send other bytes as base64"),
  z.refine((value) => Buffer.byteLength(value) <= MAX_VALUE, `a value is over the limit of ${MAX_VALUE} bytes`),
);

const base64 = z.string().check(
  z.regex(BASE64, "not base64 (RFC 4648, section 4)"),
  z.refine(
    (value) => Buffer.byteLength(value, "base64") <= MAX_VALUE,
    `a value is over the limit of ${MAX_VALUE} bytes`,
  ),
);

/** Sender-chosen identity of a change: a retry carries the same one and has no second effect. */
export const messageId = z.string().check(z.regex(MESSAGE_ID));

const cursor = z.strictObject({ epoch: nonce, revision: count });

/** A place in the cache's history to resume from: revisions compare within one epoch only. */
export type Cursor = z.infer<typeof cursor>;

const newEntry = z
  .strictObject({
    key,
    value: z.optional(text),
    base64: z.optional(base64),
    ttlMs: z.optional(z.int().check(z.positive())),
    secret: z.optional(z.boolean()),
    readOnly: z.optional(z.boolean()),
  })
  .check(
    z.refine(
      (entry) => (entry.value === undefined) !== (entry.base64 === undefined),
      "exactly one of value and base64",
    ),
  );

export type NewEntry = z.infer<typeof newEntry>;

const setter = z.enum(["host", "guest"]);

/** An entry as it is answered. Without `value` and `base64`: a secret in a list, or one whose value is gone. */
export const wireEntry = z.object({
  key,
  value: z.optional(text),
  base64: z.optional(base64),
  setBy: setter,
  /** Any number of digits may follow the second: an end to them bounds what an entry takes in memory. */
  setAt: z.iso.datetime().check(z.maxLength(MAX_TIME_LENGTH)),
  ageMs: count,
  revision: count,
  ttlMs: z.optional(count),
  secret: z.optional(z.boolean()),
  /** A secret that did not survive the guest's boot. */
  gone: z.optional(z.boolean()),
  readOnly: z.optional(z.boolean()),
  /** Fetched by a program in the guest since it was set. */
  read: z.optional(z.boolean()),
  messageId: z.optional(messageId),
});

export type WireEntry = z.infer<typeof wireEntry>;

const condition = {
  /** Refused with `conflict` when one of the keys exists. */
  ifAbsent: z.optional(z.boolean()),
  /** Refused with `conflict` when one of the keys changed after this revision. */
  ifRevision: z.optional(count),
  /** The epoch `ifRevision` was read in; refused with `conflict` in another one. */
  ifEpoch: z.optional(nonce),
};

const changeResult = z.object({ epoch: nonce, revision: count });
const acknowledged = z.object({});

/** Every list that the other side fills has an end: a schema's complaints about its members are held in memory. */
const keys = z.array(key).check(z.maxLength(MAX_ENTRIES_PER_CHANGE));

const deletion = z.extend(changeResult, {
  /** Keys that went; with `more`, the first of them. */
  deleted: keys,
  more: z.optional(z.boolean()),
});

const guestMessage = z.enum(["event", "acknowledge", "report"]);
export type GuestMessageMethod = z.infer<typeof guestMessage>;

export const eventName = z
  .string()
  .check(z.regex(EVENT_NAME, `an event's name is 1 to ${MAX_EVENT_NAME} of A-Z 0-9 . _ -`));

export const acknowledgement = z.string().check(
  z.refine((value) => value.isWellFormed(), "a result must be well-formed Unicode"),
  z.refine((value) => Buffer.byteLength(value) <= MAX_ACKNOWLEDGEMENT, `a result is over ${MAX_ACKNOWLEDGEMENT} bytes`),
);

const nesting = z.refine<Record<string, unknown>>(
  (value) => isNestedWithin(value, MAX_NESTING),
  `nested deeper than ${MAX_NESTING} levels`,
);

export const data = z.record(z.string(), z.unknown()).check(nesting);

function isNestedWithin(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return true;
  return levels > 0 && Object.values(value).every((member) => isNestedWithin(member, levels - 1));
}

/** An application in the guest, as programs and people there call it. */
export const applicationName = z
  .string()
  .check(z.regex(/^[A-Za-z0-9._-]{1,64}$/, "an application's name is 1 to 64 of A-Z a-z 0-9 . _ -"));

/** From a second to a day. */
export const period = z.int().check(z.minimum(1_000), z.maximum(86_400_000));

/**
 * What the agent knows of an application. `pending`: its check has not run yet, or it has a period to beat after the agent
 * started.
 */
export const applicationState = z.object({
  name: applicationName,
  kind: z.enum(["heartbeat", "check"]),
  state: z.enum(["ok", "failing", "pending"]),
  /** Since the state began. */
  forMs: count,
  /** Why it is failing, in words. */
  reason: z.optional(z.string().check(z.maxLength(MAX_APPLICATION_REASON))),
});
export type ApplicationState = z.infer<typeof applicationState>;

const applicationStates = z.array(applicationState).check(
  z.maxLength(MAX_APPLICATIONS),
  z.refine(
    (states) => new Set(states.map(({ name }) => name)).size === states.length,
    "an application stands there twice",
  ),
);

/** A program and its arguments, started without a shell. */
export const checkCommand = z.array(z.string().check(z.regex(/^[^\0]*$/))).check(
  z.minLength(1),
  z.maxLength(MAX_COMMAND_WORDS),
  z.refine(
    (words) => Buffer.byteLength(words.join("")) <= MAX_COMMAND_BYTES,
    `a command is over the limit of ${MAX_COMMAND_BYTES} bytes`,
  ),
);

/** Requests to the guest, from its host or from a program in it. */
const requestsToGuest = {
  hello: () => ({
    params: z.object({
      role: z.enum(["host", "local"]),
      nonce,
      versions: z.array(z.int()).check(z.minLength(1), z.maxLength(16)),
      software: shortText,
      /** Which of the guest's own requests the opener takes; `acknowledge` may be limited to one change's. */
      accepts: z.optional(z.array(guestMessage).check(z.maxLength(16))),
      acknowledgeOf: z.optional(messageId),
      /** Asks for a new epoch: this host saw the guest go back in time. */
      newEpoch: z.optional(z.boolean()),
    }),
    result: z.object({
      role: z.literal("guest"),
      nonce,
      version: z.int(),
      software: shortText,
      uuid: z.nullable(shortText),
      bootId: z.nullable(shortText),
      epoch: nonce,
      revision: count,
      limits: z.object({ cache: count, value: count, key: count, payload: count }),
      /** The DMI UUID of the machine this one was cloned from, when its cache was set aside for that. */
      clonedFrom: z.optional(shortText),
    }),
  }),
  set: () => ({
    params: z.strictObject({
      messageId,
      entries: z.array(newEntry).check(z.minLength(1), z.maxLength(MAX_ENTRIES_PER_CHANGE)),
      ...condition,
    }),
    result: z.extend(changeResult, {
      /** Keys that had a value before. */
      replaced: keys,
      /** A secret is among them: its value will not survive a boot of the guest. */
      volatile: z.optional(z.boolean()),
    }),
  }),
  get: () => ({
    params: z.strictObject({ key }),
    result: z.object({ epoch: nonce, entry: wireEntry }),
  }),
  list: () => ({
    params: z.strictObject({
      prefix: z.optional(prefix),
      /** Continue after this key: `next` of the page before. */
      after: z.optional(key),
      limit: z.optional(z.int().check(z.minimum(1), z.maximum(MAX_PAGE_ENTRIES))),
    }),
    result: z.object({
      epoch: nonce,
      revision: count,
      usedBytes: count,
      limitBytes: count,
      entries: z.array(wireEntry).check(z.maxLength(MAX_PAGE_ENTRIES)),
      next: z.optional(key),
    }),
  }),
  delete: () => ({
    params: z.strictObject({
      messageId,
      keys: z.array(key).check(z.minLength(1), z.maxLength(MAX_ENTRIES_PER_CHANGE)),
      ifRevision: condition.ifRevision,
      ifEpoch: condition.ifEpoch,
    }),
    result: deletion,
  }),
  clear: () => ({
    params: z.strictObject({ messageId }),
    result: deletion,
  }),
  watch: () => ({
    params: z.strictObject({ prefix: z.optional(prefix), since: z.optional(cursor) }),
    result: z.object({ watch: count, epoch: nonce, revision: count, resync: z.boolean() }),
  }),
  unwatch: () => ({
    params: z.strictObject({ watch: count }),
    result: acknowledged,
  }),
  ping: () => ({
    params: z.strictObject({}),
    result: z.object({
      uptimeMs: count,
      /** Left out by an agent that watches none. */
      applications: z.optional(applicationStates),
    }),
  }),
  info: () => ({
    params: z.strictObject({}),
    result: z.object({
      software: shortText,
      hostname: shortText,
      kernel: shortText,
      channel: shortText,
      isHostAttached: z.boolean(),
      uptimeMs: count,
      agentUptimeMs: count,
      uuid: z.nullable(shortText),
      bootId: z.nullable(shortText),
      clonedFrom: z.optional(shortText),
      epoch: nonce,
      revision: count,
      /** Of the opener's side, changes that were made after this revision are remembered for retries; 0 when all are. */
      answersSince: count,
      keys: count,
      usedBytes: count,
      limitBytes: count,
      queuedMessages: count,
      damagedFrames: count,
      unprojectedKeys: keys,
      notes: z.array(z.string()).check(z.maxLength(64)),
    }),
  }),
  stats: () => ({
    params: z.strictObject({}),
    result: z.object({
      uptimeMs: count,
      loadAverage: z.array(z.number()).check(z.length(3)),
      /** Processors, and for how long all of them together worked and waited since the machine started. */
      cpus: z.int().check(z.positive()),
      cpuBusyMs: count,
      cpuIdleMs: count,
      memoryTotalBytes: count,
      memoryAvailableBytes: count,
      disks: z
        .array(z.object({ path: z.string().check(z.maxLength(256)), totalBytes: count, availableBytes: count }))
        .check(z.maxLength(MAX_DISKS)),
    }),
  }),
};

/** What programs in the guest ask of its agent alone; a host is refused. */
const localRequests = {
  /** The application lives, and beats again within the period; the first beat has it watched. */
  beat: () => ({
    params: z.strictObject({ application: applicationName, everyMs: period }),
    result: acknowledged,
  }),
  /** Has a command run again and again; it is well when it exits with 0. Survives the agent and a boot. */
  addCheck: () => ({
    params: z.strictObject({
      application: applicationName,
      command: checkCommand,
      everyMs: period,
      timeoutMs: period,
    }),
    result: acknowledged,
  }),
  /** Watches an application no more, whatever its kind. */
  dismiss: () => ({ params: z.strictObject({ application: applicationName }), result: acknowledged }),
  applications: () => ({
    params: z.strictObject({}),
    result: z.object({
      applications: z
        .array(
          z.extend(applicationState, {
            everyMs: period,
            timeoutMs: z.optional(period),
            command: z.optional(checkCommand),
          }),
        )
        .check(z.maxLength(MAX_APPLICATIONS)),
    }),
  }),
};

/** Requests to the host, out of the guest's durable queue. A program in the guest sends the same ones to its agent. */
const requestsToHost = {
  event: () => ({
    params: z.strictObject({ messageId, event: eventName, data: z.optional(data) }),
    result: acknowledged,
  }),
  acknowledge: () => ({
    params: z.strictObject({
      /** The change that is acknowledged. A local program names the key instead, and its agent knows the change. */
      of: z.optional(messageId),
      messageId,
      key,
      result: z.optional(acknowledgement),
    }),
    result: acknowledged,
  }),
  report: () => ({
    params: z.strictObject({
      messageId,
      name: shortText,
      data,
      /** A local program's: keep it in memory where the disk refuses it, rather than refuse it too. */
      mayBeVolatile: z.optional(z.boolean()),
    }),
    result: z.object({
      /** It is in memory alone: it will not survive the agent. */
      volatile: z.optional(z.boolean()),
    }),
  }),
};

/** The schemas of every request's parameters and result. */
export const requests = madeOnUse({ ...requestsToGuest, ...localRequests, ...requestsToHost });

export const wireChange = z.union([z.object({ key, deleted: z.literal(true), revision: count }), wireEntry]);
export type WireChange = z.infer<typeof wireChange>;

/** What the guest says unasked. Each but `ready` carries the session's nonce. */
export const notifications = madeOnUse({
  /** This agent started: greet it. */
  ready: () => z.object({ nonce }),
  changed: () =>
    z.object({
      session: nonce,
      watch: count,
      epoch: nonce,
      /** With `more` false, all changes up to here have been sent. */
      revision: count,
      more: z.boolean(),
      /** The first of a snapshot: forget what you had. */
      resync: z.boolean(),
      changes: z.array(wireChange).check(z.maxLength(MAX_PAGE_ENTRIES)),
    }),
  /** The watch is over because it was not read in time; resume from here. */
  watchEnded: () => z.object({ session: nonce, watch: count, epoch: nonce, revision: count }),
  /** A program in the guest fetched what the change with this id set. */
  read: () => z.object({ session: nonce, key, messageId }),
  heartbeat: () => z.object({ session: nonce, uptimeMs: count, epoch: nonce, revision: count }),
  /** The agent was told to end, as at a shutdown: what is not answered from now on is no failure. */
  stopping: () => z.object({ session: nonce }),
});

export type Method = keyof typeof requests;
export type Params<M extends Method> = z.infer<(typeof requests)[M]["params"]>;
export type Result<M extends Method> = z.infer<(typeof requests)[M]["result"]>;
export type NotificationMethod = keyof typeof notifications;
export type NotificationParams<M extends NotificationMethod> = z.infer<(typeof notifications)[M]>;

export type HelloParams = Params<"hello">;
export type HelloResult = Result<"hello">;

export function isMethod(method: string): method is Method {
  return Object.hasOwn(requests, method);
}

export function isNotification(method: string): method is NotificationMethod {
  return Object.hasOwn(notifications, method);
}

const rpcError = z.object({
  code: z.int(),
  message: z.string(),
  data: z._default(z.looseObject({ code: z._default(z.string(), "failed") }).check(nesting), { code: "failed" }),
});

/** One JSON-RPC 2.0 object, told apart by its members; the method's own parameters are not looked at yet. */
export type Message =
  | { type: "request"; id: string; method: string; params: unknown }
  | { type: "notification"; method: string; params: unknown }
  | { type: "result"; id: string; result: unknown }
  | { type: "error"; id: string | null; error: RpcError }
  | { type: "invalid"; problem: "parse-error" | "invalid-request"; id: string | null }
  /** A response that is none. Like every response it is never answered. */
  | { type: "invalid-response" };

const MAX_ID_LENGTH = 64;

function isId(id: unknown): id is string {
  return typeof id === "string" && id.length <= MAX_ID_LENGTH;
}

/** Reads one payload. Never throws: what is no JSON-RPC object is `invalid`. */
export function parseMessage(payload: string): Message {
  let json: unknown;
  try {
    json = JSON.parse(payload);
  } catch {
    return { type: "invalid", problem: "parse-error", id: null };
  }
  return classify(json);
}

function classify(json: unknown): Message {
  const object = (typeof json === "object" && json !== null ? json : {}) as Record<string, unknown>;
  const { jsonrpc, id, method, params, result, error } = object;
  const invalid: Message = { type: "invalid", problem: "invalid-request", id: isId(id) ? id : null };
  if (jsonrpc !== "2.0") return invalid;
  if (typeof method === "string") {
    if (id === undefined) return { type: "notification", method, params };
    return isId(id) ? { type: "request", id, method, params } : invalid;
  }
  if (error === undefined && result === undefined) return invalid;
  if (error === undefined) return isId(id) ? { type: "result", id, result } : { type: "invalid-response" };
  const parsed = rpcError.safeParse(error);
  if (!parsed.success || !(id === null || isId(id))) return { type: "invalid-response" };
  return { type: "error", id, error: parsed.data };
}

/** Issues named in one complaint: a peer that sends ten thousand mistakes is not answered with ten thousand. */
const MAX_NAMED_ISSUES = 8;

/** A schema's complaint in one line, the place first: `entries[0].key: a key cannot be empty`. */
export function describeIssues(error: $ZodError): string {
  const named = error.issues.slice(0, MAX_NAMED_ISSUES);
  const complaint = named.map((issue) => `${toDotPath(issue.path)}: ${issue.message}`.replace(/^: /, "")).join("; ");
  const left = error.issues.length - named.length;
  return left === 0 ? complaint : `${complaint}; and ${left} more`;
}
