/** Requests about one VM: to this manager's own row, or to the manager that has the VM, wherever it moves meanwhile. */
import type { NewMessage, VmRef } from "../../../shared/api/schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { newMessageId } from "../../../shared/random.ts";
import type { Handlers } from "../../api/handler.ts";
import { type Callee, MisdirectedError } from "../caller.ts";
import type { Peer } from "../wire.ts";
import { isUnknownVm, type Located, nobodyHas, type Places } from "./places.ts";
import { type AnsweredRow, type AnswerOf, askRow, isChange, type PeerRows, type RowRequest, wasLost } from "./rows.ts";

/** A VM that is moved more often while it is asked for is not chased. */
export const MAX_ATTEMPTS = 3;

/** Who has a VM is known to all within this time after it moved. Not measured. */
const MOVE_WAIT_MS = 2_000;

export interface VmRouteParts {
  local: Handlers;
  places: Places;
  rows: PeerRows;
  self: Peer;
}

export class VmRoute {
  readonly #parts: VmRouteParts;

  constructor(parts: VmRouteParts) {
    this.#parts = parts;
  }

  /** Rejects as at home, and with CommandError `unreachable` when nobody has it or whoever has it cannot be asked. */
  async ask<N extends AnsweredRow>(name: N, request: RowRequest, nameOrId: string): Promise<AnswerOf<N>> {
    const found = this.#parts.places.find(request.who, nameOrId);
    if (found === undefined) return this.#askNobody(name, request, nameOrId);
    if (found.at === "here") return this.#askHere(name, request, found);
    return this.#askWherever(name, withMessageId(name, request), found);
  }

  /** Where to go on after this: throws what is not of its place. */
  async relocated(error: unknown, located: Located, { who, signal }: RowRequest): Promise<Located> {
    const { places, self } = this.#parts;
    if (!(error instanceof MisdirectedError)) throw error;
    const { now } = error;
    if (now !== undefined && now.id !== self.id) places.isHeldBy(located.vm, now);
    else await places.hasMoved(located, MOVE_WAIT_MS, signal);
    signal.throwIfAborted();
    const found = places.find(who, located.vm.id);
    if (found === undefined) throw nobodyHas(located);
    return found;
  }

  async #askNobody<N extends AnsweredRow>(name: N, request: RowRequest, nameOrId: string): Promise<AnswerOf<N>> {
    try {
      return await askRow(this.#parts.local, name, request);
    } catch (error) {
      if (!isUnknownVm(error)) throw error;
      throw this.#parts.places.notFound(error, request.who, nameOrId);
    }
  }

  /** A change that is waited for is answered as it is when the VM moves: its message goes after it. */
  async #askHere<N extends AnsweredRow>(name: N, request: RowRequest, located: Located): Promise<AnswerOf<N>> {
    if (name !== "sendMessage") return askRow(this.#parts.local, name, request);
    using stay = this.#parts.places.stayAt(located, request.signal);
    return await askRow(this.#parts.local, name, { ...request, signal: stay.signal });
  }

  async #askWherever<N extends AnsweredRow>(name: N, request: RowRequest, found: Located): Promise<AnswerOf<N>> {
    let located = found;
    let mayBeLost = !isChange(name);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#askAt(located, name, forVm(request, located.vm));
      } catch (error) {
        if (mayBeLost && located.at === "peer" && wasLost(error, located.peer)) {
          mayBeLost = false;
          located = await this.#afterLoss(error, located, request);
        } else if (attempt < MAX_ATTEMPTS) {
          located = await this.relocated(error, located, request);
        } else {
          throw error instanceof MisdirectedError ? nobodyHas(located) : error;
        }
      }
    }
  }

  async #askAt<N extends AnsweredRow>(located: Located, name: N, request: RowRequest): Promise<AnswerOf<N>> {
    if (located.at === "here") return this.#askHere(name, request, located);
    try {
      return await this.#parts.rows.ask(holderOf(located), name, request);
    } catch (error) {
      throw name === "sendMessage" ? withRetryInWords(error, request.body as NewMessage) : error;
    }
  }

  /** What was only asked may be asked once more, when somebody else has the VM by now. */
  async #afterLoss(error: unknown, located: Located, { who, signal }: RowRequest): Promise<Located> {
    const { places } = this.#parts;
    if (places.awayReason !== undefined) throw error;
    const hasMoved = await places.hasMoved(located, MOVE_WAIT_MS, signal);
    const found = hasMoved ? places.find(who, located.vm.id) : undefined;
    if (found === undefined) throw error;
    return found;
  }
}

/** By the VM's queue, so that the broker says when nobody has it. */
export function holderOf({ vm, peer }: Extract<Located, { at: "peer" }>): Callee {
  return { peer, by: { type: "vm", id: vm.id } };
}

/** The same request for the VM by its UUID, under which everybody knows it. */
export function forVm(request: RowRequest, { id }: VmRef): RowRequest {
  const { params, query } = request as { params?: object; query?: { vm?: string | string[] } };
  if (params !== undefined && "vm" in params) return { ...request, params: { ...params, vm: id } };
  return { ...request, query: { ...query, vm: Array.isArray(query?.vm) ? [id] : id } };
}

/** So that whoever hears nothing of it can send it again under the id that it had. */
function withMessageId(name: AnsweredRow, request: RowRequest): RowRequest {
  if (name !== "sendMessage") return request;
  const message = request.body as NewMessage;
  const messageId = message.params.messageId ?? newMessageId();
  return { ...request, body: { ...message, params: { ...message.params, messageId } } };
}

function withRetryInWords(error: unknown, { params: { messageId } }: NewMessage): unknown {
  if (!(error instanceof CommandError) || error.code !== "unconfirmed") return error;
  const message = `${error.message}; sent again to this VM with the messageId ${messageId ?? ""} it has one effect`;
  return new CommandError("unconfirmed", message, { ...error.details, messageId }, { cause: error });
}
