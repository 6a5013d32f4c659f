/** What is asked for by an id of its own, and not by its VM: whichever manager knows it answers. */
import { pause } from "../../../shared/abort.ts";
import type { Receipt } from "../../../shared/api/schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { printable } from "../../../shared/terminal-text.ts";
import type { Handlers, Request } from "../../api/handler.ts";
import { DEFAULT_WAIT_MS } from "../../delivery/messages.ts";
import { type AwaitedState, isFinal } from "../../delivery/receipt-board.ts";
import type { Callee } from "../caller.ts";
import type { Whereabouts } from "../whereabouts.ts";
import type { Peer } from "../wire.ts";
import type { Located, Places } from "./places.ts";
import {
  type AnsweredRow,
  type AnswerOf,
  askRow,
  type EventOf,
  isLost,
  type PeerRows,
  type RowRequest,
} from "./rows.ts";

/** Between two looks for something whose manager was lost. Not measured. */
const LOOK_AGAIN_MS = 1_000;

/** A message stays with the manager that its VM has left until the other one has it: soon. Not measured. */
const HANDOVER_LOOK_MS = 1_000;

export interface AroundParts {
  local: Handlers;
  places: Places;
  rows: PeerRows;
  whereabouts: Pick<Whereabouts, "peers">;
}

/** Who knows it, and its answer. */
interface Knower<T> {
  at: "here" | Peer;
  answer: T;
}

export class AskingAround {
  readonly #parts: AroundParts;

  constructor(parts: AroundParts) {
    this.#parts = parts;
  }

  /** With `waitFor` by whoever has the message, also when it goes to another manager meanwhile. */
  async getReceipt(request: Request<"getReceipt">): Promise<Receipt> {
    const { waitFor, waitMs = DEFAULT_WAIT_MS } = request.query;
    const found = await this.#whoKnowsMessage(request);
    if (waitFor === undefined) return found.answer;
    return this.#followed(request, found, { waitFor, endMs: performance.now() + waitMs });
  }

  async showImageSave(request: Request<"showImageSave">): Promise<AnswerOf<"showImageSave">> {
    return (await this.#whoKnowsSave(request)).answer;
  }

  async cancelImageSave(request: Request<"cancelImageSave">): Promise<AnswerOf<"cancelImageSave">> {
    const { at } = await this.#whoKnowsSave(request);
    return this.#askAt(at, "cancelImageSave", request);
  }

  /** A manager that is lost is waited for: it goes on with what it was saving when it is there again. */
  async *followImageSave(request: Request<"followImageSave">): AsyncGenerator<EventOf<"followImageSave">> {
    const { signal } = request;
    for (let hasBegun = false; !signal.aborted;) {
      try {
        const { at } = await this.#whoKnowsSave(request);
        const events = at === "here" ? this.#parts.local.followImageSave(request) : this.#streamAt(at, request);
        for await (const event of events) {
          hasBegun = true;
          yield event;
          if (event.data.endedAt !== undefined) return;
        }
        if (at === "here") return;
      } catch (error) {
        if (!hasBegun || !isLost(error)) throw error;
      }
      await pause(LOOK_AGAIN_MS, signal);
    }
  }

  async #followed(
    request: Request<"getReceipt">,
    found: Knower<Receipt>,
    { waitFor, endMs }: { waitFor: AwaitedState; endMs: number },
  ): Promise<Receipt> {
    let known = found;
    for (;;) {
      const leftMs = Math.floor(endMs - performance.now());
      if (isFinal(known.answer, waitFor) || leftMs <= 0 || request.signal.aborted) return known.answer;
      const askedAt = performance.now();
      known = await this.#waited(request, known, { waitFor, waitMs: leftMs });
      const isEarly = !isFinal(known.answer, waitFor) && performance.now() - askedAt < LOOK_AGAIN_MS;
      if (isEarly) await pause(Math.min(LOOK_AGAIN_MS, Math.max(0, endMs - performance.now())), request.signal);
    }
  }

