/**
 * Messages that wait here for a VM go to the manager that has it now. That one keeps them on disk, under their messageIds,
 * before they are dropped here: what happens between is repeated, and known again.
 */
import type * as z from "zod/mini";
import type { Receipt, VmRef } from "../../../shared/api/schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import type { Log } from "../../../shared/log.ts";
import { type ErrorCode, exitCodes, unreachable } from "../../../shared/protocol/errors.ts";
import type { AuditLog, Deed } from "../../access/audit-log.ts";
import { keysOf } from "../../delivery/keys-of.ts";
import { Retries } from "../../retries.ts";
import type { Change, GivenMessage, Kept, MovedMessage, Store } from "../../store/store.ts";
import { WorkSlots } from "../../work-slots.ts";
import { type Caller, MisdirectedError } from "../caller.ts";
import { askerAt, viaOf } from "../peer-principal.ts";
import type { LocalVms, Whereabouts } from "../whereabouts.ts";
import { ANSWER_TIMEOUT_MS, type Peer, type peerRequests } from "../wire.ts";

type TakeParams = z.infer<(typeof peerRequests)["takeMessages"]["params"]>;
type TakeAnswer = z.infer<(typeof peerRequests)["takeMessages"]["answer"]>;
type Taken = TakeAnswer["results"][number];

/** Of one request. With base64 and its envelope it stays far below what a broker takes (16 MiB). Not measured. */
const BATCH = { messages: 100, bytes: 512 * 1024 };

/** Batches that are on their way together: a host that is emptied has many VMs, and each batch is in memory. */
const BATCHES_AT_ONCE = 8;

/** As long as the API lets a message wait: ten years. */
const LONGEST_WAIT_MS = 10 * 365 * 86_400_000;

/** Another manager's clock is not ahead by more. Not measured. */
const CLOCK_TOLERANCE_MS = 10 * 60_000;

const RETRIES = { firstMs: 1_000, longestMs: 30_000 };

export interface HandoverOptions {
  store: Pick<Store, "messagesToMove" | "notMoved" | "knownMessages" | "keepMoved" | "dropMoved" | "refuseMoved">;
  whereabouts: Pick<Whereabouts, "of" | "onMoved">;
  local: LocalVms;
  caller: Pick<Caller, "askPeer">;
  /** Throws CommandError for what that manager may not have done here. */
  assertMayKeep: (from: Peer, vm: VmRef, change: Change) => void;
  /** As in {@link AuditLog.recordAll}. */
  audit: AuditLog["recordAll"];
  /** A message that does not say when it expires does so after this, in ms. */
  expireAfterMs: () => number;
  /** So many more messages wait for the VM here. */
  kept: (vmId: string, count: number) => void;
  /** So many wait at another manager now, and not here. */
  moved: (vmId: string, count: number) => void;
  /** One that waited here does not any more: the other manager refuses it, or the store ended it. */
  settled: (receipt: Receipt) => void;
  /** The store failed: the manager cannot go on. */
  failed: (error: unknown) => void;
  log: Log;
  /** Milliseconds since 1970. */
  now?: () => number;
}

/** A VM for which messages wait here. */
interface Waiting {
  stopListening: () => void;
  isPushing: boolean;
  /** Something has changed since the last batch was taken. */
  isDueAgain: boolean;
  /** Aborted when the VM has another place: the next attempt need not wait. */
  moved: AbortController;
  /** The log says so. */
  isStuck: boolean;
}

/** `stuck`: another attempt is to be made later. */
type Push = { type: "moved" | "none" } | { type: "stuck"; reason: string };

export class Handover {
  readonly #options: HandoverOptions;
  readonly #now: () => number;
  readonly #waiting = new Map<string, Waiting>();
  readonly #slots = new WorkSlots({ slots: BATCHES_AT_ONCE, maxWaiting: Infinity });
  readonly #pushes = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  readonly #stopListening: () => void;

