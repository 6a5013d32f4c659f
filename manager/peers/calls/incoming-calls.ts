/**
 * What other managers ask of this one: rows of the API's table for their users, and what managers ask for themselves. The
 * seal says that a request is of a manager; whom it is for, whether it was seen before and how much runs already is looked
 * at here, and what is asked for in incoming-work.ts.
 */
import { within } from "../../../shared/abort.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import type { Log } from "../../../shared/log.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { printable } from "../../../shared/terminal-text.ts";
import type { StreamEvent } from "../../api/event-stream.ts";
import { refusalOf } from "../../api/problems.ts";
import { AtMostEvery } from "../../events/at-most-every.ts";
import type { Passing, Transport } from "../transport.ts";
import { type ForCallee, type ForCaller, type Peer, SIGN_OF_LIFE_MS, type WireRequest } from "../wire.ts";
import { IncomingCall } from "./incoming-call.ts";
import { type Admission, IncomingIds } from "./incoming-ids.ts";
import { IncomingStream } from "./incoming-stream.ts";
import { IncomingWork, type IncomingWorkOptions, NotHeldError } from "./incoming-work.ts";

/**
 * Beside streams, of one manager and of all: of what is asked for users, which may be held back as long as they say, and as
 * many of what managers ask for themselves, which never waits for the former. Not measured.
 */
const MAX_REQUESTS_PER_PEER = 500;
const MAX_REQUESTS = 1_000;

/** Watches of one manager's users, and of all: a few busy managers leave room for the others. Not measured. */
const MAX_STREAMS_PER_PEER = 256;
const MAX_STREAMS = 1_024;

/** A manager that does not take what it asked for within this time waits for it no longer. Not measured. */
const REPLY_EXPIRES_MS = 60_000;

/** Requests that run when the manager stops may take this long to end. */
const CLOSE_GRACE_MS = 5_000;

/** Those that were stopped then may take this long to say so. */
const STOPPED_GRACE_MS = 1_000;

/** A broker that takes no answers takes none of many; and where there is no room, there is none for many. */
const TELL_NOT_SENT_EVERY_MS = 60_000;
const TELL_REFUSED_EVERY_MS = 60_000;

export interface IncomingCallsOptions extends Omit<IncomingWorkOptions, "self"> {
  transport: Pick<Transport, "self" | "send">;
  /** Milliseconds since 1970. */
  now?: () => number;
  log: Log;
}

type Reply = Extract<ForCaller, { type: "answer" | "problem" | "misdirected" }>;

