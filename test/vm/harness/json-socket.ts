import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { waitFor, withTimeout } from "./wait-for.ts";

export type JsonObject = Record<string, unknown>;

interface Reply extends JsonObject {
  id?: number;
  return?: unknown;
  error?: { class: string; desc: string };
}

interface Pending {
  command: string;
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

/** The dialect that QEMU's monitor and its guest agent share: a line with a JSON object each way, matched by `id`. */
export class JsonSocket {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #unfinishedLine = "";
  /** Gets what is not the answer to a request. */
  onMessage: (message: JsonObject) => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", () => undefined); // a close always follows
    socket.on("close", () => {
      this.#abandonPending();
    });
    socket.setEncoding("utf8").on("data", (text: string) => {
      this.#receive(text);
    });
  }

  /** Waits until the socket is there: QEMU makes it some time after its start. */
  static async connect(path: string): Promise<JsonSocket> {
    const socket = await waitFor(`a connection to ${path}`, () => tryToConnect(path), { timeoutMs: 10_000 });
    return new JsonSocket(socket);
  }

  async execute(command: string, args: JsonObject = {}, timeoutMs = 30_000): Promise<unknown> {
    const id = ++this.#lastId;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject });
    });
    this.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    try {
      return await withTimeout(`an answer to ${command}`, answer, timeoutMs);
    } finally {
      this.#pending.delete(id);
    }
  }

  write(bytes: string | Buffer): void {
    if (this.#socket.destroyed) this.#abandonPending();
    else this.#socket.write(bytes);
  }

  /** For those who wait for something that is not an answer. */
  failIfClosed(): void {
    if (this.#socket.destroyed) throw new Error("QEMU closed the socket");
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(text: string): void {
    const lines = (this.#unfinishedLine + text).split("\n");
    this.#unfinishedLine = lines.pop() ?? "";
    for (const line of lines) this.#receiveLine(line);
  }

  /** A line may follow the rest of one that a reset cut off; U+FFFD is the 0xFF that qemu-ga sends to part them. */
  #receiveLine(line: string): void {
    const message = parseObject(line.slice(line.lastIndexOf("\uFFFD") + 1));
    if (message === undefined) return;
    const pending = this.#pending.get(message.id ?? -1);
    if (pending === undefined) this.onMessage(message);
    else if (message.error === undefined) pending.resolve(message.return);
    else pending.reject(new Error(`${pending.command}: ${message.error.desc} (${message.error.class})`));
  }

  #abandonPending(): void {
    for (const { command, reject } of this.#pending.values()) reject(new Error(`${command}: QEMU closed the socket`));
  }
}

async function tryToConnect(path: string): Promise<Socket | undefined> {
  const socket = connect(path);
  return once(socket, "connect").then(
    () => socket,
    () => undefined,
  );
}

function parseObject(text: string): Reply | undefined {
  try {
    return JSON.parse(text) as Reply;
  } catch {
    return undefined;
  }
}
