/** One request for many VMs, wherever they are: a part for each manager, all at once, and one stream of what became of them. */
import type {
  FleetRequest,
  FleetResult,
  FleetSummary,
  NewMessage,
  VmRef,
  VmSelection,
} from "../../../shared/api/schemas.ts";
import { newMessageId } from "../../../shared/random.ts";
import { isPattern, matchesVm } from "../../../shared/vm-pattern.ts";
import type { Principal } from "../../access/principal.ts";
import type { Handlers, Request } from "../../api/handler.ts";
import { messageIdFor } from "../../delivery/messages.ts";
import { outcomeOf, resultError } from "../../service/answers.ts";
import { asCompleted } from "../../service/as-completed.ts";
import { MisdirectedError } from "../caller.ts";
import type { Peer } from "../wire.ts";
import { managerAt } from "./asking-around.ts";
import { merged } from "./merged.ts";
import { isUnknownVm, type KnownVms, type Located, nobodyHas, type Places } from "./places.ts";
import { type EventOf, type PeerRows, type RowRequest, wasLost } from "./rows.ts";
import type { VmRoute } from "./vm.ts";

/** VMs in one request to another manager: it stays small beside what a broker takes. Not measured. */
const VMS_PER_PART = 1_000;

/** VMs that have moved meanwhile are asked one by one, so many at a time. Not measured. */
const ASKED_AGAIN_AT_ONCE = 20;

export interface FleetParts {
  local: Handlers;
  vms: KnownVms;
  places: Places;
  rows: PeerRows;
  route: VmRoute;
}

type FleetEvent = EventOf<"sendFleet">;
type FleetCall = Request<"sendFleet">;
type FleetBody = FleetRequest["request"];

/** Throws as at home before anything is sent; what one manager refuses, or is lost with, is the result of its VMs. */
export async function* sendFleet(parts: FleetParts, call: FleetCall): AsyncGenerator<FleetEvent> {
  const members = membersOf(parts, call);
  const remote = members.filter((member) => member.at === "peer");
  if (remote.length === 0) yield* parts.local.sendFleet(call);
  else yield* new Fleet(parts, withMessageId(call)).send(members);
}

class Fleet {
  readonly #parts: FleetParts;
  readonly #call: FleetCall;
  readonly #ending = new AbortController();
  readonly #signal: AbortSignal;

  constructor(parts: FleetParts, call: FleetCall) {
    this.#parts = parts;
    this.#call = call;
    this.#signal = AbortSignal.any([call.signal, this.#ending.signal]);
  }

