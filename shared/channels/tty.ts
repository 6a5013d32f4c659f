/**
 * A terminal line as a channel, through the package serialport: an ISA serial port or a virtconsole. It has no notion of
 * the other side being there, may echo, and may lose bytes; the frame's checksum and the senders' retries cover that.
 */
import { once } from "node:events";
import { SerialPort } from "serialport";
import { type Channel, ChannelClosedError } from "../channel.ts";

class TtyChannel implements Channel {
  readonly name: string;
  readonly #port: SerialPort;

  constructor(port: SerialPort) {
    this.name = port.path;
    this.#port = port;
    port.on("error", () => undefined);
  }

  get incoming(): AsyncIterable<Uint8Array> {
    return this.#port;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#port.isOpen) throw new ChannelClosedError(`${this.name} is closed`);
    if (!this.#port.write(bytes)) await once(this.#port, "drain");
  }

  async close(): Promise<void> {
    if (!this.#port.isOpen) return;
    const closed = once(this.#port, "close");
    this.#port.close();
    await closed;
  }
}

/** Opens a terminal line raw. `baudRate` is in bits a second and means nothing to a virtconsole. */
export async function openTty(path: string, baudRate = 115_200): Promise<Channel> {
  const port = new SerialPort({ path, baudRate, autoOpen: false, lock: true });
  await new Promise<void>((resolve, reject) => {
    port.open((error) => {
      if (error) reject(error);
      else resolve();
    });
  });
  return new TtyChannel(port);
}
