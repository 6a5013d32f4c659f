/**
 * What managers say to each other, before it is sealed (seal.ts) and after it was opened. JSON; times are milliseconds since
 * 1970. `from` is who says it: the seal proves that it has the key, and nothing more is believed of it without a check.
 */
import * as z from "zod/mini";
import { endpoints, type EndpointName } from "../../shared/api/endpoints.ts";
import { problem, receipt, roles, vmRef } from "../../shared/api/schemas.ts";
import { count, requests } from "../../shared/protocol/message.ts";

/** ECMA-262, 21.4.1.1: the times that a Date can be. */
const time = z.int().check(z.minimum(0), z.maximum(8.64e15));

/** One start of a manager: 32 hexadecimal digits, new each time, so that nothing meant for an earlier start is taken. */
export const managerId = z.string().check(z.regex(/^[0-9a-f]{32}$/));
/** A request's, or a stream's: 32 hexadecimal digits. Seen before, it is not executed again. */
const callId = z.string().check(z.regex(/^[0-9a-f]{32}$/));

export const peer = z.object({ id: managerId, host: z.string().check(z.minLength(1), z.maxLength(255)) });
/** A manager, as the others know it: its id of this start, and its machine's name. */
export type Peer = z.infer<typeof peer>;

const principal = z.object({
  name: z.string().check(z.maxLength(512)),
  role: z.enum(roles),
  vms: z.array(z.string()),
  keys: z.array(z.string()),
});

/** What managers ask each other for themselves, beside the rows of the API that they ask for their users. */
export const peerRequests = {
  /** Who has a stronger claim to a VM asks who holds it to let it go (claims.ts). */
  yield: {
    params: z.object({ vm: z.string(), strength: z.int().check(z.minimum(0), z.maximum(3)) }),
    answer: z.object({ isYielded: z.boolean(), strength: z.int() }),
  },
  /** Messages that wait for a VM go to who holds it now (handover.ts). */
  takeMessages: {
    params: z.object({
      vm: vmRef,
      messages: z.array(
        z.object({
          change: z.discriminatedUnion("method", [
            z.object({ method: z.literal("set"), params: requests.set.params }),
            z.object({ method: z.literal("delete"), params: requests.delete.params }),
            z.object({ method: z.literal("clear"), params: requests.clear.params }),
          ]),
          by: z.string(),
          queuedAt: time,
          expiresAt: z.optional(time),
          /** When it, or who may have done so, was first given it: from then on nobody can say that it was not done. */
          begunAt: z.optional(time),
          /** The revision of the guest's cache then, or an earlier one. */
          begunAtRevision: z.optional(z.int().check(z.nonnegative())),
        }),
      ),
    }),
    /** In the order of the messages: kept by the asked manager now, or why it never will be. */
    answer: z.object({
      results: z.array(
        z.union([
          z.object({ kept: receipt }),
          z.object({ refusal: z.object({ code: z.string(), message: z.string() }) }),
        ]),
      ),
    }),
  },
} as const;
export type PeerRequestName = keyof typeof peerRequests;

const endpointName = z.enum(Object.keys(endpoints) as [EndpointName, ...EndpointName[]]);

/** Parts of an API request as HTTP has them, before the row's schemas; the callee checks them with these. */
const asked = z.object({
  endpoint: endpointName,
  who: principal,
  params: z.optional(z.unknown()),
  query: z.optional(z.unknown()),
  body: z.optional(z.unknown()),
  lastEventId: z.optional(z.string()),
});
export type AskedEndpoint = z.infer<typeof asked>;

const request = z.object({
  type: z.literal("request"),
  id: callId,
  /** Whom it is for: another manager, or another start of this one, does not execute it. */
  to: managerId,
  /** After this it is not executed. */
  expiresAt: z.int(),
  call: z.union([
    z.object({ kind: z.literal("api"), asked }),
    z.object({
      kind: z.literal("peer"),
      name: z.enum(Object.keys(peerRequests) as [PeerRequestName, ...PeerRequestName[]]),
      params: z.unknown(),
    }),
  ]),
});

/** Who is there, and what it holds: for the directory. */
const announcements = [
  /**
   * To everyone when it connects and when its VMs changed, and as a reminder without `vms`: who has another revision asks for
   * them. `wants`: answer with your own, to me alone.
   */
  z.object({
    type: z.literal("announce"),
    revision: count,
    vms: z.optional(z.array(vmRef)),
    wants: z.boolean(),
  }),
  /** It stops: nobody is to wait for it. */
  z.object({ type: z.literal("bye") }),
] as const;

/** What means something to those who ask: for the outgoing calls. */
const forCaller = [
  /** Says nothing: whoever can be sent to is there. */
  z.object({ type: z.literal("alive") }),
  z.object({ type: z.literal("answer"), of: callId, answer: z.unknown() }),
  z.object({
    type: z.literal("problem"),
    of: callId,
    problem: z.pick(problem, { code: true, detail: true, details: true }),
  }),
  /** Not executed: it was for another manager, or another start of it. `holds`: whoever answers has the VM. */
  z.object({ type: z.literal("misdirected"), of: callId, holds: z.boolean() }),
  /** A stream is being served: its events come when they happen, which may be much later. */
  z.object({ type: z.literal("begun"), of: callId }),
  /** A stream's, numbered from 1 without a gap. */
  z.object({
    type: z.literal("event"),
    of: callId,
    number: count,
    event: z.string(),
    data: z.unknown(),
    id: z.optional(z.string()),
  }),
  /** The stream has come to its end; `number` is one more than its last event's. */
  z.object({ type: z.literal("end"), of: callId, number: count }),
] as const;

/** What means something to those who are asked: for the incoming calls. */
const forCallee = [
  request,
  /** The caller of a stream takes events up to this number, and is there still. */
  z.object({ type: z.literal("credit"), of: callId, to: managerId, until: count }),
  z.object({ type: z.literal("cancel"), of: callId, to: managerId }),
] as const;

export const wireMessage = z.discriminatedUnion("type", [...announcements, ...forCaller, ...forCallee]);
export type WireMessage = z.infer<typeof wireMessage>;
export type Announcement = z.infer<(typeof announcements)[number]>;
export type ForCaller = z.infer<(typeof forCaller)[number]>;
export type ForCallee = z.infer<(typeof forCallee)[number]>;
export type WireRequest = z.infer<typeof request>;

/** The plaintext of an envelope. */
export const sealedMessage = z.object({ from: peer, sentAt: z.int(), message: wireMessage });
export type SealedMessage = z.infer<typeof sealedMessage>;

/** Events of a stream that its caller has room for before it gives the first credit. Not measured. */
export const STREAM_WINDOW = 32;

/** How often both ends of a stream show each other that they are there: the caller by a credit, the callee by `alive`. */
export const SIGN_OF_LIFE_MS = 5_000;

/** An end of a stream that has shown nothing for so long is lost: several signs in a row did not come. */
export const LOST_AFTER_MS = 20_000;

/** Held back answers are longer than this by what they are held back. */
export const ANSWER_TIMEOUT_MS = 8_000;
