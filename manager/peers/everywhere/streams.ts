/** A stream about one VM that goes on wherever the VM moves, and when a manager is lost: after the last event that was told. */
import type { VmRef, VmSummary } from "../../../shared/api/schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import type { Cursor } from "../../../shared/protocol/message.ts";
import { rfc3339 } from "../../../shared/rfc3339.ts";
import { printable } from "../../../shared/terminal-text.ts";
import type { StreamEvent } from "../../api/event-stream.ts";
import type { Handlers, Request } from "../../api/handler.ts";
import { watchStartOf } from "../../api/handlers/keys.ts";
import { WakeUp } from "../../wake-up.ts";
import { MisdirectedError } from "../caller.ts";
import type { Peer } from "../wire.ts";
import { isUnknownVm, type Located, nobodyHas, type Places, type Stay } from "./places.ts";
import { type EventOf, isLost, type PeerRows, type RowRequest, type StreamedRow, streamRow, wasLost } from "./rows.ts";
import { forVm, holderOf, MAX_ATTEMPTS, type VmRoute } from "./vm.ts";

/** Between attempts to go on, doubled each time; at once when the VM's place is another one. Not measured. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5_000;

export interface StreamParts {
  local: Handlers;
  places: Places;
  rows: PeerRows;
  route: VmRoute;
  self: Peer;
}

/** What is particular to a row. */
interface Telling {
  /** Whether this is to be told: what goes on elsewhere can begin with what is older than what was told. */
  takes(event: StreamEvent): boolean;
  /** What is to be told before a stream goes on. Rejects when it cannot. */
  resumed(): Promise<StreamEvent | undefined>;
  /** What is to be told when it cannot go on now. */
  lost(reason: string, located: Located): StreamEvent | undefined;
  /** What a refusal is, in clear words. */
  refused(error: unknown, located: Located): unknown;
}

/** Tells with a `link` event when nobody can be asked, and how the link is when it goes on. */
export function watchKeys(parts: StreamParts, request: Request<"watchKeys">): AsyncGenerator<StreamEvent> {
  return follow(parts, "watchKeys", request, request.params.vm, (vm) => new WatchTelling(parts, request, vm));
}

/** Events are of the log of one manager: when the VM moves away from it, this ends with `conflict`. */
export function followEvents(parts: StreamParts, request: RowRequest, nameOrId: string): AsyncGenerator<StreamEvent> {
  return follow(parts, "followEvents", request, nameOrId, () => eventsTelling);
}

async function* follow(
  parts: StreamParts,
  name: StreamedRow,
  request: RowRequest,
  nameOrId: string,
  telling: (vm: VmRef) => Telling,
): AsyncGenerator<StreamEvent> {
  const found = parts.places.find(request.who, nameOrId);
  if (found !== undefined) {
    yield* new FollowedVm(parts, name, request, found, telling(found.vm)).events();
    return;
  }
  try {
    yield* streamRow(parts.local, name, request);
  } catch (error) {
    throw isUnknownVm(error) ? parts.places.notFound(error, request.who, nameOrId) : error;
  }
}

class FollowedVm {
  readonly #parts: StreamParts;
  readonly #name: StreamedRow;
  readonly #request: RowRequest;
  readonly #telling: Telling;
  readonly #moved = new WakeUp();
  #located: Located;
  #lastEventId: string | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  /** Whoever asked has been told something: from then on it goes on. */
  #hasBegun = false;
  #attempts = 0;

  constructor(parts: StreamParts, name: StreamedRow, request: RowRequest, found: Located, telling: Telling) {
    this.#parts = parts;
    this.#name = name;
    this.#request = request;
    this.#located = found;
    this.#lastEventId = request.lastEventId;
    this.#telling = telling;
  }

