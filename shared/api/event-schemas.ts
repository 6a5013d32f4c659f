/** The events' part of the manager's HTTP API: events, who is told of them, and what became of the telling. */
import * as z from "zod/mini";
import { eventCategories, resourceTypes } from "../event-types.ts";
import { count, prefix, shortText } from "../protocol/message.ts";
import { vmRef } from "./schemas.ts";

const time = z.iso.datetime();

/** A place in the log of events: `LOG:POSITION`; the log has another name when the manager's database is another. */
export const eventCursor = z
  .string()
  .check(z.regex(/^[0-9a-f]{16}:\d{1,15}$/, "must be LOG:POSITION, as in an event's cursor"));

export const event = z.object({
  /** Where it stands in the log: what came after it is read with this. */
  cursor: eventCursor,
  /** A UUID: the same wherever and however often the event is delivered. */
  id: z.string(),
  time,
  /** The component that made it: `management-server`, or `guest`. */
  source: shortText,
  category: z.enum(eventCategories),
  type: shortText,
  resourceType: z.enum(resourceTypes),
  /** Of a VM its UUID; empty for the manager itself. */
  resourceUUID: shortText,
  /** A VM's name. */
  resourceName: z.optional(z.string()),
  /** Counts up by one for each event of this resource: a gap is an event not seen. */
  sequence: count,
  oldState: z.optional(shortText),
  newState: z.optional(shortText),
  /** Found by comparing, after libvirt or the manager was away: it happened at some time before. */
  isResync: z.optional(z.boolean()),
  data: z.record(z.string(), z.unknown()),
});
export type ShownEvent = z.infer<typeof event>;

/** A type, or the beginning of one followed by `*`. */
const typePattern = z
  .string()
  .check(z.regex(/^[A-Z0-9._*-]{1,80}$/, "must be an event's type (VM.STOPPED) or a pattern (VM.*)"));

const patterns = <T extends z.ZodMiniType>(item: T) =>
  z.optional(z.array(item).check(z.minLength(1), z.maxLength(100)));

/** What somebody wants to hear of; what is left out limits nothing. */
export const eventFilter = z.strictObject({
  categories: patterns(z.enum(eventCategories)),
  types: patterns(typePattern),
  /** Names, UUIDs or patterns (`web*`): only events of these VMs. */
  vms: patterns(z.string().check(z.minLength(1), z.maxLength(256))),
  /** Prefixes: of events of keys, only those of such keys. Other events are not concerned. */
  keys: patterns(prefix),
});
export type EventFilter = z.infer<typeof eventFilter>;

/** Of a query string, where a list is one member many times, or one. */
const list = <T extends z.ZodMiniType>(item: T) =>
  z.optional(
    z.pipe(
      z.transform((value: unknown) => (Array.isArray(value) ? (value as unknown[]) : [value])),
      z.array(item).check(z.maxLength(100)),
    ),
  );

export const flag = z.pipe(
  z.enum(["true", "false"]),
  z.transform((text) => text === "true"),
);

export const eventQuery = {
  since: z.optional(eventCursor),
  vm: list(z.string()),
  type: list(typePattern),
  category: list(z.enum(eventCategories)),
  key: list(prefix),
  /** With the values of keys; a secret's never. */
  values: z.optional(flag),
};

/** `next`: where to go on reading. `missed`: what was asked for is partly no longer kept. */
export const eventPage = z.object({
  events: z.array(event),
  next: eventCursor,
  more: z.boolean(),
  missed: z.boolean(),
});
export type EventPage = z.infer<typeof eventPage>;

/**
 * Of a stream. `position`, first and now and then: what came before `next` was said. `missed`: events before `next` that
 * were asked for are no longer kept.
 */
export const eventPosition = z.object({ next: eventCursor });

// ---- Sinks: where events go

export const deadLetter = z.object({ event, attempts: count, error: z.string(), at: time });
export type DeadLetter = z.infer<typeof deadLetter>;

export const sink = z.object({
  /** `config:NAME`, `recovery:NAME`, `notify:ID`, or `SUBSCRIPTION.N` for its N-th endpoint. */
  id: shortText,
  type: z.enum(["amqp", "notify", "webhook", "mail", "sms", "command", "masakari", "recovery"]),
  /** Where it leads, without passwords. */
  target: z.string(),
  state: z.enum(["connected", "disconnected", "idle", "disabled"]),
  /** Why it is not connected, or disabled. */
  reason: z.optional(z.string()),
  /** Events in the log that it has not come to yet, and those that wait for another attempt. */
  backlog: count,
  retrying: count,
  deadLetters: count,
  /** Attempts that failed since one did not. */
  failures: count,
  lastDeliveredAt: z.optional(time),
});
export type SinkSummary = z.infer<typeof sink>;

