/**
 * A client of QEMU's machine protocol (https://www.qemu.org/docs/master/interop/qmp-spec.html) on a Unix socket. QEMU may be
 * hostile or hang: everything it sends is bounded and everything asked of it has a time-out.
 */
import * as z from "zod/mini";
import type { Channel } from "../../shared/channel.ts";
import { connectUnixSocket } from "../../shared/channels/unix-socket.ts";
import { RemoteProtocolError } from "../../shared/protocol/errors.ts";
import { linesOf } from "./lines.ts";

/** The longest answers asked for here are lists of devices, some kilobytes. */
const MAX_LINE_BYTES = 1024 * 1024;

/** QEMU answers in milliseconds, later while it saves or loads a VM. */
const COMMAND_TIMEOUT_MS = 10_000;

const MAX_MESSAGE_LENGTH = 500;

const greeting = z.object({ QMP: z.object({ version: z.unknown(), capabilities: z.array(z.unknown()) }) });
const answer = z.object({
  id: z.int(),
  return: z.optional(z.unknown()),
  error: z.optional(z.object({ class: z.string(), desc: z.string() })),
});
const announcement = z.object({
  event: z.string(),
  data: z._default(z.record(z.string(), z.unknown()), {}),
  timestamp: z.object({ seconds: z.number(), microseconds: z.number() }),
});

/** What QEMU announces by itself. */
export interface QmpEvent {
  /** `SHUTDOWN`, `RESET`, `VSERPORT_CHANGE` ... */
  name: string;
  data: Record<string, unknown>;
  /** Milliseconds since 1970, by QEMU's clock. */
  at: number;
}

/** QEMU refused a command. */
export class QmpCommandError extends Error {
  override readonly name = "QmpCommandError";
}

/** QEMU did not answer in time: it hangs, or is about to do what it was asked. */
export class QmpTimeoutError extends Error {
  override readonly name = "QmpTimeoutError";
}

/** The connection ended, at QEMU's end or at ours. */
export class QmpClosedError extends Error {
  override readonly name = "QmpClosedError";
}

export interface QmpOptions {
  signal: AbortSignal;
  onEvent: (event: QmpEvent) => void;
  commandTimeoutMs?: number;
}

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

export class QmpClient implements AsyncDisposable {
  readonly #channel: Channel;
  readonly #onEvent: (event: QmpEvent) => void;
  readonly #commandTimeoutMs: number;
  readonly #waiting = new Map<number, Waiting>();
  readonly #greeted = Promise.withResolvers<undefined>();
  #lastId = 0;
  #end: Error | undefined;
  /** Settles when the connection is over; never rejects. */
  readonly ended: Promise<void>;

  private constructor(channel: Channel, { onEvent, commandTimeoutMs = COMMAND_TIMEOUT_MS }: QmpOptions) {
    this.#channel = channel;
    this.#onEvent = onEvent;
    this.#commandTimeoutMs = commandTimeoutMs;
    this.#greeted.promise.catch(() => undefined);
    this.ended = this.#receiveAll();
  }

  /**
   * Settles when QEMU takes commands. It serves one client on a socket: while there is another, this one waits for its
   * turn, without a time-out of its own. Rejects with the system's error when nobody listens, RemoteProtocolError when what
   * listens speaks no QMP, QmpClosedError when it went away. The signal closes the connection, now or later.
   */
  static async connect(path: string, options: QmpOptions): Promise<QmpClient> {
    const client = new QmpClient(await connectUnixSocket(path, options.signal), options);
    const close = (): void => void client.close();
    options.signal.addEventListener("abort", close);
    void client.ended.then(() => {
      options.signal.removeEventListener("abort", close);
    });
    try {
      await client.#greeted.promise;
      await client.execute("qmp_capabilities");
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  /** What the command returned. Rejects with QmpCommandError, QmpTimeoutError, or what ended the connection. */
  async execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    if (this.#end !== undefined) throw this.#end;
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const timer = setTimeout(() => {
      reject(new QmpTimeoutError(`no answer to ${command} within ${this.#commandTimeoutMs} ms`));
    }, this.#commandTimeoutMs);
    this.#waiting.set(id, { resolve, reject });
    try {
      this.#send({ execute: command, arguments: args, id });
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  async close(): Promise<void> {
    await this.#channel.close();
    await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Not waited for: the answer is, and a connection that is gone shows at the reading end. */
  #send(command: object): void {
    this.#channel.write(Buffer.from(`${JSON.stringify(command)}\n`)).catch(() => undefined);
  }

  async #receiveAll(): Promise<void> {
    const end = await this.#receiveLines();
    this.#end = end;
    this.#greeted.reject(end);
    for (const { reject } of this.#waiting.values()) reject(end);
    await this.#channel.close();
  }

  /** Answers what ended it. The system's errors (ECONNRESET: QEMU ended with something unread) are an end like any other. */
  async #receiveLines(): Promise<Error> {
    let cause: unknown;
    try {
      for await (const line of linesOf(this.#channel.incoming, MAX_LINE_BYTES)) this.#receive(line);
    } catch (error) {
      if (error instanceof RemoteProtocolError) return error;
      cause = error;
    }
    return new QmpClosedError("QEMU closed the connection", { cause });
  }

  #receive(line: string): void {
    const message = parseJson(line);
    const answered = answer.safeParse(message);
    if (answered.success) {
      this.#settle(answered.data);
      return;
    }
    const announced = announcement.safeParse(message);
    if (announced.success) this.#announce(announced.data);
    else if (greeting.safeParse(message).success) this.#greeted.resolve(undefined);
    else throw new RemoteProtocolError("what listens there speaks no QMP");
  }

  #settle({ id, return: value, error }: z.infer<typeof answer>): void {
    const waiting = this.#waiting.get(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new QmpCommandError(error.desc.slice(0, MAX_MESSAGE_LENGTH)));
  }

  #announce({ event, data, timestamp }: z.infer<typeof announcement>): void {
    this.#onEvent({ name: event, data, at: timestamp.seconds * 1000 + Math.floor(timestamp.microseconds / 1000) });
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
