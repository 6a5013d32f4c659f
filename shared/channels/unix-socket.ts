/** A Unix stream socket as a channel: a VM's chardev socket on the host, an agent's socket in the guest. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type Channel, ChannelClosedError } from "../channel.ts";

class SocketChannel implements Channel {
  readonly name: string;
  readonly #socket: Socket;

  constructor(name: string, socket: Socket) {
    this.name = name;
    this.#socket = socket;
    // Errors reach the reader through the iterator; without a listener one between two reads would end the process.
    socket.on("error", () => undefined);
  }

  get incoming(): AsyncIterable<Uint8Array> {
    return this.#socket;
  }

  write(bytes: Uint8Array): Promise<void> {
    const socket = this.#socket;
    if (!socket.writable) return Promise.reject(new ChannelClosedError(`${this.name} is closed`));
    if (socket.write(bytes)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const onDrain = (): void => {
        socket.off("close", onClose);
        resolve();
      };
      const onClose = (): void => {
        socket.off("drain", onDrain);
        reject(new ChannelClosedError(`${this.name} was closed`));
      };
      socket.once("drain", onDrain);
      socket.once("close", onClose);
    });
  }

  async close(): Promise<void> {
    if (this.#socket.closed) return;
    const closed = once(this.#socket, "close");
    this.#socket.destroy();
    await closed;
  }
}

/** A socket that somebody else opened or accepted. */
export function socketChannel(socket: Socket, name: string): Channel {
  return new SocketChannel(name, socket);
}

/** Connects to a listening socket. Rejects with the system's error (ENOENT, ECONNREFUSED, EACCES). */
export async function connectUnixSocket(path: string, signal?: AbortSignal): Promise<Channel> {
  const socket = connect({ path });
  try {
    await once(socket, "connect", signal ? { signal } : {});
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return new SocketChannel(path, socket);
}
