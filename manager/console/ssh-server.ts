/** The `OVM>` console over SSH: who may connect, and from where how often. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { CommandError, systemCode } from "../../shared/cli/failure.ts";
import type { Authenticator } from "../access/authenticator.ts";
import type { Log } from "../../shared/log.ts";
import type { Service } from "../service/service.ts";
import { openHostKey } from "./host-key.ts";
import { plainAddress } from "../plain-address.ts";
import { SshConnection } from "./ssh-connection.ts";

export interface ConsoleLimits {
  /** Connections at a time; each may hold a few MiB. */
  connections: number;
  /** Of those, from one address: one client cannot keep the others out. */
  connectionsPerAddress: number;
  /** To have logged in by then, from the connection on. */
  loginGraceMs: number;
  /** Without input for so long, a connection ends. */
  idleMs: number;
}

/** Not measured: a console has a handful of people, and scripts that come and go. */
const DEFAULT_LIMITS: ConsoleLimits = {
  connections: 64,
  connectionsPerAddress: 16,
  loginGraceMs: 30_000,
  idleMs: 15 * 60_000,
};

export interface ConsoleOptions {
  address: string;
  /** 0 for a free one. */
  port: number;
  /** Where the host key is kept. */
  stateDirectory: string;
  service: Service;
  authenticator: Authenticator;
  log: Log;
  limits?: Partial<ConsoleLimits>;
}

type Resolved = Omit<ConsoleOptions, "limits"> & { limits: ConsoleLimits; hostPrivateKey: string };

export class ConsoleServer {
  readonly #options: Resolved;
  readonly #connections = new Map<SshConnection, string>();
  readonly #server: Server;

  private constructor(options: Resolved) {
    this.#options = options;
    this.#server = createServer({ noDelay: true, keepAlive: true }, (socket) => {
      this.#admit(socket);
    });
    this.#server.maxConnections = options.limits.connections;
  }

  /** Resolves when clients can connect. Rejects with CommandError when the address or the host key cannot be used. */
  static async start(options: ConsoleOptions): Promise<ConsoleServer> {
    const { privateKey, fingerprint } = await openHostKey(options.stateDirectory);
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const server = new ConsoleServer({ ...options, limits, hostPrivateKey: privateKey });
    await server.#listen();
    options.log.info("console.listening", { address: options.address, port: server.port, hostKey: fingerprint });
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Says so to the sessions, ends them, and settles when all is closed: within seconds, whatever the clients do. */
  async close(): Promise<void> {
    const isClosed = this.#server.listening ? once(this.#server, "close") : Promise.resolve();
    this.#server.close();
    const connections = [...this.#connections.keys()];
    await Promise.all(connections.map((connection) => connection.close("the manager is shutting down")));
    await isClosed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #listen(): Promise<void> {
    const { address, port, log } = this.#options;
    try {
      this.#server.listen({ host: address, port });
      await once(this.#server, "listening");
    } catch (error) {
      const reason = systemCode(error) ?? String(error);
      throw new CommandError(
        "failed",
        `the console cannot listen on ${address} port ${port}: ${reason}`,
        {},
        { cause: error },
      );
    }
    this.#server.on("error", (error) => {
      log.error("console.accept-failed", { error });
    });
  }

  #admit(socket: Socket): void {
    const { remoteAddress } = socket;
    // Undefined when the client is gone already.
    const address = remoteAddress === undefined ? undefined : plainAddress(remoteAddress);
    if (address === undefined || this.#countFrom(address) >= this.#options.limits.connectionsPerAddress) {
      socket.destroy();
      return;
    }
    const { service, authenticator, log, hostPrivateKey, limits } = this.#options;
    const { loginGraceMs, idleMs } = limits;
    const options = { service, authenticator, log, hostPrivateKey, address, loginGraceMs, idleMs };
    const connection = new SshConnection(socket, options);
    this.#connections.set(connection, address);
    socket.once("close", () => this.#connections.delete(connection));
  }

  #countFrom(address: string): number {
    return [...this.#connections.values()].filter((each) => each === address).length;
  }
}
