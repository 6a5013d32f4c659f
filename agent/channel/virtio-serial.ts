/**
 * A virtio-serial port and its manners. One program may have it open. While no host is there it reads as ended and a
 * blocking write sleeps, so the agent learns of a host's arrival from a write of one line feed (which means nothing in the
 * protocol) that comes back: no polling, no delay. While a host is there the port is polled as any stream is.
 */
import { close as closeFd, constants, open as openFd, write as writeFd, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { pause } from "../../shared/abort.ts";
import { type Channel, ChannelClosedError, type ChannelSource } from "../../shared/channel.ts";
import { NOTHING } from "../../shared/protocol/frame.ts";
import { findPort } from "./find-port.ts";
import { PipeHandle, type PipeRead } from "./pipe-handle.ts";

/** How often to look for a port that is not there, or not ours: it is plugged in by a person. */
const LOOK_AGAIN_MS = 1_000;

/** When to try a write again that a host which is not reading holds up: twice as late each time, for each try costs. */
const WRITE_AGAIN_MS = 5;
const LONGEST_WRITE_AGAIN_MS = 200;

/** What the reader has not taken yet may grow to this before the port is left unread. */
const MAX_UNREAD_BYTES = 256 * 1024;

// Bare descriptors: a FileHandle closes its own when it is collected, and the pipe handle owns this one.
const open = promisify(openFd);
const write = promisify(writeFd);

/** What became of the port, for the log; told once a change. */
export type PortState =
  | { state: "absent"; name: string }
  | { state: "busy"; path: string; error: Error }
  | { state: "open"; path: string }
  | { state: "gone"; path: string; error: Error };

/** The port of that name, through hot-unplug and replug; one channel for each time a host is there. */
export function virtioPort(name: string, onState: (state: PortState) => void): ChannelSource {
  return {
    name: `virtio:${name}`,
    async *arrivals(signal): AsyncGenerator<Channel> {
      for await (const port of openings(name, onState, signal)) {
        try {
          for (;;) {
            await port.hostArrival();
            const channel = new VirtioChannel(port);
            yield channel;
            await channel.ended;
          }
        } catch (error) {
          onState({ state: "gone", path: port.path, error: error as Error });
        } finally {
          await port.close();
        }
      }
    },
  };
}

async function* openings(name: string, onState: (state: PortState) => void, signal: AbortSignal): AsyncGenerator<Port> {
  let said = "";
  const sayOnce = (state: PortState): void => {
    if (state.state !== said) onState(state);
    said = state.state;
  };
  while (!signal.aborted) {
    const location = await findPort(name);
    if (location === undefined) sayOnce({ state: "absent", name });
    else {
      try {
        const port = await Port.open(location.path);
        sayOnce({ state: "open", path: location.path });
        yield port;
        said = "";
      } catch (error) {
        sayOnce({ state: "busy", path: location.path, error: error as Error });
      }
    }
    await pause(LOOK_AGAIN_MS, signal);
  }
}

/** The open device. */
class Port {
  readonly path: string;
  readonly #fd: number;
  readonly #handle: PipeHandle;
  onRead: (read: PipeRead) => void = () => undefined;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
    this.#handle = PipeHandle.open(fd, (read) => {
      this.onRead(read);
    });
  }

  /** Rejects with EBUSY when another program has it. */
  static async open(path: string): Promise<Port> {
    const fd = await open(path, constants.O_RDWR | constants.O_NONBLOCK);
    try {
      return new Port(path, fd);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  /** Sleeps in the kernel until a host is there. Rejects when the port is unplugged. */
  async hostArrival(): Promise<void> {
    this.#handle.setBlocking(true);
    try {
      await write(this.#fd, NOTHING);
    } finally {
      this.#handle.setBlocking(false);
    }
  }

  startReading(): void {
    this.#handle.startReading();
  }

  stopReading(): void {
    this.#handle.stopReading();
  }

  /** Bytes that the port took now; 0 when it takes none. */
  write(bytes: Uint8Array): number {
    try {
      return writeSync(this.#fd, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return 0;
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** The port for as long as one host, or one following another, is there. */
class VirtioChannel implements Channel {
  readonly name: string;
  /** Settles when the host has left; rejects when the port is unplugged. */
  readonly ended: Promise<void>;
  readonly #port: Port;
  readonly #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #end: { error?: Error } | undefined;
  #wakeReader: () => void = () => undefined;
  #settleEnded: (error?: Error) => void = () => undefined;
  #waitingWrites = 0;
  #lastWrite: Promise<void> = Promise.resolve();

  constructor(port: Port) {
    this.name = port.path;
    this.#port = port;
    this.ended = new Promise((resolve, reject) => {
      this.#settleEnded = (error): void => {
        if (error) reject(error);
        else resolve();
      };
    });
    this.ended.catch(() => undefined);
    port.onRead = (read): void => {
      this.#take(read);
    };
    port.startReading();
  }

  get incoming(): AsyncIterable<Uint8Array> {
    return this.#read();
  }

  /** Writes at once where it can; what is left stands in line, so that two frames never mix. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#end) throw new ChannelClosedError("the host has left");
    const rest = this.#waitingWrites === 0 ? bytes.subarray(this.#port.write(bytes)) : bytes;
    if (rest.length > 0) await this.#standInLine(rest);
  }

  /** The port stays open, for the next host. */
  close(): Promise<void> {
    this.#finish({});
    return Promise.resolve();
  }

  async #standInLine(bytes: Uint8Array): Promise<void> {
    this.#waitingWrites += 1;
    const written = this.#lastWrite.then(() => this.#writeAll(bytes));
    this.#lastWrite = written.catch(() => undefined);
    try {
      await written;
    } finally {
      this.#waitingWrites -= 1;
    }
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    let againMs = WRITE_AGAIN_MS;
    for (let rest = bytes; rest.length > 0;) {
      if (this.#end) throw new ChannelClosedError("the host has left");
      const written = this.#port.write(rest);
      rest = rest.subarray(written);
      if (written > 0) againMs = WRITE_AGAIN_MS;
      else {
        await sleep(againMs);
        againMs = Math.min(againMs * 2, LONGEST_WRITE_AGAIN_MS);
      }
    }
  }

  #take(read: PipeRead): void {
    if (read.type === "end") this.#finish({});
    else if (read.type === "error") this.#finish({ error: new Error(`reading ${this.name}: errno ${read.errno}`) });
    else {
      this.#unread.push(read.bytes);
      this.#unreadBytes += read.bytes.length;
      if (this.#unreadBytes > MAX_UNREAD_BYTES) this.#port.stopReading();
      this.#wakeReader();
    }
  }

  #finish(end: { error?: Error }): void {
    if (this.#end) return;
    this.#end = end;
    this.#port.stopReading();
    this.#settleEnded(end.error);
    this.#wakeReader();
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const bytes = this.#unread.shift();
      if (bytes !== undefined) {
        this.#unreadBytes -= bytes.length;
        if (this.#unreadBytes === 0 && !this.#end) this.#port.startReading();
        yield bytes;
      } else if (this.#end) {
        if (this.#end.error) throw this.#end.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
      }
    }
  }
}
