/** HTTP/1.1 over a connection to the manager, kept for the command's next requests. */
import { Agent, type IncomingMessage, request as httpRequest } from "node:http";
import type { Duplex } from "node:stream";
import { CommandError, Interruption, systemCode } from "../../shared/cli/failure.ts";
import { software } from "../../shared/version.ts";
import type { ManagerAddress } from "../door.ts";
import { addressInWords, connectToManager, ManagerLostError, type Trust } from "./connect.ts";

/** The keys of a VM at its largest, or ten thousand VMs of a kilobyte each, several times over. Not measured. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

export interface HttpRequest {
  method: string;
  path: string;
  accept: "application/json" | "text/event-stream";
  body?: string | undefined;
}

export class HttpClient {
  readonly #address: ManagerAddress;
  readonly #authorization: string | undefined;
  readonly #agent: ConnectingAgent;

  constructor(address: ManagerAddress, trust: Trust, authorization: string | undefined) {
    this.#address = address;
    this.#authorization = authorization;
    this.#agent = new ConnectingAgent((signal) => connectToManager(address, trust, signal));
  }

  /** The answer's head, its body unread. Throws ManagerLostError when none comes, and whatever connecting throws. */
  async request({ method, path, accept, body }: HttpRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const request = httpRequest({
      agent: this.#agent.for(signal),
      signal,
      method,
      path,
      headers: {
        Host: this.#address.type === "socket" ? "localhost" : addressInWords(this.#address),
        "User-Agent": software,
        Accept: `${accept}, application/problem+json`,
        ...(this.#authorization !== undefined && { Authorization: this.#authorization }),
        ...(body !== undefined && { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) }),
      },
    });
    let isConnected = false;
    request.once("socket", () => (isConnected = true));
    return new Promise((resolve, reject) => {
      request.once("response", (response) => {
        // Whoever reads the body hears of it there; what breaks off between two reads must not end the process.
        response.on("error", () => undefined);
        resolve(response);
      });
      request.on("error", (error) => {
        reject(lost(error, signal, isConnected));
      });
      request.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/**
 * The body's pieces; throws ManagerLostError when it ends too early.
 * @param signal the one that it was requested with, which cuts it off
 */
export async function* readPieces(body: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    for await (const piece of body) yield piece as Buffer;
  } catch (error) {
    throw lost(error, signal, true);
  }
}

/** The whole body as text. Throws CommandError (failed) when it is longer than an answer can be. */
export async function readText(body: IncomingMessage, signal: AbortSignal, limit = MAX_ANSWER_BYTES): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of readPieces(body, signal)) {
    length += piece.length;
    if (length > limit) throw new CommandError("failed", `the manager's answer is over ${limit} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

/** Connects in its own way; node:http speaks over whatever it is given. */
class ConnectingAgent extends Agent {
  readonly #connect: (signal: AbortSignal) => Promise<Duplex>;
  #signal = new AbortController().signal;

  constructor(connect: (signal: AbortSignal) => Promise<Duplex>) {
    super({ keepAlive: true, maxSockets: 4 });
    this.#connect = connect;
  }

  /** A connection that the next request needs is given up with this signal. */
  for(signal: AbortSignal): this {
    this.#signal = signal;
    return this;
  }

  override createConnection(
    _options: unknown,
    callback?: (error: Error | null, connection: Duplex) => void,
  ): undefined {
    const done = callback as (error: Error | null, connection?: Duplex) => void;
    this.#connect(this.#signal).then(
      (connection) => {
        done(null, connection);
      },
      (error: unknown) => {
        done(error as Error);
      },
    );
  }
}

function lost(error: unknown, signal: AbortSignal, wasSent: boolean): Error {
  if (signal.reason instanceof Interruption) return signal.reason;
  if (error instanceof CommandError) return error;
  if (signal.aborted) return new ManagerLostError("the manager did not answer: the time is up", { wasSent });
  if (!systemCode(error)?.startsWith("HPE_")) {
    const message = "the connection to the manager was lost before it answered";
    return new ManagerLostError(message, { wasSent, cause: error });
  }
  return new CommandError("failed", "it does not answer as a vmmessage manager does: no HTTP", {}, { cause: error });
}
