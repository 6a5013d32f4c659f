/** What this manager asks of others, and what they say to it. */
import type * as z from "zod/mini";
import { unlessAborted } from "../../../shared/abort.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { describeIssues } from "../../../shared/protocol/message.ts";
import { randomHex } from "../../../shared/random.ts";
import type { StreamEvent } from "../../api/event-stream.ts";
import type { Callee, Caller, CallOptions } from "../caller.ts";
import type { Transport } from "../transport.ts";
import {
  type AskedEndpoint,
  type ForCaller,
  type Peer,
  peerRequests,
  type PeerRequestName,
  SIGN_OF_LIFE_MS,
  type WireMessage,
  type WireRequest,
} from "../wire.ts";
import { OutgoingAsk } from "./outgoing-ask.ts";
import type { OutgoingCall } from "./outgoing-call.ts";
import { inWords, notAsked } from "./outgoing-failures.ts";
import { OutgoingStream } from "./outgoing-stream.ts";

/** How often a manager that has not answered is looked for. */
const PROBE_INTERVAL_MS = 2_000;

/** What waits longer than this in a broker is not executed, however long the answer may take. Not measured. */
const LONGEST_ON_THE_WAY_MS = 60_000;

/** What is said while a request runs means nothing later. */
const PASSING_WORD_EXPIRES_MS = 10_000;

/** All in memory, with their timers. Not measured. */
const MAX_CALLS = 10_000;

/** Node's timers end at once when they are to run longer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

type Asked = WireRequest["call"];
type StreamOptions = Omit<CallOptions, "isChange">;

export interface OutgoingCallsOptions {
  transport: Pick<Transport, "self" | "send">;
  /** Nothing can be sent to that manager. */
  onGone: (peerId: string) => void;
  /** Milliseconds since 1970. */
  now?: () => number;
  newCallId?: () => string;
}

export class OutgoingCalls implements Caller {
  readonly #transport: OutgoingCallsOptions["transport"];
  readonly #onGone: (peerId: string) => void;
  readonly #now: () => number;
  readonly #newCallId: () => string;
  readonly #calls = new Map<string, OutgoingCall>();
  /** Those whose request may have arrived. */
  readonly #sent = new Set<OutgoingCall>();
  /** Managers that are being looked for. */
  readonly #probed = new Set<string>();
  #probing: NodeJS.Timeout | undefined;
  #lastLoss: { reason: string } | undefined;

  constructor({ transport, onGone, now = Date.now, newCallId = () => randomHex(16) }: OutgoingCallsOptions) {
    this.#transport = transport;
    this.#onGone = onGone;
    this.#now = now;
    this.#newCallId = newCallId;
  }

  /** Calls that have not come to their end. */
  get size(): number {
    return this.#calls.size;
  }

  ask(callee: Callee, asked: AskedEndpoint, options: CallOptions): Promise<unknown> {
    return this.#ask(callee, { kind: "api", asked }, options);
  }

  /** An answer that nobody gets counts as `unconfirmed`: what managers ask of each other changes something there. */
  async askPeer<N extends PeerRequestName>(
    callee: Callee,
    name: N,
    params: z.infer<(typeof peerRequests)[N]["params"]>,
    options: StreamOptions,
  ): Promise<z.infer<(typeof peerRequests)[N]["answer"]>> {
    const answer = await this.#ask(callee, { kind: "peer", name, params }, { ...options, isChange: true });
    const result = peerRequests[name].answer.safeParse(answer);
    if (result.success) return result.data as z.infer<(typeof peerRequests)[N]["answer"]>;
    const details = { host: callee.peer.host };
    throw new CommandError("failed", `${inWords(callee.peer)} answers ${describeIssues(result.error)}`, details);
  }

  async *stream(callee: Callee, asked: AskedEndpoint, options: StreamOptions): AsyncGenerator<StreamEvent> {
    const { signal } = options;
    signal.throwIfAborted();
    const id = this.#newCallId();
    const stream = new OutgoingStream(callee, (until) => {
      void this.#tell(callee.peer.id, { type: "credit", of: id, to: callee.peer.id, until });
    });
    const stop = this.#begin(id, stream, { kind: "api", asked }, options.timeoutMs);
    const signs = setInterval(() => {
      stream.showLife();
    }, SIGN_OF_LIFE_MS);
    try {
      yield* stream.events(signal);
    } finally {
      clearInterval(signs);
      stop();
    }
  }

