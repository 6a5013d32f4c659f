/** A request that is answered with a stream: its events in their order, as many at a time as there is room for. */
import { unreachable } from "../../../shared/protocol/errors.ts";
import type { StreamEvent } from "../../api/event-stream.ts";
import { WakeUp } from "../../wake-up.ts";
import { type Callee, MisdirectedError } from "../caller.ts";
import { LOST_AFTER_MS, type Peer, STREAM_WINDOW } from "../wire.ts";
import type { OutgoingCall, Reply } from "./outgoing-call.ts";
import { inWords, lostStream, refusedBy } from "./outgoing-failures.ts";

export class OutgoingStream implements OutgoingCall {
  readonly callee: Callee;
  readonly #credit: (until: number) => void;
  readonly #news = new WakeUp();
  readonly #waiting: StreamEvent[] = [];
  /** Of the event that comes next. */
  #nextNumber = 1;
  #taken = 0;
  #granted = STREAM_WINDOW;
  #hasBegun = false;
  #heardAt = performance.now();
  /** Told when what came before it has been taken. */
  #end: { error: Error | undefined } | undefined;
  #isOverThere = false;

  /** @param credit tells the callee up to which number it may send events */
  constructor(callee: Callee, credit: (until: number) => void) {
    this.callee = callee;
    this.#credit = credit;
  }

  get isOverThere(): boolean {
    return this.#isOverThere;
  }

  /** Ends as the stream does, and throws what it failed with; when aborted, the signal's reason. */
  async *events(signal: AbortSignal): AsyncGenerator<StreamEvent> {
    for (;;) {
      signal.throwIfAborted();
      const event = this.#waiting.shift();
      if (event !== undefined) {
        yield event;
        this.#taken += 1;
        if (this.#room - this.#granted >= STREAM_WINDOW / 2) this.#grant();
      } else if (this.#end === undefined) {
        await this.#news.wait(Infinity, signal);
      } else {
        if (this.#end.error !== undefined) throw this.#end.error;
        return;
      }
    }
  }

  take(reply: Reply): void {
    this.heard();
    switch (reply.type) {
      case "begun":
        this.#hasBegun = true;
        return;
      case "event":
        this.#takeEvent(reply);
        return;
      case "end":
        this.#takeEnd(reply.number);
        return;
      case "problem":
        this.#finish(refusedBy(reply));
        return;
      case "answer":
        return;
      default:
        unreachable(reply);
    }
  }

  heard(): void {
    this.#heardAt = performance.now();
  }

  /** Shows the callee that we are there still, and looks whether it is. Does nothing before the stream is served. */
  showLife(): void {
    if (!this.#hasBegun || this.#end !== undefined) return;
    if (performance.now() - this.#heardAt > LOST_AFTER_MS) {
      this.#lose(`nothing was heard of ${inWords(this.callee.peer)} for ${LOST_AFTER_MS / 1000} s`);
    } else {
      this.#grant();
    }
  }

  /** One that is served was for that manager: then this is said of a copy that somebody made of the request. */
  misdirected(now: Peer | undefined): void {
    if (!this.#hasBegun) this.#finish(new MisdirectedError(now));
  }

  notSent(error: Error): void {
    this.#finish(error);
  }

  vanished(): void {
    this.#isOverThere = true;
    this.#lose(`${inWords(this.callee.peer)} vanished in the middle of a stream`);
  }

  disconnected(reason: string): void {
    this.#isOverThere = true;
    this.#lose(`the broker was lost in the middle of a stream of ${inWords(this.callee.peer)}: ${reason}`);
  }

  /** Nothing, if it is being served. */
  late(timeoutMs: number): void {
    if (this.#hasBegun) return;
    this.#lose(`${inWords(this.callee.peer)} did not answer within ${Math.round(timeoutMs / 1000)} s`);
  }

  get #room(): number {
    return this.#taken + STREAM_WINDOW;
  }

  #grant(): void {
    this.#granted = this.#room;
    this.#credit(this.#granted);
  }

  #takeEvent({ number, event, data, id }: Extract<Reply, { type: "event" }>): void {
    // It came before.
    if (this.#end !== undefined || number < this.#nextNumber) return;
    if (number > this.#nextNumber) this.#loseSome();
    else if (number > this.#granted) this.#lose(`${inWords(this.callee.peer)} sends more than it was asked for`);
    else {
      this.#hasBegun = true;
      this.#nextNumber += 1;
      this.#waiting.push({ event, data, id });
      this.#news.call();
    }
  }

  #takeEnd(number: number): void {
    if (number === this.#nextNumber) this.#finish(undefined);
    else this.#loseSome();
  }

  #loseSome(): void {
    this.#lose(`events of a stream of ${inWords(this.callee.peer)} were lost on the way`);
  }

  #lose(saw: string): void {
    this.#stop(lostStream(this.callee.peer, saw));
  }

  #finish(error: Error | undefined): void {
    this.#isOverThere = true;
    this.#stop(error);
  }

  #stop(error: Error | undefined): void {
    this.#end ??= { error };
    this.#news.call();
  }
}
