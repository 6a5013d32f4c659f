/** The sockets on which programs in the guest reach the agent: root's own, and those that the configuration adds. */
import { mkdirSync } from "node:fs";
import type { Server, Socket } from "node:net";
import { dirname, join } from "node:path";
import { socketChannel } from "../../shared/channels/unix-socket.ts";
import { listenUnixSocket } from "../channel/unix-listener.ts";
import type { Config } from "../config.ts";
import type { AgentParts } from "../handlers/context.ts";
import type { Log } from "../../shared/log.ts";
import { SOCKET_NAME } from "../paths.ts";
import { Access } from "./access.ts";
import { Connection } from "./connection.ts";
import { numbersOf } from "../../shared/users.ts";

/** Clients on one socket; a further one is closed. Not measured: programs of one guest. */
const MAX_CLIENTS = 64;

export interface LocalSocketsOptions {
  runDirectory: string;
  sockets: Config["sockets"];
  agentNonce: string;
  log: Log;
}

export class LocalSockets {
  readonly #options: LocalSocketsOptions;
  readonly #servers: Server[] = [];
  readonly #connections = new Set<Connection>();

  constructor(options: LocalSocketsOptions) {
    this.#options = options;
  }

  /** Throws SocketInUseError when another agent serves one of them. */
  async listen(parts: AgentParts): Promise<void> {
    const { runDirectory, sockets } = this.#options;
    const rootSocket = join(runDirectory, SOCKET_NAME);
    await this.#listenAt(rootSocket, { mode: 0o600 }, Access.local(rootSocket), parts);
    for (const { path, mode, owner, group, ...rules } of sockets) {
      mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
      const rights = { mode, ...numbersOf({ owner, group }) };
      await this.#listenAt(path, rights, Access.local(path, rules), parts);
    }
  }

  /** The cache changed. */
  update(): void {
    for (const { watches } of this.#connections) watches.update();
  }

  /** Removes the sockets; whoever is connected is cut off. */
  async close(): Promise<void> {
    await Promise.all([...this.#connections].map(({ peer }) => peer.channel.close()));
    await Promise.all(
      this.#servers.map((server) => {
        return new Promise((resolve) => server.close(resolve));
      }),
    );
  }

  async #listenAt(
    path: string,
    rights: { mode: number; uid?: number | undefined; gid?: number | undefined },
    access: Access,
    parts: AgentParts,
  ): Promise<void> {
    const server = await listenUnixSocket(path, rights);
    let clients = 0;
    server.on("connection", (socket) => {
      if (clients >= MAX_CLIENTS) {
        socket.destroy();
        return;
      }
      clients += 1;
      void this.#serve(socket, access, parts).finally(() => {
        clients -= 1;
      });
    });
    this.#servers.push(server);
  }

  async #serve(socket: Socket, access: Access, parts: AgentParts): Promise<void> {
    const { log, agentNonce } = this.#options;
    const channel = socketChannel(socket, access.name);
    const connection = new Connection(channel, {
      parts,
      access,
      agentNonce,
      log: {
        violated: (error) => {
          log.warn("protocol-violation", { socket: access.name, reason: error.message });
        },
        failed: (error) => {
          log.error("request-failed", { socket: access.name, error });
        },
      },
    });
    this.#connections.add(connection);
    try {
      await connection.serve();
    } catch {
      // The program went away in the middle of something; that is its own affair.
    } finally {
      this.#connections.delete(connection);
      await channel.close();
    }
  }
}