  /** For as long as the message is where its VM is; what became of it when it was last seen, if nobody can be asked. */
  async #waited(
    request: Request<"getReceipt">,
    known: Knower<Receipt>,
    { waitFor, waitMs }: { waitFor: AwaitedState; waitMs: number },
  ): Promise<Knower<Receipt>> {
    using stay = this.#parts.places.stayAt(locatedAt(known), request.signal);
    const isLeft = stay.isOver;
    const query = { waitFor, waitMs: isLeft ? Math.min(waitMs, HANDOVER_LOOK_MS) : waitMs };
    const signal = isLeft ? request.signal : stay.signal;
    try {
      return { at: known.at, answer: await this.#askAt(known.at, "getReceipt", { ...request, query, signal }) };
    } catch (error) {
      request.signal.throwIfAborted();
      if (!stay.isOver && !isLost(error) && !isUnknown(error)) throw error;
    }
    try {
      return await this.#whoKnowsMessage(request);
    } catch (error) {
      if (!isLost(error) && !isUnknown(error)) throw error;
      return known;
    }
  }

  #whoKnowsMessage(request: Request<"getReceipt">): Promise<Knower<Receipt>> {
    const what = `message '${printable(request.params.messageId)}'`;
    return this.#whoKnows("getReceipt", { ...request, query: {} }, what);
  }

  #whoKnowsSave(
    request: Pick<Request<"showImageSave">, "who" | "params" | "signal">,
  ): Promise<Knower<AnswerOf<"showImageSave">>> {
    const { who, params, signal } = request;
    const asked = { who, params, signal, query: undefined, body: undefined, lastEventId: undefined };
    return this.#whoKnows("showImageSave", asked, `saving of an image '${printable(params.id)}'`);
  }

  /** Ourselves first, then all others at once. */
  async #whoKnows<N extends AnsweredRow>(name: N, request: RowRequest, what: string): Promise<Knower<AnswerOf<N>>> {
    try {
      return { at: "here", answer: await askRow(this.#parts.local, name, request) };
    } catch (error) {
      if (!isUnknown(error)) throw error;
      if (this.#parts.places.awayReason !== undefined) throw this.#parts.places.unlessAway(error, what);
      return await this.#whoElseKnows(name, request, { what, unknown: error });
    }
  }

  async #whoElseKnows<N extends AnsweredRow>(
    name: N,
    request: RowRequest,
    refusal: { what: string; unknown: CommandError },
  ): Promise<Knower<AnswerOf<N>>> {
    const peers = this.#parts.whereabouts.peers();
    const enough = new AbortController();
    const signal = AbortSignal.any([request.signal, enough.signal]);
    const asks = peers.map(async (at) => ({ at, answer: await this.#askAt(at, name, { ...request, signal }) }));
    try {
      return await Promise.any(asks);
    } catch (error) {
      request.signal.throwIfAborted();
      const reasons = (error as AggregateError).errors as unknown[];
      throw nobodyKnows(peers, reasons, refusal);
    } finally {
      enough.abort();
    }
  }

  async #askAt<N extends AnsweredRow>(at: "here" | Peer, name: N, request: RowRequest): Promise<AnswerOf<N>> {
    return at === "here"
      ? askRow(this.#parts.local, name, request)
      : this.#parts.rows.ask(managerAt(at), name, request);
  }

  #streamAt(at: Peer, request: Request<"followImageSave">): AsyncIterable<EventOf<"followImageSave">> {
    return this.#parts.rows.stream(managerAt(at), "followImageSave", request);
  }
}

/** By the queue of that manager's own. */
export function managerAt(peer: Peer): Callee {
  return { peer, by: { type: "manager", id: peer.id } };
}

function locatedAt({ at, answer: { vm } }: Knower<Receipt>): Located {
  return at === "here" ? { at, vm } : { at: "peer", vm, peer: at };
}

/** A message is refused with its id alone, as what may not be seen is not there. */
function isUnknown(error: unknown): error is CommandError {
  if (!(error instanceof CommandError) || error.code !== "failed") return false;
  return error.details["unknown"] === true || typeof error.details["messageId"] === "string";
}

/** Those that could not be asked may know it; what one that was asked refused is said before that it is not there. */
function nobodyKnows(
  peers: readonly Peer[],
  reasons: readonly unknown[],
  { what, unknown }: { what: string; unknown: CommandError },
): unknown {
  const silent = peers.filter((_, index) => isLost(reasons[index])).map(({ host }) => host);
  if (silent.length > 0) {
    const message = `there is no ${what} at the managers that answer, and those on ${silent.join(", ")} do not`;
    return new CommandError("unreachable", message, { hosts: silent });
  }
  return reasons.find((reason) => !isUnknown(reason)) ?? unknown;
}