  /** What is said of no call of ours is passed over. */
  take(message: ForCaller, from: Peer): void {
    switch (message.type) {
      case "alive":
        for (const call of this.#sentTo(from.id)) call.heard();
        return;
      case "misdirected":
        this.#misdirected(message, from);
        return;
      case "answer":
      case "problem":
      case "begun":
      case "event":
      case "end": {
        const call = this.#calls.get(message.of);
        if (call?.callee.peer.id === from.id) call.take(message);
        return;
      }
      default:
        unreachable(message);
    }
  }

  /** That manager is not there any more, and answers nothing. */
  gone(peerId: string): void {
    for (const call of this.#sentTo(peerId)) call.vanished();
  }

  /** Our queues are gone: what was asked is not answered. */
  disconnected(reason: string): void {
    this.#lastLoss = { reason };
    for (const call of [...this.#sent]) call.disconnected(reason);
  }

  async #ask(callee: Callee, call: Asked, { signal, timeoutMs, isChange }: CallOptions): Promise<unknown> {
    signal.throwIfAborted();
    const ask = new OutgoingAsk(callee, isChange);
    const stop = this.#begin(this.#newCallId(), ask, call, timeoutMs);
    try {
      return await unlessAborted(signal, ask.answer);
    } finally {
      stop();
    }
  }

  /** Sends the request. The returned function ends the call, and tells the callee if it does not know. */
  #begin(id: string, call: OutgoingCall, asked: Asked, timeoutMs: number): () => void {
    if (this.#calls.size >= MAX_CALLS) {
      const message = `there are ${MAX_CALLS} requests to other managers in progress here; try again`;
      throw new CommandError("unreachable", message);
    }
    this.#calls.set(id, call);
    this.#probing ??= setInterval(() => {
      for (const peerId of this.#callees()) void this.#probe(peerId);
    }, PROBE_INTERVAL_MS);
    const deadline = setTimeout(
      () => {
        call.late(timeoutMs);
      },
      Math.min(timeoutMs, LONGEST_TIMER_MS),
    );
    void this.#send(id, call, asked, timeoutMs);
    return () => {
      clearTimeout(deadline);
      this.#end(id, call);
    };
  }

  #end(id: string, call: OutgoingCall): void {
    this.#calls.delete(id);
    this.#sent.delete(call);
    if (this.#calls.size === 0) {
      clearInterval(this.#probing);
      this.#probing = undefined;
    }
    const { peer } = call.callee;
    if (!call.isOverThere) void this.#tell(peer.id, { type: "cancel", of: id, to: peer.id });
  }

  async #send(id: string, call: OutgoingCall, asked: Asked, timeoutMs: number): Promise<void> {
    const { peer, by } = call.callee;
    const expiresInMs = Math.ceil(Math.min(timeoutMs, LONGEST_ON_THE_WAY_MS));
    const expiresAt = this.#now() + expiresInMs;
    const lossBefore = this.#lastLoss;
    const request: WireRequest = { type: "request", id, to: peer.id, expiresAt, call: asked };
    const sentBefore = this.#sentTo(peer.id);
    const passing = await this.#transport.send(by, request, expiresInMs);
    switch (passing.type) {
      case "nobody":
        this.#reachedNobody(call, sentBefore);
        return;
      case "not-sent":
        call.notSent(notAsked(peer, `${inWords(peer)} cannot be asked: ${passing.reason}`));
        return;
      // It may have arrived all the same; then it is answered.
      case "unconfirmed":
      case "passed":
        this.#isSent(id, call, lossBefore);
        return;
      default:
        unreachable(passing);
    }
  }

  #reachedNobody(call: OutgoingCall, sentBefore: readonly OutgoingCall[]): void {
    const { peer, by } = call.callee;
    if (by.type === "vm") {
      call.misdirected(undefined);
    } else {
      call.notSent(notAsked(peer, `${inWords(peer)} is gone`));
      this.#vanished(peer.id, sentBefore);
    }
  }

  #isSent(id: string, call: OutgoingCall, lossBefore: { reason: string } | undefined): void {
    if (this.#calls.get(id) !== call) return;
    this.#sent.add(call);
    const loss = this.#lastLoss;
    if (loss !== undefined && loss !== lossBefore) call.disconnected(loss.reason);
  }

  /** Whoever has the VM's queue now says so. What was sent to a manager itself is for nobody else to speak of. */
  #misdirected({ of, holds }: Extract<ForCaller, { type: "misdirected" }>, from: Peer): void {
    const call = this.#calls.get(of);
    if (call === undefined) return;
    const { peer, by } = call.callee;
    if (by.type === "vm" || peer.id === from.id) call.misdirected(holds ? from : undefined);
  }

  async #probe(peerId: string): Promise<void> {
    if (this.#probed.has(peerId)) return;
    this.#probed.add(peerId);
    await this.#tell(peerId, { type: "alive" });
    this.#probed.delete(peerId);
  }

  async #tell(peerId: string, word: WireMessage): Promise<void> {
    const sentBefore = this.#sentTo(peerId);
    const passing = await this.#transport.send({ type: "manager", id: peerId }, word, PASSING_WORD_EXPIRES_MS);
    if (passing.type === "nobody") this.#vanished(peerId, sentBefore);
  }

  /**
   * A manager whose queue is gone has ended, or lost its connection and with it what it would have answered. What is sent to
   * it later may find it back.
   */
  #vanished(peerId: string, sentBefore: readonly OutgoingCall[]): void {
    for (const call of sentBefore) call.vanished();
    this.#onGone(peerId);
  }

  /** What became of a request that is on its way is told when it has been sent. */
  #sentTo(peerId: string): OutgoingCall[] {
    return [...this.#sent].filter(({ callee }) => callee.peer.id === peerId);
  }

  #callees(): Set<string> {
    return new Set([...this.#sent].map(({ callee }) => callee.peer.id));
  }
}
