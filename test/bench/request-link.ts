/**
 * One side of a conversation in requests and answers, one at a time, measured. The programs that are compared share this
 * code, so that what the host itself takes is the same for all: a socket, a write, the parsing of the answer.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Method, Params } from "../../shared/protocol/message.ts";
import { OpenerSession } from "../../shared/protocol/session.ts";
import { newNonce } from "../../shared/random.ts";
import { software } from "../../shared/version.ts";

/** No answer takes that long, unless the other side has died. */
const ANSWER_TIMEOUT_MS = 30_000;

interface Waiting {
  writtenAt: number;
  resolve: (roundTripMs: number) => void;
  reject: (error: Error) => void;
}

export class RequestLink {
  readonly #socket: Socket;
  #waiting: Waiting | undefined;

  /** @param hasAnswer takes what arrives; true when the last request's answer is there, whole and parsed */
  constructor(socket: Socket, hasAnswer: (chunk: Buffer) => boolean) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      try {
        if (hasAnswer(chunk)) this.#settle();
      } catch (error) {
        this.#fail(error as Error);
      }
    });
    socket.on("error", () => undefined); // a close always follows
    socket.on("close", () => {
      this.#fail(new Error("the socket was closed"));
    });
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => {
      this.#fail(new Error(`no answer within ${ANSWER_TIMEOUT_MS} ms`));
    });
  }

  /** From the write to the parsed answer. */
  roundTripMs(request: Buffer): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting = { writtenAt: performance.now(), resolve, reject };
      this.#socket.write(request);
    });
  }

  async close(): Promise<void> {
    if (this.#socket.closed) return;
    const closed = once(this.#socket, "close");
    this.#socket.destroy();
    await closed;
  }

  #settle(): void {
    if (this.#waiting !== undefined) this.#waiting.resolve(performance.now() - this.#waiting.writtenAt);
    this.#waiting = undefined;
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }
}

async function connectTo(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, "connect");
  return socket;
}

/** A host's session with an agent, open from the start. */
export class AgentLink {
  readonly #session: OpenerSession;
  readonly #link: RequestLink;
  #lastId = "";

  private constructor(socket: Socket) {
    this.#session = new OpenerSession({ role: "host", software, makeNonce: newNonce });
    this.#link = new RequestLink(socket, (chunk) => this.#hasAnswer(chunk));
  }

  static async open(path: string): Promise<AgentLink> {
    const link = new AgentLink(await connectTo(path));
    await link.#ask(link.#session.hello());
    return link;
  }

  roundTripMs<M extends Exclude<Method, "hello">>(method: M, params: Params<M>): Promise<number> {
    return this.#ask(this.#session.request(method, params));
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  #ask({ id, bytes }: { id: string; bytes: Buffer }): Promise<number> {
    this.#lastId = id;
    return this.#link.roundTripMs(bytes);
  }

  #hasAnswer(chunk: Buffer): boolean {
    let isAnswered = false;
    for (const event of this.#session.receive(chunk)) {
      if (event.type === "refused") throw event.error;
      isAnswered ||= event.type === "result" && event.id === this.#lastId;
    }
    return isAnswered;
  }
}

type JsonObject = Record<string, unknown>;

/** JSON objects, each on a line: qemu-ga's dialect, and what an echo is sent. */
export class LineLink {
  readonly #link: RequestLink;
  #unfinishedLine = "";
  #lastAnswer: JsonObject = {};

  private constructor(socket: Socket) {
    this.#link = new RequestLink(socket, (chunk) => this.#hasAnswer(chunk));
  }

  static async open(path: string): Promise<LineLink> {
    return new LineLink(await connectTo(path));
  }

  async roundTripMs(request: JsonObject): Promise<number> {
    const roundTripMs = await this.#link.roundTripMs(Buffer.from(`${JSON.stringify(request)}\n`));
    if ("error" in this.#lastAnswer) throw new Error(`refused: ${JSON.stringify(this.#lastAnswer)}`);
    return roundTripMs;
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  #hasAnswer(chunk: Buffer): boolean {
    const lines = (this.#unfinishedLine + chunk.toString()).split("\n");
    this.#unfinishedLine = lines.pop() ?? "";
    for (const line of lines) this.#lastAnswer = JSON.parse(line) as JsonObject;
    return lines.length > 0;
  }
}
