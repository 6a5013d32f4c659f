/**
 * The manager's end of one VM's channel: connects, greets, mirrors the keys, and does so again through everything that can
 * happen to a VM. It tells its owner of changes of state, not of attempts.
 */
import { pause } from "../../shared/abort.ts";
import type { LinkState, ChangeMethod } from "../../shared/api/schemas.ts";
import { findHolder, type Holder, holderInWords } from "../../shared/channel-holder.ts";
import { type Channel, ChannelClosedError } from "../../shared/channel.ts";
import { connectUnixSocket } from "../../shared/channels/unix-socket.ts";
import { systemCode } from "../../shared/cli/failure.ts";
import { Client, DEFAULT_TIMEOUT_MS } from "../../shared/client.ts";
import { NoAnswerError } from "../../shared/peer.ts";
import { RemoteProtocolError, RequestError } from "../../shared/protocol/errors.ts";
import type { HelloResult, NotificationParams, Params, Result } from "../../shared/protocol/message.ts";
import type { Notification, Request } from "../../shared/protocol/session.ts";
import { type Probe, unknown } from "../monitor/probe.ts";
import { Retries } from "../retries.ts";
import type { AgentFacts } from "../store/store.ts";
import { WakeUp } from "../wake-up.ts";
import { compareGreeting, type Finding, hasGoneBack } from "./guest-history.ts";
import type { Mirror } from "./mirror.ts";
import { type Allowance, type Meter, meteredChannel, TokenBucket } from "./throttle.ts";

/** Nothing heard for so long means a question: an agent beats every 10 seconds unless told otherwise. */
const QUIET_MS = 30_000;

/** Before a first answer is missed long enough to ask the kernel who has the channel. */
const LOOK_FOR_HOLDER_AFTER_MS = 1_000;

/** Between greetings of an agent that does not answer: one that starts announces itself, so this is for the rest. */
const GREET_AGAIN_MS = 30_000;

/**
 * Greetings nobody reads lie in the channel until somebody does. After so many the channel is opened anew, which drops
 * them, so that they do not pile up behind a guest that is hung.
 */
const MAX_UNREAD_GREETINGS = 100;

/** Between attempts to connect. */
const RECONNECT = { firstMs: 100, longestMs: 10_000 };

/** A time-out that comes so late says that this host is busy, and nothing of the guest. Not measured. */
const LATE_MS = 500;

/** A guest that breaks the protocol is left alone for so long. */
const MISBEHAVED_PAUSE_MS = 60_000;

/** A guest that starts anew, goes back in time, or ends our watch, again and again, does not keep us busy. */
const BEGIN_AGAIN_MS = 1_000;

export interface LinkStatus {
  state: LinkState;
  reason?: string | undefined;
  holder?: Holder | undefined;
}

/** Whom a link serves. */
export interface LinkOwner {
  statusChanged(status: LinkStatus): void;
  /** The agent was greeted and its keys are watched; what it said before is in the link's facts until this returns. */
  greeted(facts: AgentFacts, findings: Finding[]): void;
  /** The mirror has taken a batch; `isLate` when it tells what happened before the guest was watched. */
  mirrored(batch: NotificationParams<"changed">, isLate: boolean): void;
  /** A program in the guest fetched what a message set. */
  read(messageId: string): void;
  /** Keeps a message of the guest's queue. What it rejects with is told the guest; it is sent again then. */
  received(request: GuestMessage): Promise<void>;
  /** The guest said something that is no sound frame or breaks the protocol. */
  refusedFrame(reason: string): void;
}

export type GuestMessage = Extract<Request, { method: "event" | "acknowledge" | "report" }>;

export interface LinkOptions {
  path: string;
  mirror: Mirror;
  known: AgentFacts | undefined;
  owner: LinkOwner;
  meter: Meter;
  /** Bytes a guest may send. */
  allowance: Allowance;
  /** Messages of its queue that a guest may send: each costs a write to disk. */
  messageAllowance: Allowance;
  answerTimeoutMs?: number;
}

