/** A TCP connection to a broker that can end or fall silent in the middle, as cables and firewalls do. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { AmqpBroker } from "../../../../manager/amqp/broker.ts";

export class CuttableWire {
  readonly #server: Server;
  readonly #target: AmqpBroker;
  readonly #sockets = new Set<Socket>();
  #isFrozen = false;

  private constructor(target: AmqpBroker) {
    this.#target = target;
    this.#server = createServer((near) => {
      this.#connect(near);
    });
  }

  static async to(target: AmqpBroker): Promise<CuttableWire> {
    const wire = new CuttableWire(target);
    wire.#server.listen(0, "127.0.0.1");
    await once(wire.#server, "listening");
    return wire;
  }

  /** The broker, seen through the wire. */
  get broker(): AmqpBroker {
    return { ...this.#target, port: (this.#server.address() as AddressInfo).port };
  }

  get address(): string {
    return `127.0.0.1:${this.broker.port}`;
  }

  /** Both ends are told; whoever connects again gets through. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Nobody is told anything, now and whenever somebody connects. */
  freeze(): void {
    this.#isFrozen = true;
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  #connect(near: Socket): void {
    const far = connect(this.#target.port, this.#target.host);
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        this.#sockets.delete(socket);
      });
    }
    if (!this.#isFrozen) near.pipe(far).pipe(near);
  }
}
