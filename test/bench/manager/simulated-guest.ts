/**
 * A guest without a machine: the agent's own session, watches and handlers behind a Unix socket, over a cache that has no
 * disk. It acknowledges every message to a host that takes that, and can be made to misbehave.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type { ApplicationHealth } from "../../../agent/applications/application-health.ts";
import { Access } from "../../../agent/daemon/access.ts";
import type { CacheStore } from "../../../agent/daemon/cache-store.ts";
import { Connection } from "../../../agent/daemon/connection.ts";
import type { KeyFiles } from "../../../agent/daemon/key-files.ts";
import type { OutgoingQueue } from "../../../agent/daemon/outgoing-queue.ts";
import type { AgentParts } from "../../../agent/handlers/context.ts";
import { DiskSpaces } from "../../../agent/stats/disk-space.ts";
import { type Channel, ChannelClosedError } from "../../../shared/channel.ts";
import { socketChannel } from "../../../shared/channels/unix-socket.ts";
import { NoAnswerError, type Peer } from "../../../shared/peer.ts";
import { Cache, type Entry } from "../../../shared/protocol/cache.ts";
import type { Params, WireEntry } from "../../../shared/protocol/message.ts";
import type { GuestSession } from "../../../shared/protocol/session.ts";
import { newMessageId, newNonce } from "../../../shared/random.ts";

/** The agent's own, unless its administrator says otherwise. */
const HEARTBEAT_MS = 10_000;

/** As the agent waits for a host to take a message before it sends that again. */
const DELIVERY_TIMEOUT_MS = 10_000;

/** A program in the guest sets so many keys in turn. */
const CHANGING_KEYS = 8;

/** A flood is made of pieces: sound frames that fill a cache, events that each ask for a write to disk, and noise. */
const FLOOD_BATCHES = 4;
const FLOOD_EVENTS = 4;
const FLOOD_NOISE_BYTES = 16 * 1024;
const FLOOD_KEYS = 16;
const FLOOD_VALUE_BYTES = 400;

export interface GuestCounters {
  /** Messages of the host that were done, each once however often it came. */
  done: number;
  /** Acknowledgements that the host has taken. */
  taken: number;
  /** Changes by a program in the guest. */
  changes: number;
  floodedBytes: number;
  /** Of the host, and the shortest and longest time between two of them, since these were forgotten. */
  pings: number;
  shortestPauseMs: number;
  longestPauseMs: number;
}

const NO_PINGS = { pings: 0, shortestPauseMs: Infinity, longestPauseMs: 0 };

const program = Access.local("program");

export class SimulatedGuest {
  readonly name: string;
  readonly #store: MemoryStore;
  readonly #parts: AgentParts;
  readonly #agentNonce = newNonce();
  readonly #server: Server;
  readonly #acknowledgements: Params<"acknowledge">[] = [];
  readonly #counters: GuestCounters = { done: 0, taken: 0, changes: 0, floodedBytes: 0, ...NO_PINGS };
  #connection: Connection | undefined;
  /** The host's session, once it said that it takes acknowledgements. */
  #taker: Connection | undefined;
  /** Of the last bytes written. */
  #written: Promise<void> = Promise.resolve();
  #isDelivering = false;
  #flood = new AbortController();
  #isReading = true;
  #isBeating = true;
  #pingedAt = 0;

