/** Two joined channel ends in memory, for tests: what one writes the other reads, cut, delayed or dropped on demand. */
import { type Channel, ChannelClosedError } from "../channel.ts";

export interface Disturbance {
  /** Bytes of each piece that a write is cut into; whole writes when absent. */
  pieceBytes?: number;
  /** Called with each piece; what it returns arrives, nothing when undefined. */
  change?: (piece: Uint8Array) => Uint8Array | undefined;
}

function unchanged(piece: Uint8Array): Uint8Array {
  return piece;
}

class MemoryChannel implements Channel {
  readonly name: string;
  readonly #disturbance: Disturbance;
  readonly #arrived: Uint8Array[] = [];
  #wake: () => void = () => undefined;
  #isClosed = false;
  other: MemoryChannel | undefined;

  constructor(name: string, disturbance: Disturbance) {
    this.name = name;
    this.#disturbance = disturbance;
  }

  get incoming(): AsyncIterable<Uint8Array> {
    return this.#read();
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.#isClosed) return Promise.reject(new ChannelClosedError(`${this.name} is closed`));
    const { pieceBytes = bytes.length, change = unchanged } = this.#disturbance;
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = change(Uint8Array.from(bytes.subarray(at, at + pieceBytes)));
      if (piece !== undefined) this.other?.arrive(piece);
    }
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.end();
    this.other?.end();
    return Promise.resolve();
  }

  arrive(piece: Uint8Array): void {
    this.#arrived.push(piece);
    this.#wake();
  }

  end(): void {
    this.#isClosed = true;
    this.#wake();
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const piece = this.#arrived.shift();
      if (piece !== undefined) yield piece;
      else if (this.#isClosed) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

/** The two ends; `disturb` says what happens to what each of them writes. */
export function memoryChannels(disturb: { left?: Disturbance; right?: Disturbance } = {}): [Channel, Channel] {
  const left = new MemoryChannel("left", disturb.left ?? {});
  const right = new MemoryChannel("right", disturb.right ?? {});
  left.other = right;
  right.other = left;
  return [left, right];
}
