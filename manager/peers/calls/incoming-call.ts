/** A request of another manager that is being served. */
import { CommandError } from "../../../shared/cli/failure.ts";
import type { Peer, WireRequest } from "../wire.ts";

export class IncomingCall {
  readonly id: string;
  readonly from: Peer;
  readonly kind: WireRequest["call"]["kind"];
  readonly #controller = new AbortController();
  readonly #onEnd: (() => void)[] = [];
  #isWanted = true;

  constructor(id: string, from: Peer, kind: WireRequest["call"]["kind"]) {
    this.id = id;
    this.from = from;
    this.kind = kind;
  }

  /** Aborted, with a CommandError as its reason, when its work is to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether anybody waits for what comes of it. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** The caller is told why, unless its work comes to its end all the same. */
  stop(reason: CommandError): void {
    this.#controller.abort(reason);
  }

  /** Nobody waits for it any more: the caller said so, or is gone. */
  abandon(why: string): void {
    this.#isWanted = false;
    this.stop(new CommandError("unreachable", why));
  }

  /** Called once, when its work has ended. */
  onEnd(listener: () => void): void {
    this.#onEnd.push(listener);
  }

  end(): void {
    for (const listener of this.#onEnd.splice(0)) listener();
  }
}
