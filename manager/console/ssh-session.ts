/** A `session` channel (RFC 4254, section 6) as a session of the console. */
import { on } from "node:events";
import type { ServerChannel } from "ssh2";
import type { Session } from "./shell.ts";

/** What is handed to ssh2 at once; it makes packets of it, without asking whether anybody takes them. */
const PIECE_BYTES = 16 * 1024;

/** The connection below, as a session needs it. */
export interface Transport {
  /** Something came from the client that shows a person or a program at work. */
  noteInput(): void;
  /** Settles when what was written so far, `bytes` more of it now, is on its way, or the signal is aborted. */
  sent(bytes: number, gone: AbortSignal): Promise<void>;
}

export class SshSession implements Session {
  readonly newline: "\n" | "\r\n";
  readonly #channel: ServerChannel;
  readonly #transport: Transport;
  readonly #gone = new AbortController();

  constructor(channel: ServerChannel, transport: Transport, { hasTerminal }: { hasTerminal: boolean }) {
    this.newline = hasTerminal ? "\r\n" : "\n";
    this.#channel = channel;
    this.#transport = transport;
    // A channel's end is heard of by its session and its connection; what is written after it is lost.
    channel.on("error", () => undefined);
    channel.stderr.on("error", () => undefined);
  }

  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** What the client sent and nobody read. */
  get unreadBytes(): number {
    return this.#channel.readableLength;
  }

  async *input(): AsyncGenerator<Uint8Array> {
    const chunks = on(this.#channel, "data", {
      signal: this.gone,
      close: ["end"],
      highWaterMark: 1,
      lowWaterMark: 1,
    });
    try {
      for await (const [chunk] of chunks as AsyncIterable<[Uint8Array]>) {
        this.#transport.noteInput();
        yield chunk;
      }
    } catch (error) {
      if (!this.gone.aborted) throw error;
    }
  }

  async write(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length && !this.gone.aborted; at += PIECE_BYTES) {
      const piece = bytes.subarray(at, at + PIECE_BYTES);
      await this.#taken(piece);
      await this.#transport.sent(piece.length, this.gone);
    }
  }

  /** Says the last word, without waiting for the client, and gives up what runs. */
  dismiss(reason: string): void {
    if (this.gone.aborted) return;
    if (this.#channel.writable) this.#channel.stderr.write(`${this.newline}${reason}${this.newline}`);
    this.#gone.abort();
  }

  /** The client closed the channel, or the connection is lost. */
  lose(): void {
    this.#gone.abort();
  }

  end(exitCode: number): void {
    if (!this.#channel.writable) return;
    this.#channel.exit(exitCode);
    this.#channel.end();
  }

  /** ssh2 never calls back for what it could not write to a channel that was closed, and throws when all is lost. */
  #taken(piece: Buffer): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        this.gone.removeEventListener("abort", settle);
        resolve();
      };
      this.gone.addEventListener("abort", settle);
      try {
        this.#channel.write(piece, settle);
      } catch {
        this.#gone.abort();
      }
    });
  }
}
