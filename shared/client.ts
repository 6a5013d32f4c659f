/**
 * Asks an agent for things, from the host over a VM's channel or from a program in the guest over the agent's socket.
 * Greets, greets again when the agent was restarted, and repeats a change under its messageId, so that a lost answer
 * is asked for again and never leads to a second effect.
 */
import type { Channel } from "./channel.ts";
import { NoAnswerError, Peer } from "./peer.ts";
import { type RemoteProtocolError, RequestError } from "./protocol/errors.ts";
import type { Damage } from "./protocol/frame.ts";
import type { HelloParams, HelloResult, Method, Params, Result } from "./protocol/message.ts";
import { type Notification, type OpenerRole, OpenerSession, type Request } from "./protocol/session.ts";
import { newNonce } from "./random.ts";
import { software } from "./version.ts";

/** How long one attempt may take before it is made again: an emulated guest on a busy host answers within it. */
const ATTEMPT_MS = 2_000;

/** The time an agent has to answer, unless the user says otherwise. */
export const DEFAULT_TIMEOUT_MS = 10_000;

export type HelloOptions = Partial<Pick<HelloParams, "accepts" | "acknowledgeOf" | "newEpoch">>;

export interface ClientOptions {
  role: OpenerRole;
  /** Asked anew for each greeting when it is a function. */
  hello?: HelloOptions | (() => HelloOptions);
  timeoutMs?: number;
  /** Takes the guest's own requests, of those kinds that `hello.accepts` names. */
  answer?: (request: Request) => Promise<unknown>;
  notified?: (notification: Notification) => void;
  /** A greeting was answered: the first, or one after the agent was restarted or had forgotten the session. */
  greeted?: (hello: HelloResult) => void;
  damaged?: (damage: Damage) => void;
  violated?: (error: RemoteProtocolError) => void;
  /** The agent was restarted and greeted again: watches have to be set up anew. */
  restarted?: () => void;
}

type Change = "set" | "delete" | "clear" | "event" | "acknowledge" | "report";

export class Client {
  readonly #peer: Peer<OpenerSession>;
  readonly #options: ClientOptions;
  readonly #timeoutMs: number;
  /** Settles when the channel has ended, with the error that broke it if one did. */
  readonly ended: Promise<Error | undefined>;
  /** The greeting under way or done; none after one that failed. */
  #greeting: Promise<HelloResult> | undefined;
  #isGreeting = false;
  /** Whether a session was ever asked for: an agent that starts is not greeted before. */
  #isWanted = false;

  constructor(channel: Channel, options: ClientOptions) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#peer = new Peer(new OpenerSession({ role: options.role, software, makeNonce: newNonce }), channel, {
      answer: options.answer ?? refuse,
      notified: (notification) => options.notified?.(notification),
      opened: (hello) => {
        if (hello.role === "guest") options.greeted?.(hello);
      },
      damaged: (damage) => options.damaged?.(damage),
      violated: (error) => options.violated?.(error),
      peerRestarted: () => {
        if (this.#isWanted) this.#greetAgain();
      },
    });
    this.ended = this.#peer.run().then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
    );
  }

  /** The hello's answer. Rejects with NoAnswerError when the agent says nothing within the time-out. */
  hello(): Promise<HelloResult> {
    this.#isWanted = true;
    return this.#greeting ?? this.#startGreeting();
  }

  /** Opens a new session in the place of the present one: what waits for an answer asks again in it. */
  greetAnew(): void {
    this.#isWanted = true;
    this.#greetAgain();
  }

  /** Asks for something that changes nothing, as often as it takes within the time-out. */
  read<M extends Exclude<Method, "hello" | Change>>(method: M, params: Params<M>): Promise<Result<M>> {
    return this.#ask(method, params);
  }

  /** Asks for a change; a repetition carries the same messageId and gets the first answer. */
  change<M extends Change>(method: M, params: Params<M>): Promise<Result<M>> {
    return this.#ask(method, params);
  }

  /** Asks once, in the session that is open. Rejects with NoAnswerError, RequestError, and when none was ever asked for. */
  async once<M extends Exclude<Method, "hello" | Change>>(
    method: M,
    params: Params<M>,
    timeoutMs: number,
  ): Promise<Result<M>> {
    return this.#peer.request(method, params, timeoutMs);
  }

  async close(): Promise<void> {
    await this.#peer.channel.close();
    await this.ended;
  }

  async #ask<M extends Exclude<Method, "hello">>(method: M, params: Params<M>): Promise<Result<M>> {
    const deadline = performance.now() + this.#timeoutMs;
    // Once an attempt got no answer the request may have been acted on, however the later ones fail.
    let unanswered: NoAnswerError | undefined;
    for (;;) {
      try {
        await this.hello();
        return await this.#attempt(method, params, deadline);
      } catch (error) {
        if (error instanceof NoAnswerError) unanswered ??= error;
        if (error instanceof RequestError && !isSessionLost(error)) throw error;
        if (!isWorthRepeating(error) || this.#isOver(deadline)) throw unanswered ?? error;
      }
    }
  }

  async #attempt<M extends Exclude<Method, "hello">>(
    method: M,
    params: Params<M>,
    deadline: number,
  ): Promise<Result<M>> {
    const { session } = this.#peer.session;
    try {
      return await this.#peer.request(method, params, attemptMs(deadline));
    } catch (error) {
      if (isSessionLost(error) && this.#peer.session.session === session) this.#greetAgain();
      throw error;
    }
  }

  #startGreeting(): Promise<HelloResult> {
    const greeting = this.#greet();
    this.#greeting = greeting;
    greeting.catch(() => {
      if (this.#greeting === greeting) this.#greeting = undefined;
    });
    return greeting;
  }

  async #greet(): Promise<HelloResult> {
    const deadline = performance.now() + this.#timeoutMs;
    this.#isGreeting = true;
    try {
      for (;;) {
        try {
          const { hello: options } = this.#options;
          const hello = this.#peer.session.hello(typeof options === "function" ? options() : options);
          return (await this.#peer.ask(hello, "hello", attemptMs(deadline))) as HelloResult;
        } catch (error) {
          if (!isWorthRepeating(error) || this.#isOver(deadline)) throw error;
        }
      }
    } finally {
      this.#isGreeting = false;
    }
  }

  /** The agent knows nothing of this session. What waits for an answer is told so and asks again after the greeting. */
  #greetAgain(): void {
    this.#peer.abandonRequests("the agent was greeted again before it answered");
    if (this.#isGreeting) return;
    this.#startGreeting().then(this.#options.restarted, () => undefined);
  }

  #isOver(deadline: number): boolean {
    return this.#peer.hasEnded || performance.now() >= deadline;
  }
}

function attemptMs(deadline: number): number {
  return Math.min(ATTEMPT_MS, Math.max(deadline - performance.now(), 1));
}

function isSessionLost(error: unknown): boolean {
  return error instanceof RequestError && error.code === "no-session";
}

function isWorthRepeating(error: unknown): boolean {
  return error instanceof NoAnswerError || isSessionLost(error);
}

function refuse(request: Request): Promise<never> {
  return Promise.reject(new RequestError("not-permitted", `'${request.method}' is not taken here`));
}