  async *events(): AsyncGenerator<StreamEvent> {
    const { places } = this.#parts;
    const { signal } = this.#request;
    const stopListening = places.onMoved(this.#located.vm.id, () => {
      this.#moved.call();
    });
    try {
      while (!signal.aborted) {
        using stay = places.stayAt(this.#located, signal);
        const end = yield* this.#stretch(stay);
        if (end.type === "over") return;
        if (end.type === "lost") yield* this.#lost(end.error);
        yield* this.#relocate();
      }
    } finally {
      stopListening();
    }
  }

  /** The stream at one place. Throws what is the end of it. */
  async *#stretch(
    stay: Stay,
  ): AsyncGenerator<StreamEvent, { type: "over" | "moved" } | { type: "lost"; error: unknown }> {
    try {
      yield* this.#told(stay.signal);
    } catch (error) {
      if (this.#request.signal.aborted) throw error;
      if (stay.isOver) return { type: "moved" };
      if (this.#hasBegun && isLost(error)) return { type: "lost", error };
      if (this.#hasBegun) throw this.#telling.refused(error, this.#located);
      return await this.#notBegun(error);
    }
    if (stay.isOver) return { type: "moved" };
    if (this.#located.at === "here" || this.#request.signal.aborted) return { type: "over" };
    const { host } = this.#located.peer;
    return { type: "lost", error: new CommandError("unreachable", `the manager on ${host} ended it`, { host }) };
  }

  async #notBegun(error: unknown): Promise<{ type: "moved" }> {
    this.#attempts += 1;
    const isMisdirected = error instanceof MisdirectedError;
    if (isMisdirected && this.#attempts === MAX_ATTEMPTS) throw nobodyHas(this.#located);
    if (!isMisdirected) throw this.#telling.refused(error, this.#located);
    await this.#parts.route.relocated(error, this.#located, this.#request);
    return { type: "moved" };
  }

  async *#told(signal: AbortSignal): AsyncGenerator<StreamEvent> {
    const resumed = this.#hasBegun ? await this.#telling.resumed() : undefined;
    if (resumed !== undefined) yield resumed;
    const request = forVm({ ...this.#request, lastEventId: this.#lastEventId, signal }, this.#located.vm);
    for await (const event of this.#open(request)) {
      this.#pauseMs = FIRST_PAUSE_MS;
      if (!this.#telling.takes(event)) continue;
      this.#hasBegun = true;
      this.#lastEventId = event.id ?? this.#lastEventId;
      yield event;
    }
  }

  #open(request: RowRequest): AsyncIterable<StreamEvent> {
    const { local, rows } = this.#parts;
    if (this.#located.at === "here") return streamRow(local, this.#name, request);
    return rows.stream(holderOf(this.#located), this.#name, request);
  }

  /** Settles when somebody has it. */
  async *#relocate(): AsyncGenerator<StreamEvent> {
    const { who, signal } = this.#request;
    while (!signal.aborted) {
      const found = this.#parts.places.find(who, this.#located.vm.id);
      if (found !== undefined) {
        this.#located = found;
        return;
      }
      if (!this.#hasBegun) throw nobodyHas(this.#located);
      yield* this.#lost(new MisdirectedError(undefined));
    }
  }

  async *#lost(error: unknown): AsyncGenerator<StreamEvent> {
    const { places, self } = this.#parts;
    if (error instanceof MisdirectedError && error.now !== undefined && error.now.id !== self.id) {
      places.isHeldBy(this.#located.vm, error.now);
    }
    const told = this.#telling.lost(lossInWords(error, this.#located), this.#located);
    if (told !== undefined) yield told;
    await this.#moved.wait(this.#pauseMs, this.#request.signal);
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }
}

function lossInWords(error: unknown, located: Located): string {
  if (error instanceof MisdirectedError) return nobodyHas(located).message;
  const saw = error instanceof Error ? error.message : "";
  if (located.at === "here" || wasLost(error, located.peer)) return saw;
  return `the manager on ${located.peer.host} cannot be reached: ${saw}`;
}

/** A manager that has never heard the guest has this epoch. */
const NO_EPOCH = /^0+$/;

class WatchTelling implements Telling {
  readonly #parts: StreamParts;
  readonly #request: Request<"watchKeys">;
  readonly #vm: VmRef;
  /** How it was when it was last told of, or asked for. */
  #known: VmSummary | undefined;
  #heardAt = Date.now();
  #lastLoss: string | undefined;
  #hasResumed = false;
  /** What its reader knows, undefined for one that knows nothing yet. */
  #place: Cursor | undefined;

  constructor(parts: StreamParts, request: Request<"watchKeys">, vm: VmRef) {
    this.#parts = parts;
    this.#request = request;
    this.#vm = vm;
    this.#place = watchStartOf(request);
  }

  takes(event: StreamEvent): boolean {
    this.#heardAt = Date.now();
    this.#lastLoss = undefined;
    const told = event as EventOf<"watchKeys">;
    switch (told.event) {
      case "link":
        this.#known = told.data;
        return true;
      case "changed":
        if (this.#isOlder(told.data)) return false;
        this.#place = { epoch: told.data.epoch, revision: told.data.revision };
        return true;
      default:
        return unreachable(told);
    }
  }

  async resumed(): Promise<StreamEvent> {
    this.#hasResumed = true;
    const { who, signal } = this.#request;
    const asked = {
      who,
      signal,
      lastEventId: undefined,
      params: { vm: this.#vm.id },
      query: undefined,
      body: undefined,
    };
    this.#known = await this.#parts.route.ask("showVm", asked, this.#vm.id);
    this.#lastLoss = undefined;
    return { event: "link", data: this.#known };
  }

  lost(reason: string, located: Located): StreamEvent | undefined {
    if (reason === this.#lastLoss) return undefined;
    this.#lastLoss = reason;
    const link: VmSummary["link"] = { state: "down", since: rfc3339(Date.now()), reason };
    return { event: "link", data: { ...(this.#known ?? this.#unknown(located)), link } };
  }

  refused(error: unknown): unknown {
    return error;
  }

  /**
   * The VM's keys as another manager last saw them, or that it never did. A snapshot that is not in one piece is told
   * nevertheless: it cannot be seen how it ends.
   */
  #isOlder({
    epoch,
    revision,
    resync,
    more,
  }: {
    epoch: string;
    revision: number;
    resync: boolean;
    more: boolean;
  }): boolean {
    if (this.#place === undefined || !resync || more) return false;
    const wasBefore = this.#hasResumed && epoch === this.#place.epoch && revision < this.#place.revision;
    return NO_EPOCH.test(epoch) || wasBefore;
  }

  /** Of a VM that no manager has told us more of than its name and its keys. */
  #unknown(located: Located): VmSummary {
    const { id, name } = this.#vm;
    const lastHeardAt = rfc3339(this.#heardAt);
    return {
      id,
      name,
      host: located.at === "here" ? this.#parts.self.host : located.peer.host,
      status: "Unknown",
      statusSince: lastHeardAt,
      inventory: "none",
      link: { state: "down", since: lastHeardAt },
      lastHeardAt,
      pending: 0,
    };
  }
}

const eventsTelling: Telling = {
  takes: () => true,
  resumed: () => Promise.resolve(undefined),
  lost: () => undefined,
  refused: (error, located) => ofAnotherLog(error, located),
};

/** A cursor is of the log of the manager that the VM was at. */
export function ofAnotherLog(error: unknown, located: Located): unknown {
  if (!(error instanceof CommandError) || error.code !== "conflict" || located.at === "here") return error;
  const { vm, peer } = located;
  const message =
    `'${printable(vm.name)}' is at the manager on ${peer.host} now; its events are in the log of that one, ` +
    `and the cursor is of another: begin anew without one`;
  return new CommandError("conflict", message, { ...error.details, vm: vm.name, host: peer.host }, { cause: error });
}
