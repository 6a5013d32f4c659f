/** An agent in memory: a few requests over a real session and cache, on a port that outlives it. */
import type { Channel } from "../../shared/channel.ts";
import { memoryChannels } from "../../shared/channels/memory.ts";
import { Peer } from "../../shared/peer.ts";
import { toWireEntry } from "../../shared/protocol/cache.ts";
import type { HelloParams, Params } from "../../shared/protocol/message.ts";
import { GuestSession, type HelloFacts, type Request } from "../../shared/protocol/session.ts";
import { at, HOST, KeptCache } from "./protocol/caches.ts";
import { EPOCH, FACTS } from "./protocol/sessions.ts";

/** As a virtio port: whoever opens it reads on where the one before stopped, and the host's end notices nothing. */
class Port {
  readonly #outside: Channel;
  #inside: Channel | undefined;

  constructor(outside: Channel) {
    this.#outside = outside;
    void this.#deliver();
  }

  open(): Channel {
    void this.#inside?.close();
    const [inside, opened] = memoryChannels();
    this.#inside = inside;
    void this.#send(inside);
    return opened;
  }

  async #deliver(): Promise<void> {
    for await (const piece of this.#outside.incoming) await this.#inside?.write(piece);
    await this.#inside?.close();
  }

  async #send(inside: Channel): Promise<void> {
    for await (const piece of inside.incoming) await this.#outside.write(piece);
  }
}

export class MemoryAgent {
  readonly kept = new KeptCache();
  readonly hellos: HelloParams[] = [];
  /** Of the changes that arrived, repetitions too. */
  readonly messageIds: string[] = [];
  readonly #port: Port;
  #starts = 0;
  #peer: Peer<GuestSession> | undefined;

  constructor(channel: Channel) {
    this.#port = new Port(channel);
  }

  get session(): GuestSession {
    return this.peer.session;
  }

  get peer(): Peer<GuestSession> {
    if (this.#peer === undefined) throw new Error("the agent is not started");
    return this.#peer;
  }

  /** Starts it, or kills it and starts it again: the cache is kept, the session forgotten. */
  async start(options: { isReadySaid?: boolean } = {}): Promise<void> {
    const agentNonce = (10 + (this.#starts % 6)).toString(16).repeat(16);
    this.#starts += 1;
    const onHello = (hello: HelloParams): HelloFacts => {
      this.hellos.push(hello);
      return { ...FACTS, ...this.kept.current.cursor };
    };
    const session = new GuestSession({ role: "host", agentNonce, onHello });
    this.#peer = new Peer(session, this.#port.open(), { answer: (request) => this.answer(request) });
    void this.#peer.run();
    if (options.isReadySaid !== false) await this.#peer.channel.write(session.ready());
  }

  /** A test puts in another one to be slow or wrong. */
  answer = (request: Request): Promise<unknown> => Promise.resolve(this.perform(request));

  perform(request: Request): unknown {
    switch (request.method) {
      case "set":
        return this.#set(request.params);
      case "get":
        return { epoch: EPOCH, entry: toWireEntry(this.kept.current.get(request.params.key), at(0)) };
      case "ping":
        return { uptimeMs: 1 };
      default:
        throw new Error(`${request.method} is not played here`);
    }
  }

  #set(params: Params<"set">): unknown {
    this.messageIds.push(params.messageId);
    return this.kept.change((cache) => cache.set(params, HOST, at(0)));
  }
}