  constructor(options: HandoverOptions) {
    const { local, now = Date.now } = options;
    this.#options = options;
    this.#now = now;
    this.#stopListening = local.onChange((vmId) => {
      this.#look(vmId);
    });
    for (const { ref } of local.all()) this.#look(ref.id);
  }

  /** The handler of the request `takeMessages`. Rejects with CommandError when nothing was kept. */
  async take({ vm, messages }: TakeParams, from: Peer): Promise<TakeAnswer> {
    const { local, whereabouts, store, kept } = this.#options;
    const known = local.byId(vm.id);
    if (known === undefined || whereabouts.of(vm.id).type !== "here") {
      throw new CommandError("unreachable", `the VM ${vm.name} is not here; is it being moved?`);
    }
    if (messages.length > BATCH.messages) {
      throw new CommandError("over-limit", `${messages.length} messages at once; ${BATCH.messages} are taken`);
    }
    const bounded = messages.map((message) => this.#bounded(message, from));
    const changes = bounded.map(({ change }) => change);
    // What was kept when it was permitted may be done by now: that it is not permitted any more does not undo it.
    const before = await store.knownMessages(known.ref, changes);
    const decided = changes.map((change, index): Taken | undefined => {
      const receipt = before[index];
      return receipt === undefined ? this.#refusalOf(from, known.ref, change) : { kept: receipt };
    });
    const permitted = bounded.filter((_, index) => decided[index] === undefined);
    const keeping = await store.keepMoved(known.ref, permitted, from.host, this.#now());
    const added = keeping.filter(({ type }) => type === "new").length;
    if (added > 0) kept(vm.id, added);
    const answers = keeping.map(answerOf).values();
    const results = decided.flatMap((taken) => taken ?? answers.next().value ?? []);
    const deeds = bounded.flatMap((message, index) => {
      const result = before[index] === undefined ? results[index] : undefined;
      return result === undefined ? [] : deedsOf(message, known.ref, result, from);
    });
    if (deeds.length > 0) await this.#options.audit(deeds);
    return { results };
  }

  /** As if it had been asked for here. */
  #bounded({ change, by, begunAtRevision, ...times }: TakeParams["messages"][number], from: Peer): MovedMessage {
    const now = this.#now();
    const latest = now + CLOCK_TOLERANCE_MS;
    const expiresAt = times.expiresAt ?? now + this.#options.expireAfterMs();
    return {
      change,
      by: askerAt(by, from),
      queuedAt: Math.min(times.queuedAt, latest),
      expiresAt: Math.min(expiresAt, now + LONGEST_WAIT_MS),
      begunAt: times.begunAt === undefined ? undefined : Math.min(times.begunAt, latest),
      begunAtRevision,
    };
  }

  #refusalOf(from: Peer, vm: VmRef, change: Change): Taken | undefined {
    try {
      this.#options.assertMayKeep(from, vm, change);
      return undefined;
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      return { refusal: { code: error.code, message: error.message } };
    }
  }

  /** Settles when nothing is under way; what waits stays where it is. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#stopListening();
    for (const vmId of [...this.#waiting.keys()]) this.#forget(vmId);
    await Promise.all(this.#pushes);
  }

  #look(vmId: string): void {
    const { local, whereabouts } = this.#options;
    if (this.#closing.signal.aborted) return;
    if ((local.byId(vmId)?.pending ?? 0) === 0) {
      this.#forget(vmId);
      return;
    }
    const stopListening = (): (() => void) => {
      return whereabouts.onMoved(vmId, () => {
        this.#waiting.get(vmId)?.moved.abort();
        this.#look(vmId);
      });
    };
    const waiting = this.#waiting.get(vmId) ?? {
      stopListening: stopListening(),
      isPushing: false,
      isDueAgain: false,
      moved: new AbortController(),
      isStuck: false,
    };
    this.#waiting.set(vmId, waiting);
    waiting.isDueAgain = true;
    if (!waiting.isPushing && this.#destination(vmId) !== undefined) this.#start(vmId, waiting);
  }

  #forget(vmId: string): void {
    const waiting = this.#waiting.get(vmId);
    waiting?.stopListening();
    waiting?.moved.abort();
    this.#waiting.delete(vmId);
  }

  /** Never while our own link is up: whatever others say, the guest is here. */
  #destination(vmId: string): Peer | undefined {
    const place = this.#options.whereabouts.of(vmId);
    const strength = this.#options.local.byId(vmId)?.strength;
    return place.type === "elsewhere" && strength !== undefined && strength < 3 ? place.peer : undefined;
  }

  #start(vmId: string, waiting: Waiting): void {
    waiting.isPushing = true;
    const push = this.#pushAll(vmId, waiting)
      .catch(this.#options.failed)
      .finally(() => {
        waiting.isPushing = false;
        this.#pushes.delete(push);
        if (waiting.isDueAgain) this.#look(vmId);
      });
    this.#pushes.add(push);
  }

  async #pushAll(vmId: string, waiting: Waiting): Promise<void> {
    const retries = new Retries(RETRIES);
    while (this.#waiting.get(vmId) === waiting) {
      waiting.moved = new AbortController();
      const push = await this.#slots.run(() => {
        waiting.isDueAgain = false;
        return this.#pushBatch(vmId);
      });
      switch (push.type) {
        case "none":
          return;
        case "moved":
          waiting.isStuck = false;
          retries.reset();
          break;
        case "stuck":
          if (!waiting.isStuck) this.#options.log.info("messages-wait", { id: vmId, reason: push.reason });
          waiting.isStuck = true;
          await retries.wait(waiting.moved.signal);
          break;
        default:
          unreachable(push);
      }
    }
  }

  async #pushBatch(vmId: string): Promise<Push> {
    const { store, local, settled } = this.#options;
    const to = this.#destination(vmId);
    const vm = local.byId(vmId)?.ref;
    if (to === undefined || vm === undefined || this.#closing.signal.aborted) return { type: "none" };
    const at = this.#now();
    const batch = await store.messagesToMove(vmId, BATCH, at);
    for (const receipt of batch.settled) settled(receipt);
    if (batch.messages.length === 0) return { type: batch.settled.length > 0 ? "moved" : "none" };
    const given = await this.#give({ vm, messages: batch.messages }, to, at);
    if ("reason" in given) return { type: "stuck", reason: given.reason };
    const concluded = await this.#conclude(vmId, batch.messages, given, to);
    if (concluded > 0) return { type: "moved" };
    const isFull = given.results.some((result) => "refusal" in result && result.refusal.code === "over-limit");
    const reason = isFull ? `${to.host} has no room for them` : "the VM was given them here meanwhile";
    return { type: "stuck", reason };
  }

  /** The reason when they are not known to be kept there. */
  async #give(params: TakeParams, to: Peer, at: number): Promise<TakeAnswer | { reason: string }> {
    const { store, caller } = this.#options;
    const callee = { peer: to, by: { type: "vm", id: params.vm.id } } as const;
    const options = { signal: this.#closing.signal, timeoutMs: ANSWER_TIMEOUT_MS };
    try {
      const answer = await caller.askPeer(callee, "takeMessages", params, options);
      if (answer.results.length === params.messages.length) return answer;
      return { reason: `${to.host} did not answer for each message` };
    } catch (error) {
      if (isNothingDone(error)) await store.notMoved(idsOf(params.messages), at);
      else if (!(error instanceof CommandError) && !this.#closing.signal.aborted) {
        this.#options.log.error("handover-failed", { vm: params.vm.name, id: params.vm.id, to: to.host, error });
      }
      return { reason: (error as Error).message };
    }
  }

  /** How many do not wait here any more. */
  async #conclude(vmId: string, messages: readonly MovedMessage[], { results }: TakeAnswer, to: Peer): Promise<number> {
    const { store, moved, settled, log } = this.#options;
    const keptThere = messages.filter((_, index) => "kept" in (results[index] ?? {}));
    const dropped = await store.dropMoved(vmId, keptThere.map(givenOf), to.host, this.#now());
    if (dropped > 0) {
      log.info("messages-moved", { id: vmId, messages: dropped, to: to.host });
      moved(vmId, dropped);
    }
    const refusals = messages.flatMap((message, index) => {
      const result = results[index];
      if (result === undefined || !("refusal" in result)) return [];
      const { code, message: text } = result.refusal;
      // What may be done waits until there is room for it.
      if (message.begunAt !== undefined && code === "over-limit") return [];
      return { ...givenOf(message), refusal: { code: codeOf(code), message: text } };
    });
    const refused = await store.refuseMoved(vmId, refusals, this.#now());
    for (const receipt of refused) settled(receipt);
    return dropped + refused.length;
  }
}

