/**
 * A VM's chardev between a manager and an agent: one host at a time; the agent's end stays open when a host goes, and the
 * host's when the agent goes. It sees the frames and can hold back an answer that has left the side that gave it, or cut
 * the host off in the middle of a request. It finds frames by itself, not with the code under test.
 */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Between attempts to reach an agent that is away. */
const RECONNECT_MS = 20;

/** What stands before a frame's payload: 0x1E, eight digits, a space. */
const HEAD_BYTES = 10;
const LINE_FEED = 0x0a;

interface Message {
  id?: string;
  method?: string;
  params?: { messageId?: string };
  result?: unknown;
}

/** An answer that was given and has not arrived. */
export interface HeldAnswer {
  result: unknown;
  /** Hands it to whoever is at that end now. */
  release: () => void;
}

type End = "host" | "guest";

export class Relay implements AsyncDisposable {
  readonly path: string;
  readonly #directory: string;
  readonly #agentPath: string;
  readonly #server: Server;
  #host: Socket | undefined;
  #guest: Socket | undefined;
  #isClosed = false;
  #reconnecting: NodeJS.Timeout | undefined;
  readonly #requests: { id: string; method: string; messageId: string | undefined }[] = [];
  readonly #toHold = new Map<string, (held: HeldAnswer) => void>();
  readonly #toCut = new Map<string, () => void>();

  private constructor(directory: string, agentPath: string) {
    this.#directory = directory;
    this.path = join(directory, "channel");
    this.#agentPath = agentPath;
    this.#server = createServer((host) => {
      this.#attach(host);
    });
  }

  static async start(agentPath: string): Promise<Relay> {
    const relay = new Relay(await mkdtemp(join(tmpdir(), "vmm-relay-")), agentPath);
    relay.#server.listen(relay.path);
    await once(relay.#server, "listening");
    relay.#reach();
    return relay;
  }

  /** How often a request with this messageId passed, whole. */
  attempts(messageId: string): number {
    return this.#requests.filter((request) => request.messageId === messageId).length;
  }

  /** Settles when the answer to the next request of this method has been given; it goes no further. */
  holdAnswer(method: string): Promise<HeldAnswer> {
    return new Promise((resolve) => this.#toHold.set(method, resolve));
  }

  /** Settles when the host was cut off in the middle of its next request of this method. */
  cutRequest(method: string): Promise<void> {
    return new Promise((resolve) => this.#toCut.set(method, resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#reconnecting);
    this.#host?.destroy();
    this.#guest?.destroy();
    this.#server.close();
    await rm(this.#directory, { recursive: true, force: true });
  }

  #attach(host: Socket): void {
    this.#host?.destroy();
    this.#host = host;
    this.#pass(host, "host", () => this.#guest);
  }

  #reach(): void {
    const guest = connect(this.#agentPath);
    guest.on("connect", () => {
      this.#guest = guest;
    });
    guest.on("close", () => {
      this.#guest = undefined;
      if (this.#isClosed) return;
      this.#reconnecting = setTimeout(() => {
        this.#reach();
      }, RECONNECT_MS);
    });
    this.#pass(guest, "guest", () => this.#host);
  }

  /** What a side that went had begun to say reaches the other. */
  #pass(from: Socket, end: End, to: () => Socket | undefined): void {
    let rest: Buffer = Buffer.alloc(0);
    from.on("error", () => undefined);
    from.on("data", (chunk: Buffer) => {
      const bytes = Buffer.concat([rest, chunk]);
      const wholeUpTo = bytes.lastIndexOf(LINE_FEED) + 1;
      rest = bytes.subarray(wholeUpTo);
      for (const frame of framesIn(bytes.subarray(0, wholeUpTo))) this.#passFrame(frame, from, to);
    });
    if (end === "host") from.on("close", () => to()?.write(rest));
  }

  #passFrame(frame: Buffer, from: Socket, to: () => Socket | undefined): void {
    const message = messageIn(frame);
    const { id, method } = message;
    if (from.destroyed) return;
    if (method !== undefined && this.#cut(method, frame, from, to)) return;
    if (id !== undefined && method !== undefined) {
      this.#requests.push({ id, method, messageId: message.params?.messageId });
    }
    if (method === undefined && this.#hold(message, frame, to)) return;
    to()?.write(frame);
  }

  #cut(method: string, frame: Buffer, from: Socket, to: () => Socket | undefined): boolean {
    const wasCut = this.#toCut.get(method);
    if (wasCut === undefined) return false;
    this.#toCut.delete(method);
    to()?.write(frame.subarray(0, frame.length / 2));
    from.destroy();
    wasCut();
    return true;
  }

  #hold({ id, result }: Message, frame: Buffer, to: () => Socket | undefined): boolean {
    const method = this.#requests.find((request) => request.id === id)?.method ?? "";
    const isHeld = this.#toHold.get(method);
    if (isHeld === undefined) return false;
    this.#toHold.delete(method);
    isHeld({ result, release: () => to()?.write(frame) });
    return true;
  }
}

/** Each with its line feed. */
function framesIn(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let from = 0; from < bytes.length;) {
    const end = bytes.indexOf(LINE_FEED, from) + 1;
    frames.push(bytes.subarray(from, end));
    from = end;
  }
  return frames;
}

function messageIn(frame: Buffer): Message {
  const payload = frame.subarray(HEAD_BYTES).toString().trim();
  return payload === "" ? {} : (JSON.parse(payload) as Message);
}