export class IncomingCalls {
  readonly #transport: IncomingCallsOptions["transport"];
  readonly #work: IncomingWork;
  readonly #holds: (vmId: string) => boolean;
  readonly #now: () => number;
  readonly #log: Log;
  readonly #ids = new IncomingIds();
  readonly #calls = new Map<string, IncomingCall>();
  /** Those that have room: what is refused has none, while that is being said. */
  readonly #requests = new Set<IncomingCall>();
  readonly #streams = new Map<string, IncomingStream>();
  readonly #notSent = new AtMostEvery(TELL_NOT_SENT_EVERY_MS);
  readonly #refused = new AtMostEvery(TELL_REFUSED_EVERY_MS);
  #signs: NodeJS.Timeout | undefined;
  #repeated = 0;
  #isClosing = false;
  #onIdle: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  constructor({ transport, now = Date.now, log, ...work }: IncomingCallsOptions) {
    this.#transport = transport;
    this.#work = new IncomingWork({ ...work, self: transport.self });
    this.#holds = work.holds;
    this.#now = now;
    this.#log = log;
  }

  /** Requests that came a second time, and were not executed. */
  get repeated(): number {
    return this.#repeated;
  }

  /** Requests and streams that are being served. */
  get size(): number {
    return this.#calls.size;
  }

  take(message: ForCallee, from: Peer): void {
    switch (message.type) {
      case "request":
        this.#takeRequest(message, from);
        return;
      case "credit":
        this.#takeCredit(message, from);
        return;
      case "cancel":
        this.#takeCancel(message, from);
        return;
      default:
        unreachable(message);
    }
  }

  /** That manager is not there any more, and waits for nothing. */
  gone(peerId: string): void {
    for (const call of this.#calls.values()) {
      if (call.from.id === peerId) call.abandon(`the manager on ${printable(call.from.host)} is gone`);
    }
  }

  /** What was sent last may be lost: a stream has a gap, but an answer finds its way when there is one again. */
  disconnected(reason: string): void {
    for (const { call } of this.#streams.values()) call.abandon(reason);
  }

  /** Takes nothing more, ends streams, lets requests end for a while, and stops those that have not. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#isClosing = true;
    for (const { call } of this.#streams.values()) call.stop(this.#stoppingInTheMiddle());
    await this.#idle(CLOSE_GRACE_MS);
    for (const call of this.#calls.values()) call.stop(stopping());
    await this.#idle(STOPPED_GRACE_MS);
    clearInterval(this.#signs);
  }

  /** Settles when nothing runs, or after this time. */
  async #idle(timeoutMs: number): Promise<void> {
    if (this.#calls.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#onIdle = () => {
      resolve(undefined);
    };
    await within(timeoutMs, promise);
  }

  // ---- Requests

  #takeRequest(request: WireRequest, from: Peer): void {
    const { id, to, call: asked } = request;
    if (to !== this.#transport.self.id) {
      const vm = vmIn(asked);
      void this.#send(from, { type: "misdirected", of: id, holds: vm !== undefined && this.#holds(vm) });
      return;
    }
    // One that takes long can have expired meanwhile.
    const admission: Admission = this.#calls.has(id) ? { type: "seen" } : this.#ids.admit(request, this.#now());
    switch (admission.type) {
      case "seen":
        this.#repeated += 1;
        return;
      case "new":
        void this.#serve(new IncomingCall(id, from, asked.kind), asked);
        return;
      case "full":
        this.#refuse(id, from, this.#busy(from, "is asked for more than it can remember"));
        return;
      case "late":
        this.#refuse(id, from, this.#otherClock(from, `came ${inSeconds(admission.byMs)} s after its time was up`));
        return;
      case "early":
        this.#refuse(id, from, this.#otherClock(from, `has ${inSeconds(admission.byMs)} s to run, which is too long`));
        return;
      default:
        unreachable(admission);
    }
  }

  /** Settles when there is nothing more to say of it. Never rejects. */
  async #serve(call: IncomingCall, asked: WireRequest["call"]): Promise<void> {
    this.#calls.set(call.id, call);
    try {
      const work = this.#work.of(call, asked);
      if (work.type === "stream") {
        await this.#stream(call, work.events);
      } else {
        this.#assertRoom(call);
        this.#requests.add(call);
        const answer = await work.answer();
        call.end();
        await this.#answer(call, { type: "answer", of: call.id, answer }, work.isReading);
      }
    } catch (error) {
      await this.#tell(call, this.#failed(call, asked, error));
    } finally {
      call.end();
      this.#requests.delete(call);
      this.#calls.delete(call.id);
      if (this.#calls.size === 0) this.#onIdle?.();
    }
  }

  async #stream(call: IncomingCall, events: () => AsyncIterable<StreamEvent>): Promise<void> {
    this.#assertRoomForStream(call.from);
    const stream = new IncomingStream(call, (message) => {
      void this.#sendOf(stream, message);
    });
    this.#streams.set(call.id, stream);
    this.#signs ??= setInterval(() => {
      this.#showLife();
    }, SIGN_OF_LIFE_MS);
    try {
      await stream.run(events());
    } finally {
      this.#streams.delete(call.id);
      if (this.#streams.size === 0) {
        clearInterval(this.#signs);
        this.#signs = undefined;
      }
    }
  }

  #assertRoom({ from, kind }: IncomingCall): void {
    if (this.#isClosing) throw stopping();
    const requests = [...this.#requests].filter((call) => call.kind === kind);
    const ofPeer = requests.filter((call) => call.from.id === from.id).length;
    if (ofPeer < MAX_REQUESTS_PER_PEER && requests.length < MAX_REQUESTS) return;
    const saw = `has ${ofPeer} requests of ${printable(from.host)} in progress, and ${requests.length} of all`;
    throw this.#busy(from, saw);
  }

  #assertRoomForStream(from: Peer): void {
    if (this.#isClosing) throw stopping();
    const streams = [...this.#streams.values()];
    const ofPeer = streams.filter(({ call }) => call.from.id === from.id).length;
    if (ofPeer < MAX_STREAMS_PER_PEER && streams.length < MAX_STREAMS) return;
    throw this.#busy(from, `has ${ofPeer} streams open for ${printable(from.host)}, and ${streams.length} in all`);
  }

  /** What is said of a stream that is not there any more has to be heard: its caller waits for what comes next. */
  #takeCredit({ of, to, until }: Extract<ForCallee, { type: "credit" }>, from: Peer): void {
    if (to !== this.#transport.self.id) return;
    const stream = this.#streams.get(of);
    if (stream === undefined) {
      const { host } = this.#transport.self;
      const message = `the manager on ${printable(host)} has ended the stream, and its end was lost on the way`;
      this.#refuse(of, from, new CommandError("unreachable", message, { isLost: true, host }));
    } else if (stream.call.from.id === from.id) {
      stream.granted(until);
    }
  }

  #takeCancel({ of, to }: Extract<ForCallee, { type: "cancel" }>, from: Peer): void {
    const call = this.#calls.get(of);
    if (to !== this.#transport.self.id || call?.from.id !== from.id) return;
    call.abandon(`the manager on ${printable(from.host)} does not wait for it any more`);
  }

  // ---- What is said to those who asked

  /** One that is too long, say: then that is what there is to know. */
  async #answer(call: IncomingCall, answer: Reply, isReading: boolean): Promise<void> {
    const passing = await this.#tell(call, answer);
    if (passing?.type !== "not-sent") return;
    const message = `its answer cannot be sent: ${passing.reason}`;
    const failure = isReading
      ? new CommandError("unreachable", message)
      : new CommandError("unconfirmed", `it was done, and ${message}`);
    await this.#tell(call, problemOf(call.id, failure));
  }

  async #tell(call: IncomingCall, reply: Reply): Promise<Passing | undefined> {
    if (!call.isWanted) return undefined;
    const passing = await this.#send(call.from, reply);
    if (passing.type === "not-sent" || passing.type === "unconfirmed") this.#warnNotSent(call.from, passing.reason);
    return passing;
  }

  #failed(call: IncomingCall, asked: WireRequest["call"], error: unknown): Reply {
    if (error instanceof NotHeldError) return { type: "misdirected", of: call.id, holds: false };
    // What was stopped by its signal rejects in ways of its own; the signal knows why.
    const { signal } = call;
    const failure: unknown = signal.aborted && !(error instanceof CommandError) ? signal.reason : error;
    if (refusalOf(failure).isBug) {
      const request = asked.kind === "api" ? asked.asked.endpoint : asked.name;
      this.#log.error("peer-request-failed", { peer: call.from.host, request, error: failure });
    }
    return problemOf(call.id, failure);
  }

  #refuse(id: string, from: Peer, failure: CommandError): void {
    void this.#send(from, problemOf(id, failure));
  }

  async #sendOf(stream: IncomingStream, message: ForCaller): Promise<void> {
    const passing = await this.#send(stream.call.from, message);
    if (passing.type === "not-sent" || passing.type === "unconfirmed") stream.lost(passing.reason);
  }

  /** A sign to those who follow a stream in which nothing happens; and one that cannot be told is gone. */
  #showLife(): void {
    for (const stream of this.#streams.values()) stream.look();
    const callers = new Map([...this.#streams.values()].map(({ call: { from } }) => [from.id, from]));
    for (const from of callers.values()) void this.#send(from, { type: "alive" });
  }

  async #send(to: Peer, message: ForCaller): Promise<Passing> {
    const passing = await this.#transport.send({ type: "manager", id: to.id }, message, REPLY_EXPIRES_MS);
    if (passing.type === "nobody") this.gone(to.id);
    return passing;
  }

  #warnNotSent({ host }: Peer, reason: string): void {
    const news = this.#notSent.take(performance.now());
    if (news !== undefined) this.#log.warn("peer-answer-not-sent", { peer: host, reason, ...news });
  }

  /** The log says so, too. */
  #busy({ host }: Peer, saw: string): CommandError {
    const reason = `the manager on ${printable(this.#transport.self.host)} ${saw}; try again`;
    const news = this.#refused.take(performance.now());
    if (news !== undefined) this.#log.warn("peer-request-refused", { peer: host, reason, ...news });
    return new CommandError("unreachable", reason);
  }

  /** Of what has begun, nobody can say that nothing was done. */
  #stoppingInTheMiddle(): CommandError {
    const { host } = this.#transport.self;
    return new CommandError("unreachable", `the manager on ${printable(host)} stops`, { isLost: true, host });
  }

  #otherClock(from: Peer, saw: string): CommandError {
    const hosts = `${printable(from.host)} and ${printable(this.#transport.self.host)}`;
    return new CommandError("unreachable", `the request ${saw}; are the clocks of ${hosts} the same?`);
  }
}

/** Nothing was done. */
function stopping(): CommandError {
  return new CommandError("unreachable", "the manager stops; try again");
}

function inSeconds(ms: number): number {
  return Math.ceil(ms / 1000);
}

function problemOf(id: string, failure: unknown): Extract<ForCaller, { type: "problem" }> {
  const { code, detail, details } = refusalOf(failure).problem;
  return { type: "problem", of: id, problem: { code, detail, ...(details !== undefined && { details }) } };
}

/** The VM that is asked for, as far as what was not checked says. */
function vmIn(call: WireRequest["call"]): string | undefined {
  const { params, query } = call.kind === "api" ? call.asked : { params: call.params, query: undefined };
  const vm = memberOf(params, "vm") ?? memberOf(query, "vm");
  const [named] = Array.isArray(vm) ? (vm as unknown[]) : [vm];
  const id = memberOf(named, "id") ?? named;
  return typeof id === "string" ? id.toLowerCase() : undefined;
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
