/** The requests of one door that are in progress: each has a signal that stops its work, and a door ends when all have. */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { CommandError } from "../../shared/cli/failure.ts";
import { HttpError } from "./problems.ts";

export class Call {
  readonly #response: ServerResponse;
  readonly #controller = new AbortController();
  isStream = false;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  /** Aborted, with a CommandError as its reason, when the client went away or the manager does not wait any longer. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether a part of its answer is on this connection already. */
  isAnswering(socket: Socket): boolean {
    return this.#response.socket === socket && this.#response.headersSent;
  }

  stop(reason: CommandError): void {
    this.#controller.abort(reason);
  }
}

export class Calls {
  readonly #limit: number;
  readonly #running = new Set<Call>();
  #onIdle: (() => void) | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Throws when too many run already. */
  begin(response: ServerResponse): Call {
    if (this.#running.size >= this.#limit) {
      throw new HttpError(503, "unreachable", `there are ${this.#limit} requests in progress here; try again`);
    }
    const call = new Call(response);
    this.#running.add(call);
    // Node says so of those that were pipelined behind another one, too.
    response.once("close", () => {
      this.#end(call);
    });
    return call;
  }

  /** Whether an answer is under way on this connection. */
  isAnswering(socket: Socket): boolean {
    return [...this.#running].some((call) => call.isAnswering(socket));
  }

  stop(reason: CommandError, which: "streams" | "all"): void {
    for (const call of this.#running) if (which === "all" || call.isStream) call.stop(reason);
  }

  /** Settles when nothing runs, or after this time. */
  async idle(timeoutMs: number): Promise<void> {
    if (this.#running.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#onIdle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #end(call: Call): void {
    this.#running.delete(call);
    call.stop(new CommandError("unreachable", "the client went away"));
    if (this.#running.size === 0) this.#onIdle?.();
  }
}
