/**
 * Node's own stream handle over a descriptor that Node's public API refuses to poll: a virtio port is a character device,
 * and `net.Socket` takes none. The handle is internal to Node; docs/decisions/0003-virtio-port-io.md says why it is used
 * all the same and what it costs. Nothing outside this file knows of it.
 */
const END_OF_FILE = -4095;

interface RawPipe {
  open(fd: number): number;
  readStart(): number;
  readStop(): number;
  setBlocking(isBlocking: boolean): number;
  close(callback: () => void): void;
  onread: (data: ArrayBuffer | undefined) => void;
}

interface Internals {
  binding(name: "pipe_wrap"): { Pipe: new (type: number) => RawPipe };
  binding(name: "stream_wrap"): { streamBaseState: Int32Array; kReadBytesOrError: number };
}

const SOCKET_TYPE = 0;

export type PipeRead = { type: "bytes"; bytes: Uint8Array } | { type: "end" } | { type: "error"; errno: number };

/** Polls a descriptor for reading. It owns the descriptor from {@link PipeHandle.open} on. */
export class PipeHandle {
  readonly #pipe: RawPipe;
  #isReading = false;

  private constructor(pipe: RawPipe) {
    this.#pipe = pipe;
  }

  /** Throws when Node has no such handle any more, or the descriptor cannot be polled. */
  static open(fd: number, onRead: (read: PipeRead) => void): PipeHandle {
    const internals = process as unknown as Internals;
    const { Pipe } = internals.binding("pipe_wrap");
    const { streamBaseState, kReadBytesOrError } = internals.binding("stream_wrap");
    const pipe = new Pipe(SOCKET_TYPE);
    assertDone("open", pipe.open(fd));
    pipe.onread = (data): void => {
      const bytesOrError = streamBaseState[kReadBytesOrError] ?? 0;
      if (bytesOrError > 0 && data !== undefined)
        onRead({ type: "bytes", bytes: new Uint8Array(data, 0, bytesOrError) });
      else if (bytesOrError === END_OF_FILE) onRead({ type: "end" });
      else if (bytesOrError < 0) onRead({ type: "error", errno: -bytesOrError });
    };
    return new PipeHandle(pipe);
  }

  startReading(): void {
    if (!this.#isReading) assertDone("read", this.#pipe.readStart());
    this.#isReading = true;
  }

  stopReading(): void {
    if (this.#isReading) this.#pipe.readStop();
    this.#isReading = false;
  }

  /** Whether reads and writes of the descriptor by other means sleep, or fail with EAGAIN. */
  setBlocking(isBlocking: boolean): void {
    assertDone("set the mode of", this.#pipe.setBlocking(isBlocking));
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#pipe.close(resolve);
    });
  }
}

function assertDone(what: string, status: number): void {
  if (status < 0) throw new Error(`cannot ${what} the port: errno ${-status}`);
}
