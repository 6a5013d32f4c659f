import { type JsonObject, JsonSocket } from "./json-socket.ts";
import { waitFor } from "./wait-for.ts";

export interface ExecResult {
  /** 128 + the signal's number for a program that a signal ended, as a shell has it. */
  exitCode: number;
  stdout: string;
  stderr: string;
}

export interface ExecOptions {
  input?: string | Buffer;
  timeoutMs?: number;
  /** How often to ask whether it has ended: asking slows an emulated guest down. */
  pollMs?: number;
}

interface ExecStatus {
  exited: boolean;
  exitcode?: number;
  signal?: number;
  "out-data"?: string;
  "err-data"?: string;
}

const syncIntervalMs = 200;
/** Files below /proc/sys refuse to be read with a buffer of 4 MiB. */
const readChunkBytes = 1024 * 1024;
const openTimeoutMs = 30_000;

/** A client of qemu-guest-agent, see https://www.qemu.org/docs/master/interop/qemu-ga-ref.html. */
export class QgaClient {
  readonly #socket: JsonSocket;
  #lastSync = Math.floor(Math.random() * 1e9);

  private constructor(socket: JsonSocket) {
    this.#socket = socket;
  }

  static async connect(path: string): Promise<QgaClient> {
    return new QgaClient(await JsonSocket.connect(path));
  }

  execute(command: string, args?: JsonObject, timeoutMs = openTimeoutMs): Promise<unknown> {
    return this.#socket.execute(command, args, timeoutMs);
  }

  /** Asks until the agent answers: what is sent while it is down, starting or in the middle of a line gets lost. */
  async sync(timeoutMs: number): Promise<void> {
    const first = this.#lastSync + 1;
    let isSynced = false;
    const hasAnswered = () => {
      this.#socket.failIfClosed();
      return isSynced;
    };
    this.#socket.onMessage = (message) => {
      isSynced ||= typeof message["return"] === "number" && message["return"] >= first;
    };
    const ask = () => {
      const id = ++this.#lastSync;
      const request = JSON.stringify({ execute: "guest-sync-delimited", arguments: { id } });
      this.#socket.write(Buffer.concat([Buffer.of(0xff), Buffer.from(`${request}\n`)]));
    };
    const timer = setInterval(ask, syncIntervalMs);
    try {
      ask();
      await waitFor("an answer from qemu-ga", hasAnswered, { timeoutMs });
    } finally {
      clearInterval(timer);
    }
  }

  /** Starts a program in the guest and returns its process id there. */
  async spawn([path, ...arg]: string[], input?: string | Buffer): Promise<number> {
    const inputData = input === undefined ? {} : { "input-data": Buffer.from(input).toString("base64") };
    const answer = await this.execute("guest-exec", { path, arg, "capture-output": true, ...inputData });
    return (answer as { pid: number }).pid;
  }

  /** Waits for the end of a program that `spawn` started; its result can be fetched once. */
  async waitForExit(pid: number, timeoutMs = 60_000, intervalMs = 20): Promise<ExecResult> {
    const status = await waitFor(
      `the end of process ${pid} in the guest`,
      async () => {
        const current = (await this.execute("guest-exec-status", { pid })) as ExecStatus;
        return current.exited && current;
      },
      { timeoutMs, intervalMs },
    );
    return {
      exitCode: status.exitcode ?? 128 + (status.signal ?? 0),
      stdout: decode(status["out-data"]).toString(),
      stderr: decode(status["err-data"]).toString(),
    };
  }

  async readFile(path: string): Promise<Buffer> {
    const handle = await this.execute("guest-file-open", { path, mode: "r" });
    try {
      const chunks: Buffer[] = [];
      for (let isAtEnd = false; !isAtEnd;) {
        const answer = await this.execute("guest-file-read", { handle, count: readChunkBytes });
        const { eof, "buf-b64": data } = answer as { eof: boolean; "buf-b64": string };
        chunks.push(decode(data));
        isAtEnd = eof;
      }
      return Buffer.concat(chunks);
    } finally {
      await this.execute("guest-file-close", { handle });
    }
  }

  async writeFile(path: string, content: string | Buffer): Promise<void> {
    const handle = await this.execute("guest-file-open", { path, mode: "w" });
    try {
      await this.execute("guest-file-write", { handle, "buf-b64": Buffer.from(content).toString("base64") });
    } finally {
      await this.execute("guest-file-close", { handle });
    }
  }

  close(): void {
    this.#socket.close();
  }
}

function decode(base64 = ""): Buffer {
  return Buffer.from(base64, "base64");
}
