/** A listening Unix socket: every client is a channel. For the programs in the guest, and in place of a port in tests and containers. */
import { chmodSync, chownSync } from "node:fs";
import { unlink } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { on, once } from "node:events";
import { socketChannel } from "../../shared/channels/unix-socket.ts";
import type { Channel, ChannelSource } from "../../shared/channel.ts";

export interface SocketRights {
  /** Permission bits. */
  mode: number;
  uid?: number | undefined;
  gid?: number | undefined;
}

/** Another agent answers there. */
export class SocketInUseError extends Error {
  override readonly name = "SocketInUseError";
}

/**
 * Listens at `path`, in place of a socket that a killed agent left behind. The rights are in force before the first
 * client can connect. Throws SocketInUseError when somebody listens there.
 */
export async function listenUnixSocket(path: string, rights: SocketRights): Promise<Server> {
  await removeStaleSocket(path);
  const server = createServer({ pauseOnConnect: true });
  const restoreUmask = process.umask(0o777);
  try {
    // Binding happens inside this call, so the socket is born without any rights.
    server.listen(path);
  } finally {
    process.umask(restoreUmask);
  }
  await once(server, "listening");
  // Without a wait: root needs no rights to connect, and a client that came meanwhile would find nobody to serve it.
  if (rights.uid !== undefined || rights.gid !== undefined) {
    chownSync(path, rights.uid ?? process.getuid?.() ?? 0, rights.gid ?? process.getgid?.() ?? 0);
  }
  chmodSync(path, rights.mode);
  return server;
}

/** Throws SocketInUseError when somebody listens there. */
export async function removeStaleSocket(path: string): Promise<void> {
  const probe = connect(path);
  try {
    await once(probe, "connect");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return;
    if (code !== "ECONNREFUSED") throw error;
    await unlink(path);
    return;
  } finally {
    probe.destroy();
  }
  throw new SocketInUseError(`${path}: another agent listens there`);
}

/** One client at a time, the next one waits: what a VM's socket does on the host. */
export function unixSocketSource(path: string, rights: SocketRights = { mode: 0o600 }): ChannelSource {
  return {
    name: `unix:${path}`,
    async *arrivals(signal): AsyncGenerator<Channel> {
      const server = await listenUnixSocket(path, rights);
      try {
        for await (const [socket] of on(server, "connection", { signal }) as AsyncIterable<[Socket]>) {
          const left = new Promise((resolve) => socket.once("close", resolve));
          yield socketChannel(socket, path);
          socket.destroy();
          await left;
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        server.close();
      }
    },
  };
}
