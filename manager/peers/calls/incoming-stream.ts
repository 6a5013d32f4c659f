/** A stream for another manager: the next event is asked for when its caller has room for it. */
import { unlessAborted } from "../../../shared/abort.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import type { StreamEvent } from "../../api/event-stream.ts";
import { WakeUp } from "../../wake-up.ts";
import { type ForCaller, LOST_AFTER_MS, STREAM_WINDOW } from "../wire.ts";
import type { IncomingCall } from "./incoming-call.ts";

export class IncomingStream {
  readonly call: IncomingCall;
  readonly #send: (message: ForCaller) => void;
  readonly #news = new WakeUp();
  #sent = 0;
  #credit = STREAM_WINDOW;
  #heardAt = performance.now();

  constructor(call: IncomingCall, send: (message: ForCaller) => void) {
    this.call = call;
    this.#send = send;
  }

  /** Settles when the last event is sent; rejects with what the events fail with, or the reason why the call was stopped. */
  async run(events: AsyncIterable<StreamEvent>): Promise<void> {
    const { id, signal } = this.call;
    const iterator = events[Symbol.asyncIterator]();
    this.#send({ type: "begun", of: id });
    try {
      for (;;) {
        await this.#room();
        const next = await unlessAborted(signal, iterator.next());
        signal.throwIfAborted();
        if (next.done === true) break;
        this.#sendEvent(next.value);
      }
      this.#send({ type: "end", of: id, number: this.#sent + 1 });
    } finally {
      // One that waits for something that never comes would hold up its caller's place.
      iterator.return?.().catch(() => undefined);
    }
  }

  /** More than it can have room for is not believed: what was not taken lies in memory. */
  granted(until: number): void {
    this.#heardAt = performance.now();
    this.#credit = Math.max(this.#credit, Math.min(until, this.#sent + STREAM_WINDOW));
    this.#news.call();
  }

  /** Ends it when nothing was heard of its caller for too long. */
  look(): void {
    if (performance.now() - this.#heardAt <= LOST_AFTER_MS) return;
    this.call.abandon(`nothing was heard of the manager on ${this.call.from.host} for ${LOST_AFTER_MS / 1000} s`);
  }

  /** Something of it may be lost, and what comes after that is of no use. */
  lost(reason: string): void {
    const details = { isLost: true };
    this.call.stop(new CommandError("unreachable", `a part of the stream was lost: ${reason}`, details));
  }

  async #room(): Promise<void> {
    const { signal } = this.call;
    while (this.#sent >= this.#credit) {
      signal.throwIfAborted();
      await this.#news.wait(Infinity, signal);
    }
  }

  #sendEvent({ event, data, id }: StreamEvent): void {
    this.#sent += 1;
    this.#send({ type: "event", of: this.call.id, number: this.#sent, event, data, ...(id !== undefined && { id }) });
  }
}