/** One attempt to deliver one event. */
export const deliveryAttempt = z.object({
  eventId: z.string(),
  type: shortText,
  at: time,
  attempt: count,
  /** `obsolete`: what it tells was over before it could be told. */
  outcome: z.enum(["delivered", "failed", "dead", "obsolete"]),
  /** HTTP's status, where there was one. */
  status: z.optional(z.int()),
  durationMs: z.number(),
  error: z.optional(z.string()),
});
export type DeliveryAttempt = z.infer<typeof deliveryAttempt>;

// ---- Subscriptions

/** `https://…`, `mailto:ADDRESS`, `amqp(s)://USER:PASSWORD@HOST/VHOST?exchange=NAME`, `sms:NUMBER?gateway=NAME`, `command:NAME`. */
const endpointUrl = z.string().check(z.minLength(1), z.maxLength(2048));

export const bodyFormats = ["cloudevents", "cloudstack"] as const;
export type BodyFormat = (typeof bodyFormats)[number];

/** Standard Webhooks: `whsec_` and 24 to 64 bytes in base64. */
const webhookSecret = z.string().check(z.regex(/^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/, "must be whsec_ and base64"));

const subscriptionParts = {
  name: shortText,
  filter: z._default(eventFilter, {}),
  /** Whether events of keys carry the values. */
  values: z._default(z.boolean(), false),
  format: z._default(z.enum(bodyFormats), "cloudevents"),
  /** `mailto:ADDRESS`: who is told when an endpoint is disabled. */
  contact: z.optional(z.string().check(z.regex(/^mailto:/, "must be mailto:ADDRESS"), z.maxLength(320))),
};

export const newSubscription = z.strictObject({
  ...subscriptionParts,
  endpoints: z.array(endpointUrl).check(z.minLength(1), z.maxLength(10)),
  /** The newest first; each is used to sign. Never shown again. */
  secrets: z.optional(z.array(webhookSecret).check(z.maxLength(2))),
});
export type NewSubscription = z.infer<typeof newSubscription>;

/** What is left out stays. */
export const subscriptionChange = z.partial(
  z.strictObject({
    name: subscriptionParts.name,
    filter: eventFilter,
    values: z.boolean(),
    format: z.enum(bodyFormats),
    contact: z.nullable(z.string().check(z.regex(/^mailto:/, "must be mailto:ADDRESS"), z.maxLength(320))),
    endpoints: newSubscription.shape.endpoints,
    secrets: z.array(webhookSecret).check(z.maxLength(2)),
  }),
);
export type SubscriptionChange = z.infer<typeof subscriptionChange>;

export const subscription = z.object({
  id: shortText,
  ...subscriptionParts,
  owner: z.string(),
  createdAt: time,
  /** Its endpoints, without passwords. */
  endpoints: z.array(sink),
  /** How many secrets it signs with. */
  secrets: count,
});
export type Subscription = z.infer<typeof subscription>;

/** StratusLab's notification of one VM's states. */
export const newNotify = z.strictObject({
  /** `host,vhost,user,password,queue`; a part with a comma or a quote in it stands in double quotes, as in CSV. */
  coordinates: z.string().check(z.minLength(1), z.maxLength(2048)),
  /** What the messages call the VM; its name when left out. */
  vmId: z.optional(shortText),
});
export type NewNotify = z.infer<typeof newNotify>;

export const notify = z.object({
  id: shortText,
  vm: vmRef,
  vmId: shortText,
  host: z.string(),
  port: z.int(),
  vhost: z.string(),
  user: z.string(),
  queue: z.string(),
  /** Who asked for it: a user, or the inventory that says so. */
  by: z.string(),
  sink,
});
export type Notify = z.infer<typeof notify>;

// ---- Saving an image

export const imageFormats = ["qcow2", "raw"] as const;
export type ImageFormat = (typeof imageFormats)[number];

export const newImageSave = z.strictObject({
  /** One of the directories that the configuration allows, or one below. */
  directory: z.string().check(z.startsWith("/", "must be an absolute path"), z.maxLength(4096)),
  authorEmail: z.optional(z.string().check(z.maxLength(254))),
  format: z._default(z.enum(imageFormats), "qcow2"),
  /** Which of its disks, as the hypervisor names it (`vda`); the first when left out. */
  disk: z.optional(shortText),
});
export type NewImageSave = z.infer<typeof newImageSave>;

/** `waiting` the VM runs · `saving` · `done` · `failed` · `cancelled`. */
export const imageSaveStates = ["waiting", "saving", "done", "failed", "cancelled"] as const;

export const imageSave = z.object({
  id: shortText,
  vm: vmRef,
  directory: z.string(),
  disk: z.optional(z.string()),
  format: z.enum(imageFormats),
  authorEmail: z.optional(z.string()),
  by: z.string(),
  state: z.enum(imageSaveStates),
  createdAt: time,
  endedAt: z.optional(time),
  /** While it is saved, 0 to 100. */
  progress: z.optional(z.number()),
  /** Of one that is done. */
  image: z.optional(z.object({ path: z.string(), format: z.enum(imageFormats), size: count, sha256: z.string() })),
  error: z.optional(z.string()),
});
export type ImageSave = z.infer<typeof imageSave>;
