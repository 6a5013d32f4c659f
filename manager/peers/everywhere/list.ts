/** The VMs of all managers, as those tell of them. */
import type { AskedManager, VmList, VmSummary } from "../../../shared/api/schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import type { Handlers, Request } from "../../api/handler.ts";
import { MisdirectedError } from "../caller.ts";
import type { Whereabouts } from "../whereabouts.ts";
import type { Peer } from "../wire.ts";
import { managerAt } from "./asking-around.ts";
import type { Places } from "./places.ts";
import type { PeerRows } from "./rows.ts";

export interface ListParts {
  local: Handlers;
  places: Places;
  rows: PeerRows;
  whereabouts: Pick<Whereabouts, "peers" | "of">;
  self: Peer;
}

/** What one manager tells. */
interface Told {
  by: Peer;
  vms: readonly VmSummary[];
  reason?: string;
}

/** All at once. One that does not answer has a reason; rejects with `unreachable` when none can be asked. */
export async function listEverywhere(parts: ListParts, request: Request<"listVms">): Promise<VmList> {
  const { local, places, whereabouts, self } = parts;
  const { awayReason } = places;
  if (awayReason !== undefined) {
    const message = `managers on other hosts cannot be asked now: ${awayReason}`;
    throw new CommandError("unreachable", message, { reason: awayReason });
  }
  const asked = { ...request, query: {} };
  const peers = whereabouts.peers().toSorted((a, b) => a.host.localeCompare(b.host, "en", { numeric: true }));
  const told = await Promise.all([
    Promise.resolve(local.listVms(asked)).then(({ vms }): Told => ({ by: self, vms })),
    ...peers.map((peer) => toldBy(peer, asked, parts)),
  ]);
  request.signal.throwIfAborted();
  return { vms: merged(told, whereabouts, self), managers: told.map(askedManager) };
}

async function toldBy(peer: Peer, request: Request<"listVms">, { rows }: ListParts): Promise<Told> {
  try {
    const { vms } = await rows.ask(managerAt(peer), "listVms", request);
    return { by: peer, vms };
  } catch (error) {
    if (request.signal.aborted) return { by: peer, vms: [], reason: "not waited for" };
    if (error instanceof MisdirectedError) return { by: peer, vms: [], reason: "it is gone, or was started again" };
    if (!(error instanceof CommandError)) throw error;
    return { by: peer, vms: [], reason: error.message };
  }
}

function askedManager({ by: { host, id }, reason }: Told): AskedManager {
  return { host, id, ...(reason !== undefined && { reason }) };
}

interface Row {
  by: Peer;
  vm: VmSummary;
}

/** Each VM as its holder tells of it, or whoever remembers it when the holder does not tell; twice where two have it. */
function merged(told: readonly Told[], whereabouts: Pick<Whereabouts, "of">, self: Peer): VmSummary[] {
  const rows = told.flatMap(({ by, vms }) => vms.map((vm): Row => ({ by, vm })));
  const groups = Map.groupBy(rows, ({ vm }) => vm.id);
  return [...groups].flatMap(([id, group]) => shownOf(group, holderId(whereabouts, id, self)));
}

function shownOf(group: readonly Row[], holder: string | undefined): VmSummary[] {
  const own = group.filter(({ vm }) => vm.heldBy === undefined);
  const hasContest = own.length > 1 && own.some(({ vm }) => vm.contestedBy !== undefined);
  if (hasContest) return own.map(({ vm }) => vm);
  const shown = own.find(({ by }) => by.id === holder) ?? own[0] ?? group[0];
  return shown === undefined ? [] : [shown.vm];
}

function holderId(whereabouts: Pick<Whereabouts, "of">, vmId: string, self: Peer): string | undefined {
  const place = whereabouts.of(vmId);
  switch (place.type) {
    case "here":
    case "contested":
      return self.id;
    case "elsewhere":
      return place.peer.id;
    case "nowhere":
      return undefined;
    default:
      return unreachable(place);
  }
}