function deedsOf({ change, by, begunAt }: MovedMessage, vm: VmRef, result: Taken, from: Peer): Deed[] {
  const outcome = "kept" in result ? "ok" : result.refusal.code;
  // What may be done is offered until there is room for it, which would fill the log.
  if (outcome === "over-limit" && begunAt !== undefined) return [];
  const who = { name: by, via: viaOf(from) };
  return [{ who, action: change.method, vm, keys: keysOf(change), messageId: change.params.messageId, outcome }];
}

function givenOf({ change, begunAt }: MovedMessage): GivenMessage {
  return { messageId: change.params.messageId, begunAt };
}

function answerOf(kept: Kept): Taken {
  switch (kept.type) {
    case "new":
    case "known":
      return { kept: kept.receipt };
    case "conflict":
    case "unconfirmed":
    case "over-limit":
      return { refusal: { code: kept.type, message: kept.message } };
    default:
      return unreachable(kept);
  }
}

function codeOf(code: string): ErrorCode {
  return Object.hasOwn(exitCodes, code) ? (code as ErrorCode) : "failed";
}

/** The other manager has not got them, or has not kept them. */
function isNothingDone(error: unknown): boolean {
  return error instanceof MisdirectedError || (error instanceof CommandError && error.code === "unreachable");
}

function idsOf(messages: readonly MovedMessage[]): string[] {
  return messages.map(({ change }) => change.params.messageId);
}
