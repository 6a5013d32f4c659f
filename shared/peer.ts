/** A session on a channel: the only place where the protocol's bytes meet the event loop and its timers. */
import type { Channel } from "./channel.ts";
import { type RemoteProtocolError, RequestError, unreachable } from "./protocol/errors.ts";
import type { Damage } from "./protocol/frame.ts";
import type { HelloParams, HelloResult, Method, Params, Result } from "./protocol/message.ts";
import type { GuestSession, Notification, OpenerSession, Request, SessionEvent } from "./protocol/session.ts";

/** Requests of the other side worked on at a time; while there are more, its bytes are not read. Not measured. */
const MAX_REQUESTS_IN_WORK = 64;

/** What a peer tells its owner. All of them are optional but the answers to requests. */
export interface PeerEvents {
  /** Answers a request of the other side. A RequestError it throws is sent; any other is our bug and sent as `internal`. */
  answer(request: Request): Promise<unknown>;
  opened?(hello: HelloParams | HelloResult): void;
  peerRestarted?(): void;
  notified?(notification: Notification): void;
  damaged?(damage: Damage): void;
  violated?(error: RemoteProtocolError): void;
  /** An error that is our own fault. */
  failed?(error: unknown): void;
}

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
}

/** No answer came: the time was up, the channel ended, or the other side started anew. It may have acted all the same. */
export class NoAnswerError extends Error {
  override readonly name = "NoAnswerError";
}

export class Peer<S extends GuestSession | OpenerSession> {
  readonly session: S;
  readonly channel: Channel;
  readonly #events: PeerEvents;
  readonly #waiting = new Map<string, Waiting>();
  #inWork = 0;
  #hasEnded = false;
  #workDone: () => void = () => undefined;

  constructor(session: S, channel: Channel, events: PeerEvents) {
    this.session = session;
    this.channel = channel;
    this.#events = events;
  }

  /** The channel has ended: no answer will come any more. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Reads until the channel ends; rejects when it breaks. Whoever waits for an answer then hears that none will come. */
  async run(): Promise<void> {
    try {
      for await (const chunk of this.channel.incoming) {
        for (const event of this.session.receive(chunk)) {
          const writing = this.#handle(event);
          if (writing) await writing;
          while (this.#inWork >= MAX_REQUESTS_IN_WORK) await this.#someWorkDone();
        }
      }
    } finally {
      this.#hasEnded = true;
      this.#abandon("the channel ended before the answer came");
    }
  }

  /** Sends a request and waits. Rejects with RequestError when it is refused, with NoAnswerError when no answer comes. */
  request<M extends Exclude<Method, "hello">>(method: M, params: Params<M>, timeoutMs: number): Promise<Result<M>> {
    return this.ask(this.session.request(method, params), method, timeoutMs) as Promise<Result<M>>;
  }

  /** Sends a request that the session has made already, and waits for its answer. */
  async ask({ id, bytes }: { id: string; bytes: Buffer }, method: string, timeoutMs: number): Promise<unknown> {
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    // Rejections are handled by whoever awaits the race below; this keeps an early one from counting as unhandled.
    answer.catch(() => undefined);
    const { promise: timeUp, reject: giveUp } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      giveUp(new NoAnswerError(`no answer to ${method} within ${timeoutMs} ms`));
    }, timeoutMs);
    try {
      await Promise.race([this.channel.write(bytes), timeUp]);
      return await Promise.race([answer, timeUp]);
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
      this.session.forget(id);
    }
  }

  /** Ends all waiting for answers, as a new session does. */
  abandonRequests(reason: string): void {
    this.#abandon(reason);
  }

  /** What it returns has to be waited for before more is read: the other side shall not make us write faster than it reads. */
  #handle(event: SessionEvent): Promise<void> | undefined {
    switch (event.type) {
      case "send":
        return this.channel.write(event.bytes);
      case "opened":
        // A host that greets knows nothing of what was asked before; the guest's own answer to it is no reason to give up.
        if (event.hello.role !== "guest") this.#abandon("the other side greeted anew before it answered");
        this.#events.opened?.(event.hello);
        return undefined;
      case "peer-restarted":
        this.#abandon("the agent started anew before it answered");
        this.#events.peerRestarted?.();
        return undefined;
      case "request":
        void this.#work(event.request);
        return undefined;
      case "result":
        this.#waiting.get(event.id)?.resolve(event.result);
        return undefined;
      case "refused":
        this.#waiting.get(event.id)?.reject(event.error);
        return undefined;
      case "notification":
        this.#events.notified?.(event.notification);
        return undefined;
      case "damaged":
        this.#events.damaged?.(event.damage);
        return undefined;
      case "violation":
        this.#events.violated?.(event.error);
        return undefined;
      default:
        unreachable(event);
    }
  }

  async #work(request: Request): Promise<void> {
    this.#inWork += 1;
    const session = this.session.session;
    try {
      const bytes = await this.#answerBytes(request);
      if (this.session.session === session) await this.channel.write(bytes);
    } catch {
      // The channel is gone and with it whoever asked; its end is reported by run().
    } finally {
      this.#inWork -= 1;
      this.#workDone();
    }
  }

  async #answerBytes(request: Request): Promise<Buffer> {
    try {
      const result = (await this.#events.answer(request)) as Result<Method>;
      return this.session.result(request, result);
    } catch (error) {
      if (error instanceof RequestError) return this.session.error(request, error);
      this.#events.failed?.(error);
      return this.session.error(request, new RequestError("internal", "the other side failed; its log says why"));
    }
  }

  #someWorkDone(): Promise<void> {
    return new Promise((resolve) => {
      this.#workDone = resolve;
    });
  }

  #abandon(reason: string): void {
    for (const { reject } of this.#waiting.values()) reject(new NoAnswerError(reason));
    this.#waiting.clear();
  }
}
