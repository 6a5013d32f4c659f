import { type JsonObject, JsonSocket } from "./json-socket.ts";
import { withTimeout } from "./wait-for.ts";

export interface QmpEvent {
  event: string;
  data: JsonObject;
}

type Listener = (event: QmpEvent) => void;

/** A client of QEMU's monitor, see https://www.qemu.org/docs/master/interop/qmp-spec.html. */
export class QmpClient {
  readonly #socket: JsonSocket;
  readonly #listeners = new Set<Listener>();

  private constructor(socket: JsonSocket) {
    this.#socket = socket;
    socket.onMessage = (message) => {
      if (typeof message["event"] === "string") this.#announce(message["event"], (message["data"] ?? {}) as JsonObject);
    };
  }

  static async connect(path: string): Promise<QmpClient> {
    const client = new QmpClient(await JsonSocket.connect(path));
    await client.execute("qmp_capabilities");
    return client;
  }

  execute(command: string, args?: JsonObject, timeoutMs?: number): Promise<unknown> {
    return this.#socket.execute(command, args, timeoutMs);
  }

  /** Resolves at the next such event; call it before the command that causes the event. */
  async waitForEvent(
    name: string,
    accepts: (data: JsonObject) => boolean = () => true,
    timeoutMs = 30_000,
  ): Promise<QmpEvent> {
    const { promise, resolve } = Promise.withResolvers<QmpEvent>();
    const listener: Listener = (event) => {
      if (event.event === name && accepts(event.data)) resolve(event);
    };
    this.#listeners.add(listener);
    try {
      return await withTimeout(`the event ${name}`, promise, timeoutMs);
    } finally {
      this.#listeners.delete(listener);
    }
  }

  close(): void {
    this.#socket.close();
  }

  #announce(event: string, data: JsonObject): void {
    for (const listener of this.#listeners) listener({ event, data });
  }
}
