/** What keeps a broker that means harm from doing any to the process: bounds on what amqplib is given to read. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";

/** As much as we ask brokers to send at once (`frame-max`), which is RabbitMQ's own default. */
export const MAX_FRAME_BYTES = 131_072;

/** AMQP 0-9-1, section 2.3.5: type, channel and size come first, and one byte ends the frame. */
const FRAME_HEADER_BYTES = 7;
const FRAME_END_BYTES = 1;

/** For a connection's beginning, heartbeats and notices that a broker is blocked: far more than those take. Not measured. */
const UNASKED_BYTES = 1024 * 1024;

/** Runs what makes a client's socket before it returns, as amqplib's connect does, and answers with that socket. */
export function withItsSocket<T>(make: () => T): { made: T; socket: Socket } {
  const sockets: Socket[] = [];
  const onSocket = (message: unknown): void => {
    sockets.push((message as { socket: Socket }).socket);
  };
  subscribe("net.client.socket", onSocket);
  try {
    const made = make();
    const [socket] = sockets;
    if (socket === undefined) throw new Error("no socket was made");
    return { made, socket };
  } finally {
    unsubscribe("net.client.socket", onSocket);
  }
}

/**
 * Until it is released, a reader gets one frame in each turn of the event loop. amqplib reads all frames that are there at
 * once, while whoever awaits its answer to the first has had no chance to listen for errors of the second: an unheard
 * `error` would end the process. @returns what releases it
 */
export function oneFrameATurn(socket: Socket): () => void {
  const read = socket.read.bind(socket) as (size: number) => Buffer | null;
  let header: Buffer | null = null;
  let isTaken = false;
  const nextTurn = (): void => {
    isTaken = false;
    socket.emit("readable");
  };
  socket.read = (size?: number) => {
    // Node's own, which only fills the buffer.
    if (size === 0) return read(0);
    if (isTaken) return null;
    header ??= read(FRAME_HEADER_BYTES);
    if (header === null) return null;
    const frame = isFrameHeader(header) ? wholeFrame(header, read) : header;
    if (frame === null) return null;
    header = null;
    isTaken = true;
    setImmediate(nextTurn);
    return frame;
  };
  return () => {
    delete (socket as Partial<Socket>).read;
    if (header !== null) socket.unshift(header);
  };
}

/** Anything else is given to amqplib as it is, which refuses it. */
function isFrameHeader(header: Buffer): boolean {
  return header.length === FRAME_HEADER_BYTES && header.readUInt32BE(3) <= MAX_FRAME_BYTES;
}

/** Null while it is not all there. */
function wholeFrame(header: Buffer, read: (size: number) => Buffer | null): Buffer | null {
  const rest = read(header.readUInt32BE(3) + FRAME_END_BYTES);
  return rest === null ? null : Buffer.concat([header, rest]);
}

/**
 * Ends a connection that only publishes once its broker has sent more than it could have reason to: a confirm and a return's
 * reason are shorter than what was published, and what is returned is as long. amqplib would gather a returned message of
 * any size.
 */
export function boundAnswers(socket: Socket, tooMuch: () => Error): void {
  socket.prependListener("readable", () => {
    if (socket.bytesRead > 2 * socket.bytesWritten + UNASKED_BYTES) socket.destroy(tooMuch());
  });
}