  async *send(members: readonly Located[]): AsyncGenerator<FleetEvent> {
    const here = members.filter(({ at }) => at === "here").map(({ vm }) => vm);
    try {
      // What this manager refuses as a whole is sent to nobody.
      const own = here.length === 0 ? [] : [await this.#begunHere(here)];
      const parts = partsOf(members).map((part) => this.#resultsOf(part));
      const summary: FleetSummary = { vms: members.length, done: 0, queued: 0, failed: 0 };
      yield { event: "begin", data: { vms: members.length } };
      for await (const result of merged([...own, ...parts])) {
        if (this.#call.signal.aborted) return;
        summary[outcomeOf(result)] += 1;
        yield { event: "result", data: result };
      }
      if (!this.#call.signal.aborted) yield { event: "summary", data: summary };
    } finally {
      this.#ending.abort();
    }
  }

  /** Settles when it has begun. */
  async #begunHere(vms: readonly VmRef[]): Promise<AsyncIterable<FleetResult>> {
    const events = this.#parts.local.sendFleet(this.#requestFor(vms))[Symbol.asyncIterator]();
    await events.next();
    return resultsIn({ [Symbol.asyncIterator]: () => events });
  }

  /** A result for each of the VMs, whatever becomes of their manager. */
  async *#resultsOf({ peer, vms }: Part): AsyncGenerator<FleetResult> {
    const open = new Map(vms.map((vm) => [vm.id, vm]));
    let failure: unknown;
    try {
      for await (const result of resultsIn(this.#streamAt(peer, vms))) {
        if (open.delete(result.vm.id)) yield result;
      }
    } catch (error) {
      failure = error;
    }
    if (this.#isNothingDone(failure, peer)) yield* this.#askedAgain([...open.values()], peer);
    else yield* this.#unanswered([...open.values()], peer, failure);
  }

  /** One of the VMs is not there any more, or the manager is another one or gone. */
  #isNothingDone(failure: unknown, peer: Peer): boolean {
    if (failure instanceof MisdirectedError || isUnknownVm(failure)) return true;
    if (!wasLost(failure, peer) || failure.details["isLost"] === true) return false;
    return this.#parts.places.awayReason === undefined;
  }

  #streamAt(peer: Peer, vms: readonly VmRef[]): AsyncIterable<FleetEvent> {
    return this.#parts.rows.stream(managerAt(peer), "sendFleet", this.#requestFor(vms));
  }

  #requestFor(vms: readonly VmRef[]): FleetCall {
    const body = { ...this.#call.body, vms: { names: vms.map(({ id }) => id) } };
    return { ...this.#call, body, signal: this.#signal };
  }

  *#unanswered(vms: readonly VmRef[], peer: Peer, failure: unknown): Generator<FleetResult> {
    if (vms.length === 0) return;
    const error = this.#errorOf(failure, peer);
    for (const vm of vms) yield { vm, status: "Unknown", error };
  }

  /** A manager that was lost may have done what it was asked for. */
  #errorOf(failure: unknown, { host }: Peer): NonNullable<FleetResult["error"]> {
    const refusal = failure === undefined ? undefined : resultError(failure);
    if (refusal !== undefined && refusal.details?.["isLost"] !== true) return refusal;
    const why = refusal?.message ?? `the manager on ${host} did not say what became of it`;
    const messageId = changeOf(this.#call.body.request)?.params.messageId;
    if (messageId === undefined) return { code: "unreachable", message: why };
    const message = `${why}; it may or may not be done, and sent again to many VMs with the messageId ${messageId} it has one effect`;
    return { code: "unconfirmed", message, details: { messageId } };
  }

  /** One by one, wherever each is now. */
  #askedAgain(vms: readonly VmRef[], peer: Peer): AsyncIterable<FleetResult> {
    return asCompleted(vms, ASKED_AGAIN_AT_ONCE, (vm) => this.#askOne({ at: "peer", vm, peer }));
  }

  async #askOne(located: Located): Promise<FleetResult> {
    const { vm } = located;
    try {
      return { vm, status: "Unknown", ...(await this.#answerOf(vm)) };
    } catch (error) {
      return { vm, status: "Unknown", error: resultError(isUnknownVm(error) ? nobodyHas(located) : error) };
    }
  }

  async #answerOf({ id }: VmRef): Promise<Partial<FleetResult>> {
    const { route } = this.#parts;
    const { request } = this.#call.body;
    const asked: RowRequest = {
      ...this.#call,
      signal: this.#signal,
      params: { vm: id },
      query: undefined,
      body: undefined,
    };
    switch (request.method) {
      case "ping":
        return { ping: await route.ask("pingVm", asked, id) };
      case "get": {
        const answer = await route.ask("getKey", { ...asked, params: { vm: id, key: request.params.key } }, id);
        return { answer, status: answer.status };
      }
      case "set":
      case "delete":
      case "clear":
        return { receipt: await route.ask("sendMessage", { ...asked, body: messageFor(request, id) }, id) };
    }
  }
}

/** VMs of one manager. */
interface Part {
  peer: Peer;
  vms: readonly VmRef[];
}

function partsOf(members: readonly Located[]): Part[] {
  const elsewhere = members.flatMap((member) => (member.at === "peer" ? [member] : []));
  const groups = Map.groupBy(elsewhere, ({ peer }) => peer.id);
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    const vms = group.map(({ vm }) => vm);
    return first === undefined ? [] : chunked(vms).map((chunk) => ({ peer: first.peer, vms: chunk }));
  });
}

function chunked(vms: readonly VmRef[]): VmRef[][] {
  const count = Math.ceil(vms.length / VMS_PER_PART);
  return Array.from({ length: count }, (_, index) => vms.slice(index * VMS_PER_PART, (index + 1) * VMS_PER_PART));
}

async function* resultsIn(events: AsyncIterable<FleetEvent>): AsyncGenerator<FleetResult> {
  for await (const event of events) if (event.event === "result") yield event.data;
}

/** Each once, our own names first. Throws as {@link Vms.select} does. */
function membersOf({ vms, places }: FleetParts, { who, body }: FleetCall): Located[] {
  const chosen = chosenBy(body.vms, who, { vms, places });
  return [...new Map(chosen.map((member) => [member.vm.id, member])).values()];
}

function chosenBy(
  selection: VmSelection,
  who: Principal,
  { vms, places }: Pick<FleetParts, "vms" | "places">,
): Located[] {
  const all = "all" in selection || selection.names.some(isPattern) ? places.all(who) : [];
  if ("all" in selection) return all;
  return selection.names.flatMap((name) => {
    if (isPattern(name)) return all.filter(({ vm }) => matchesVm(name, vm));
    return [places.find(who, name) ?? nowhere(who, name, { vms, places })];
  });
}

/** Throws as at home, or says that nobody can tell. */
function nowhere(who: Principal, name: string, { vms, places }: Pick<FleetParts, "vms" | "places">): Located {
  try {
    return { at: "here", vm: vms.resolve(who, name).ref };
  } catch (error) {
    throw isUnknownVm(error) ? places.notFound(error, who, name) : error;
  }
}

function changeOf(request: FleetBody): NewMessage | undefined {
  return request.method === "get" || request.method === "ping" ? undefined : request;
}

/** One for all managers, so that sent again it has one effect at each. */
function withMessageId(call: FleetCall): FleetCall {
  const change = changeOf(call.body.request);
  if (change === undefined || change.params.messageId !== undefined) return call;
  return { ...call, body: { ...call.body, request: identified(change, newMessageId()) } };
}

/** As the fleet would have sent it. */
function messageFor(message: NewMessage, vmId: string): NewMessage {
  return identified(message, messageIdFor(message.params.messageId ?? "", vmId));
}

function identified(message: NewMessage, messageId: string): NewMessage {
  return { ...message, params: { ...message.params, messageId } } as NewMessage;
}
