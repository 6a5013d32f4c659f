/** A request that has one answer. */
import { unreachable } from "../../../shared/protocol/errors.ts";
import { type Callee, MisdirectedError } from "../caller.ts";
import type { Peer } from "../wire.ts";
import type { OutgoingCall, Reply } from "./outgoing-call.ts";
import { inWords, notAnswered, refusedBy } from "./outgoing-failures.ts";

export class OutgoingAsk implements OutgoingCall {
  readonly callee: Callee;
  readonly #isChange: boolean;
  readonly #answer = Promise.withResolvers<unknown>();
  #isOverThere = false;

  constructor(callee: Callee, isChange: boolean) {
    this.callee = callee;
    this.#isChange = isChange;
  }

  /** The answer's JSON; rejects with what it failed with. */
  get answer(): Promise<unknown> {
    return this.#answer.promise;
  }

  get isOverThere(): boolean {
    return this.#isOverThere;
  }

  take(reply: Reply): void {
    switch (reply.type) {
      case "answer":
        this.#isOverThere = true;
        this.#answer.resolve(reply.answer);
        return;
      case "problem":
        this.#fail(refusedBy(reply));
        return;
      case "begun":
      case "event":
      case "end":
        return;
      default:
        unreachable(reply);
    }
  }

  heard(): void {
    return;
  }

  misdirected(now: Peer | undefined): void {
    this.#fail(new MisdirectedError(now));
  }

  notSent(error: Error): void {
    this.#fail(error);
  }

  vanished(): void {
    this.#failUnanswered(`${inWords(this.callee.peer)} vanished before it answered`);
  }

  disconnected(reason: string): void {
    this.#failUnanswered(`the broker was lost before ${inWords(this.callee.peer)} answered: ${reason}`);
  }

  /** That it goes on there is nothing to anybody here: it is cancelled. */
  late(timeoutMs: number): void {
    const seconds = Math.round(timeoutMs / 1000);
    const saw = `${inWords(this.callee.peer)} did not answer within ${seconds} s`;
    this.#answer.reject(notAnswered(this.callee.peer, saw, this.#isChange));
  }

  #failUnanswered(saw: string): void {
    this.#fail(notAnswered(this.callee.peer, saw, this.#isChange));
  }

  #fail(error: Error): void {
    this.#isOverThere = true;
    this.#answer.reject(error);
  }
}