  constructor(name: string) {
    this.name = name;
    this.#store = new MemoryStore((done) => {
      this.#counters.done += 1;
      this.#connection?.watches.update();
      this.#acknowledge(done);
    });
    this.#parts = partsOver(this.#store, () => {
      this.#countPing();
    });
    this.#server = createServer({ pauseOnConnect: true }, (socket) => void this.#serve(socket));
  }

  get counters(): GuestCounters {
    return { ...this.#counters };
  }

  /** Settles when a host can connect. */
  async listen(path: string): Promise<void> {
    this.#server.listen(path);
    await once(this.#server, "listening");
  }

  /** A program in the guest sets a key; settles when the channel can take more. */
  async change(): Promise<void> {
    const number = (this.#counters.changes += 1);
    const entries = [{ key: `com.example.counter.${number % CHANGING_KEYS}`, value: String(number) }];
    const { machine } = this.#parts;
    this.#store.cache.set({ messageId: `${this.name}.${number}`, entries }, program.caller, machine.now());
    this.#connection?.watches.update();
    await this.#written.catch(() => undefined);
  }

  /** Takes nothing more from its channel, as an agent does that hangs. */
  stopReading(): void {
    this.#isReading = false;
  }

  /** Neither reads nor says anything, as a machine that stands still. */
  hang(): void {
    this.stopReading();
    this.#isBeating = false;
  }

  forgetPings(): void {
    Object.assign(this.#counters, NO_PINGS);
  }

  /** Says as much as the channel takes, till {@link stopFlood}. */
  async flood(): Promise<void> {
    const { signal } = (this.#flood = new AbortController());
    while (!signal.aborted && this.#connection?.peer.session.session !== undefined) {
      const { peer } = this.#connection;
      const bytes = floodBytes(peer.session, this.#store.cache);
      await peer.channel.write(bytes).catch(() => undefined);
      this.#counters.floodedBytes += bytes.length;
      // The others of this process have their turn, however much the channel takes.
      await new Promise(setImmediate);
    }
  }

  stopFlood(): void {
    this.#flood.abort();
  }

  #countPing(): void {
    const now = performance.now();
    const pauseMs = now - this.#pingedAt;
    this.#pingedAt = now;
    this.#counters.pings += 1;
    if (this.#counters.pings === 1) return;
    this.#counters.shortestPauseMs = Math.min(this.#counters.shortestPauseMs, pauseMs);
    this.#counters.longestPauseMs = Math.max(this.#counters.longestPauseMs, pauseMs);
  }

  async #serve(socket: Socket): Promise<void> {
    const connection = new Connection(this.#watched(socketChannel(socket, this.name)), {
      parts: this.#parts,
      access: Access.host(this.name),
      agentNonce: this.#agentNonce,
      log: {
        failed: (error) => {
          throw error;
        },
      },
      opened: (hello) => {
        this.#taker = hello.accepts?.includes("acknowledge") === true ? connection : undefined;
        if (this.#taker !== undefined) void this.#deliver(this.#taker);
      },
    });
    this.#connection = connection;
    const heartbeat = setInterval(() => {
      this.#beat(connection);
    }, HEARTBEAT_MS);
    // A host that goes in the middle breaks the channel; the next one begins anew.
    await connection.serve().catch(() => undefined);
    clearInterval(heartbeat);
    socket.destroy();
    if (this.#connection === connection) this.#connection = undefined;
  }

  /** The channel, read while this guest reads. */
  #watched(channel: Channel): Channel {
    return {
      name: channel.name,
      incoming: this.#readable(channel.incoming),
      write: (bytes) => (this.#written = channel.write(bytes)),
      close: () => channel.close(),
    };
  }

  async *#readable(incoming: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of incoming) {
      if (!this.#isReading) await never;
      yield chunk;
    }
  }

  #beat({ peer }: Connection): void {
    if (peer.session.session === undefined || !this.#isBeating) return;
    const { uptimeMs } = this.#parts.machine.now();
    peer.channel
      .write(peer.session.notify("heartbeat", { uptimeMs, ...this.#store.cache.cursor }))
      .catch(() => undefined);
  }

  #acknowledge({ key, messageId }: Entry): void {
    if (this.#taker === undefined) return;
    this.#acknowledgements.push({ of: messageId, messageId: newMessageId(), key, result: this.name });
    void this.#deliver(this.#taker);
  }

  /** In order and one at a time; what the host has not answered stays. */
  async #deliver({ peer }: Connection): Promise<void> {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    try {
      for (let first = this.#acknowledgements[0]; first !== undefined; first = this.#acknowledgements[0]) {
        if (!(await isTaken(peer, first))) return;
        this.#acknowledgements.shift();
        this.#counters.taken += 1;
      }
    } finally {
      this.#isDelivering = false;
    }
  }
}

const never = new Promise<never>(() => undefined);

/** False when the host has gone. A host that refuses an acknowledgement is wrong: that is an error here. */
async function isTaken(peer: Peer<GuestSession>, params: Params<"acknowledge">): Promise<boolean> {
  while (!peer.hasEnded) {
    try {
      await peer.request("acknowledge", params, DELIVERY_TIMEOUT_MS);
      return true;
    } catch (error) {
      if (error instanceof ChannelClosedError) return false;
      if (!(error instanceof NoAnswerError)) throw error;
    }
  }
  return false;
}

/** What the agent's durable cache does, in memory. */
class MemoryStore implements Pick<CacheStore, "change" | "markRead" | "renewEpoch" | "report"> {
  readonly report = { lostSecrets: [] };
  readonly #done: (first: Entry) => void;
  cache = new Cache({ epoch: newNonce() });

  /** @param done called once for each message that set something, with the first entry of it */
  constructor(done: (first: Entry) => void) {
    this.#done = done;
  }

  change<R>(work: (cache: Cache) => R): Promise<R> {
    const next = this.cache.clone();
    const { revision } = next.cursor;
    const result = work(next);
    this.cache = next;
    const first = [...next.entries()].find((entry) => entry.revision > revision);
    if (first !== undefined) this.#done(first);
    return Promise.resolve(result);
  }

  markRead(key: string): boolean {
    return this.cache.markRead(key);
  }

  renewEpoch(): void {
    this.cache = this.cache.clone(newNonce());
  }
}

/** What the agent's handlers work with. Their classes keep to a disk; the handlers use no more of them than this. */
function partsOver(store: MemoryStore, pinged: () => void): AgentParts {
  const uuid = randomUUID();
  const bootId = randomUUID();
  return {
    machine: { uuid, bootId, now: () => ({ wallMs: Date.now(), uptimeMs: Math.round(performance.now()) }) },
    store: store as unknown as CacheStore,
    queue: { messages: [], setAside: undefined } as unknown as OutgoingQueue,
    keyFiles: { problems: new Map() } as unknown as KeyFiles,
    applications: { states: () => (pinged(), []), setAside: undefined } as unknown as ApplicationHealth,
    disks: new DiskSpaces(),
    hostLink: { channelName: "simulated", isHostAttached: true, damagedFrames: 0 },
    announceRead: () => undefined,
  };
}

function floodBytes(session: GuestSession, { cursor }: Cache): Buffer {
  const changes = Array.from({ length: FLOOD_KEYS }, (_, index) => floodEntry(index, cursor.revision));
  const batch = session.notify("changed", { watch: 1, ...cursor, more: false, resync: false, changes });
  const batches = Array.from({ length: FLOOD_BATCHES }, () => batch);
  const events = Array.from({ length: FLOOD_EVENTS }, () => eventBytes(session));
  return Buffer.concat([...batches, ...events, randomBytes(FLOOD_NOISE_BYTES)]);
}

function floodEntry(index: number, revision: number): WireEntry {
  const value = String.fromCharCode(97 + index).repeat(FLOOD_VALUE_BYTES);
  return { key: `flood.${index}`, value, setBy: "guest", setAt: new Date().toISOString(), ageMs: 0, revision };
}

/** Nobody waits for its answer. */
function eventBytes(session: GuestSession): Buffer {
  const { id, bytes } = session.request("event", { messageId: newMessageId(), event: "FLOOD", data: {} });
  session.forget(id);
  return bytes;
}