export class Link {
  readonly #options: LinkOptions;
  readonly #bucket: TokenBucket;
  readonly #messageBucket: TokenBucket;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #client: Client | undefined;
  #status: LinkStatus = { state: "connecting" };
  #facts: AgentFacts | undefined;
  /** The agent answered on this very connection: it is served, and what is silent on it is the guest. */
  #isAnswered = false;
  /** The agent said that it ends: until it is greeted again it need not answer. */
  #hasStopped = false;
  /** What the guest says is read no sooner, in milliseconds of the monotonic clock: it says more than it may. */
  #heldBackUntil = 0;
  /** Whoever waits for a sign of life. */
  #onGreeted: () => void = () => undefined;
  /** The greeting whose guest is watched. */
  #begun: HelloResult | undefined;
  #wantsNewEpoch = false;
  /** What the guest tells up to this revision happened before it was watched. */
  #missedUpTo = Infinity;
  #heardAt: number | undefined;
  /** Why the channel was closed on a guest that breaks the protocol. */
  #misbehaviour: RemoteProtocolError | undefined;
  /** Of the watch whose batches count. */
  #watchId = 0;
  readonly #news = new WakeUp();

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#facts = options.known;
    this.#bucket = new TokenBucket(options.allowance);
    this.#messageBucket = new TokenBucket(options.messageAllowance);
  }

  get status(): LinkStatus {
    return this.#status;
  }

  get facts(): AgentFacts | undefined {
    return this.#facts;
  }

  /** When bytes last came from the guest, ms since 1970. */
  get heardAt(): number | undefined {
    return this.#heardAt;
  }

  start(): void {
    this.#running ??= this.#run(this.#stopping.signal);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#news.call();
    await this.#client?.close();
    await this.#running;
  }

  /** The agent's end of the port was opened, or something else makes an answer likely now. */
  nudge(): void {
    this.#news.call();
  }

  /** Asks the guest. Rejects with RequestError when it refuses, with NoAnswerError when no answer comes or the link is not up. */
  read<M extends "get" | "list" | "ping" | "info" | "stats">(method: M, params: Params<M>): Promise<Result<M>> {
    return this.#whileUp((client) => client.read(method, params));
  }

  /** Sends a change, again under its messageId while no answer comes, for as long as the link's time-out. */
  change<M extends ChangeMethod>(method: M, params: Params<M>): Promise<Result<M>> {
    return this.#whileUp((client) => client.change(method, params));
  }

  /**
   * Whether the guest lives. Any answer within the time says so, also to a greeting that was under way. Only silence on a
   * connection on which the agent answered before is a miss, and only where we listened. One at a time. Never rejects.
   */
  async probe(timeoutMs: number, signal: AbortSignal): Promise<Probe> {
    const client = this.#client;
    if (client === undefined || !this.#isAnswered) return this.#notAnswered();
    if (this.#hasStopped) return unknown("the agent was told to end", true);
    const heardBefore = this.#heardAt;
    const startedAt = performance.now();
    const probe = await this.#pulse(client, timeoutMs, signal);
    if (probe.type !== "missed") return probe;
    if (client !== this.#client) return unknown("the channel was closed");
    if (performance.now() - startedAt > timeoutMs + LATE_MS) return unknown("this host is too busy to tell");
    if (this.#heldBackUntil > startedAt) return unknown("the guest says more than it may, and is read later");
    if (this.#heardAt !== heardBefore) return unknown("the guest speaks, and has not answered yet");
    return probe;
  }

  #notAnswered(): Probe {
    const { state, reason = `the link is ${state}` } = this.#status;
    return unknown(reason, state === "silent");
  }

  async #pulse(client: Client, timeoutMs: number, signal: AbortSignal): Promise<Probe> {
    const { promise, resolve } = Promise.withResolvers<Probe>();
    this.#onGreeted = () => {
      resolve({ type: "answered" });
    };
    const giveUp = (): void => {
      resolve(unknown("the manager stops"));
    };
    client.once("ping", {}, timeoutMs).then(
      ({ applications = [] }) => {
        resolve({ type: "answered", applications });
      },
      (error: unknown) => {
        // It was there to refuse. What else fails is a miss when the time is over, or the answer to a greeting comes.
        if (error instanceof RequestError) resolve({ type: "answered" });
      },
    );
    const timer = setTimeout(() => {
      // What has come meanwhile is read first.
      setImmediate(resolve, { type: "missed" });
    }, timeoutMs);
    signal.addEventListener("abort", giveUp);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", giveUp);
      this.#onGreeted = () => undefined;
    }
  }

  async #whileUp<T>(work: (client: Client) => Promise<T>): Promise<T> {
    if (this.#client === undefined || this.#status.state !== "up") {
      throw new NoAnswerError(`the link is ${this.#status.state}`);
    }
    try {
      return await work(this.#client);
    } catch (error) {
      // A guest that is throttled is not read: that its channel has ended is seen later.
      if (error instanceof ChannelClosedError) throw new NoAnswerError("the channel was closed", { cause: error });
      throw error;
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    const retries = new Retries(RECONNECT);
    while (!signal.aborted) {
      const channel = await this.#connect(signal);
      if (channel !== undefined) {
        await this.#serve(channel, signal);
        retries.reset();
      }
      await (this.#misbehaviour === undefined ? retries.wait(signal) : pause(MISBEHAVED_PAUSE_MS, signal));
      this.#misbehaviour = undefined;
    }
    this.#setStatus({ state: "off" });
  }

  async #connect(signal: AbortSignal): Promise<Channel | undefined> {
    const { path, meter } = this.#options;
    try {
      const channel = await connectUnixSocket(path, signal);
      const ours = { ...meter, received: this.#received, throttled: this.#throttled };
      return meteredChannel(channel, this.#bucket, ours, signal);
    } catch (error) {
      if (!signal.aborted) this.#setStatus(await whyNotConnected(error, path));
      return undefined;
    }
  }

  readonly #received = (bytes: number): void => {
    this.#heardAt = Date.now();
    this.#options.meter.received(bytes);
  };

  readonly #throttled = (pauseMs: number): void => {
    this.#heldBackUntil = performance.now() + pauseMs;
    this.#options.meter.throttled(pauseMs);
  };

  async #serve(channel: Channel, signal: AbortSignal): Promise<void> {
    const client = this.#openClient(channel);
    this.#client = client;
    this.#begun = undefined;
    this.#isAnswered = false;
    if (signal.aborted) await client.close();
    await Promise.race([client.ended, this.#attend(client)]);
    this.#client = undefined;
    // Told before the channel is closed: nothing more is sent on a link that is known to be gone.
    this.#setStatus(this.#statusAfter(signal));
    this.#news.call();
    await client.close();
  }

  #statusAfter(signal: AbortSignal): LinkStatus {
    if (signal.aborted) return { state: "off" };
    if (this.#misbehaviour === undefined) return { state: "connecting", reason: "the channel was closed" };
    return { state: "down", reason: `the guest breaks the protocol: ${this.#misbehaviour.message}` };
  }

  #openClient(channel: Channel): Client {
    return new Client(channel, {
      role: "host",
      timeoutMs: this.#options.answerTimeoutMs ?? DEFAULT_TIMEOUT_MS,
      hello: () => ({
        accepts: ["event", "acknowledge", "report"],
        ...(this.#wantsNewEpoch && { newEpoch: true }),
      }),
      greeted: () => {
        this.#watchId = 0;
        this.#isAnswered = true;
        this.#hasStopped = false;
        this.#onGreeted();
        this.#news.call();
      },
      answer: (request) => this.#answer(request),
      notified: (notification) => {
        this.#notified(notification);
      },
      damaged: (damage) => {
        this.#options.owner.refusedFrame(damage);
      },
      violated: (error) => {
        this.#options.owner.refusedFrame(error.message);
      },
    });
  }

  /** Keeps the agent greeted and watched while the channel lasts. */
  async #attend(client: Client): Promise<void> {
    const { signal } = this.#stopping;
    for (let unread = 0; unread < MAX_UNREAD_GREETINGS && client === this.#client && !signal.aborted;) {
      try {
        const hello = await this.#greet(client);
        if (hello !== this.#begun) await this.#begin(client, hello);
        unread = 0;
        await pause(BEGIN_AGAIN_MS, signal);
        const hasNews = await this.#news.wait(QUIET_MS, signal);
        if (!hasNews && this.#isQuiet()) await client.read("ping", {});
      } catch (error) {
        if (client !== this.#client) return;
        unread += 1;
        await this.#silence(error, client);
        if (client !== this.#client) return;
        // Behind another client our greetings lie unread; one that is answered must not be long past its time.
        if (this.#status.state !== "held") await this.#news.wait(GREET_AGAIN_MS, signal);
        client.greetAnew();
      }
    }
  }

  async #greet(client: Client): Promise<HelloResult> {
    if (this.#begun !== undefined) return client.hello();
    const early = setTimeout(() => {
      void this.#lookForHolder(client);
    }, LOOK_FOR_HOLDER_AFTER_MS);
    try {
      return await client.hello();
    } finally {
      clearTimeout(early);
    }
  }

  /** Finds out which past this guest has, and watches its keys from where they are known. */
  async #begin(client: Client, hello: HelloResult): Promise<void> {
    const { owner, mirror } = this.#options;
    this.#missedUpTo = Infinity;
    const { uptimeMs } = await client.read("ping", {});
    const findings = compareGreeting(this.#facts, hello, uptimeMs);
    if (findings.includes("reverted") && hello.epoch === mirror.cursor.epoch && !this.#wantsNewEpoch) {
      this.#wantsNewEpoch = true;
      client.greetAnew();
      hello = await client.hello();
      findings.push(...compareGreeting(this.#facts, hello, uptimeMs).filter((finding) => !findings.includes(finding)));
    }
    this.#wantsNewEpoch = false;
    const since = findings.includes("reverted") ? undefined : mirror.resumeFrom;
    const { epoch, revision } = await client.read("watch", since === undefined ? {} : { since });
    mirror.guestIsAt({ epoch, revision });
    this.#missedUpTo = revision;
    this.#begun = hello;
    this.#hasStopped = false;
    this.#facts = factsOf(hello, uptimeMs);
    owner.greeted(this.#facts, findings);
    this.#setStatus({ state: "up" });
  }

  #notified({ method, params }: Notification): void {
    const { owner } = this.#options;
    switch (method) {
      case "changed":
        this.#mirror(params);
        return;
      case "read":
        owner.read(params.messageId);
        return;
      case "heartbeat":
        this.#heartbeat(params);
        return;
      case "watchEnded":
        // Begins again, which watches from where the mirror is.
        this.#begun = undefined;
        this.#news.call();
        return;
      case "stopping":
        this.#agentStops();
        return;
      case "ready":
        return;
    }
  }

  /** Until it, or the next, is greeted. */
  #agentStops(): void {
    this.#hasStopped = true;
    this.#begun = undefined;
    this.#setStatus({ state: "silent", reason: "the agent was told to end" });
  }

  #mirror(batch: NotificationParams<"changed">): void {
    const { owner, mirror } = this.#options;
    // A request to watch whose answer was late was repeated: the last of the watches counts.
    if (batch.watch < this.#watchId) return;
    if (batch.watch > this.#watchId) mirror.abandonSnapshot();
    this.#watchId = batch.watch;
    try {
      mirror.apply(batch, Date.now());
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error;
      owner.refusedFrame(error.message);
      this.#misbehaviour = error;
      void this.#client?.close();
      return;
    }
    // Of a snapshot in pieces the mirror knows nothing before the last.
    if (this.#facts?.epoch === mirror.cursor.epoch) {
      this.#facts = { ...this.#facts, revision: Math.max(this.#facts.revision, mirror.cursor.revision) };
    }
    owner.mirrored(batch, batch.revision <= this.#missedUpTo);
  }

  /** A machine that is reverted under a session keeps the session, and tells by its clock. */
  #heartbeat(beat: NotificationParams<"heartbeat">): void {
    const facts = this.#facts;
    if (facts === undefined || this.#begun === undefined) return;
    if (hasGoneBack(facts, beat)) this.#client?.greetAnew();
    else this.#facts = { ...facts, uptimeMs: beat.uptimeMs };
  }

  async #answer(request: Request): Promise<unknown> {
    if (request.method !== "event" && request.method !== "acknowledge" && request.method !== "report") {
      throw new RequestError("unknown-method", `'${request.method}' is not for a host`);
    }
    const pauseMs = this.#messageBucket.take(1);
    if (pauseMs > 0) {
      this.#options.meter.throttled(pauseMs);
      await pause(pauseMs, this.#stopping.signal);
    }
    await this.#options.owner.received(request);
    return {};
  }

  async #silence(error: unknown, client: Client): Promise<void> {
    const { path } = this.#options;
    const holder = await findHolder(path);
    // Meanwhile the channel may have ended, and the next one be up.
    if (client !== this.#client) return;
    if (holder !== undefined) this.#setStatus(heldStatus(holder));
    else this.#setStatus({ state: "silent", reason: whySilent(error) });
  }

  async #lookForHolder(client: Client): Promise<void> {
    const holder = await findHolder(this.#options.path);
    if (holder !== undefined && client === this.#client && this.#begun === undefined) {
      this.#setStatus(heldStatus(holder));
    }
  }

  #isQuiet(): boolean {
    return Date.now() - (this.#heardAt ?? 0) >= QUIET_MS;
  }

  #setStatus(status: LinkStatus): void {
    const { state, reason } = this.#status;
    if (state === status.state && reason === status.reason) return;
    this.#status = status;
    this.#options.owner.statusChanged(status);
  }
}

function factsOf(hello: HelloResult, uptimeMs: number): AgentFacts {
  const { software, uuid, bootId, nonce, epoch, revision, clonedFrom } = hello;
  const limitBytes = hello.limits.cache;
  return { software, uuid, bootId, nonce, epoch, revision, uptimeMs, clonedFrom, limitBytes, greetedAt: Date.now() };
}

function heldStatus(holder: Holder): LinkStatus {
  return { state: "held", reason: `the channel is held by ${holderInWords(holder)}`, holder };
}

function whySilent(error: unknown): string {
  if (error instanceof RequestError) return error.message;
  return "no agent answers; is vmmessage's agent installed and running in the guest?";
}

async function whyNotConnected(error: unknown, path: string): Promise<LinkStatus> {
  switch (systemCode(error)) {
    case "EAGAIN": {
      const holder = await findHolder(path);
      return heldStatus(holder ?? {});
    }
    case "ENOENT":
      return { state: "down", reason: `the channel's socket ${path} does not exist` };
    case "ECONNREFUSED":
      return { state: "down", reason: `nobody listens on ${path}` };
    case "EACCES":
    case "EPERM":
      return { state: "down", reason: `not permitted to open ${path}; the manager needs to be in its group` };
    default:
      return { state: "down", reason: `cannot connect to ${path}: ${String(error)}` };
  }
}
