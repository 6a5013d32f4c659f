/**
 * The API's table where managers on other hosts are met: what is about a VM goes to the manager that has it, what has an id
 * of its own to the one that knows it, and what is about many VMs to all of theirs. The rest is this manager's own.
 */
import { usageError } from "../../../shared/cli/failure.ts";
import { printable } from "../../../shared/terminal-text.ts";
import { isPattern } from "../../../shared/vm-pattern.ts";
import type { Handlers, Request } from "../../api/handler.ts";
import type { ConnectionState } from "../../connection-state.ts";
import type { Caller } from "../caller.ts";
import { type VmRow, vmRows } from "../calls/serving.ts";
import type { Whereabouts } from "../whereabouts.ts";
import type { Peer } from "../wire.ts";
import { AskingAround } from "./asking-around.ts";
import { sendFleet } from "./fleet.ts";
import { listEverywhere } from "./list.ts";
import { type KnownVms, type Located, placed, Places } from "./places.ts";
import { PeerRows, type RowRequest } from "./rows.ts";
import { followEvents, ofAnotherLog, type StreamParts, watchKeys } from "./streams.ts";
import { VmRoute } from "./vm.ts";

export interface EverywhereOptions {
  whereabouts: Whereabouts;
  caller: Caller;
  /** Of this manager. */
  vms: KnownVms;
  self: Peer;
  /** To the broker, as it is now. */
  connection: () => ConnectionState;
}

type VmRows = Pick<Handlers, VmRow>;

/** This manager's own table, whose VMs say who else has them: it serves other managers, too. */
export function withPlaces(local: Handlers, whereabouts: Whereabouts): Handlers {
  return {
    ...local,
    listVms: async (request) => {
      const { vms, ...rest } = await local.listVms(request);
      return { ...rest, vms: vms.map((vm) => placed(vm, whereabouts)) };
    },
    showVm: async (request) => placed(await local.showVm(request), whereabouts),
  };
}

/** @param local this manager's own, {@link withPlaces} */
export function everywhere(local: Handlers, options: EverywhereOptions): Handlers {
  const { whereabouts, vms, self } = options;
  const places = new Places(options);
  const rows = new PeerRows(options.caller);
  const route = new VmRoute({ local, places, rows, self });
  const parts = { local, vms, places, rows, route, whereabouts, self };
  const around = new AskingAround(parts);
  return {
    ...local,
    ...routed(route),
    ...rowsOfOneLog(parts),
    forgetVm: (request) => {
      const isKnownHere = places.isKnownHere(request.who, request.params.vm);
      return isKnownHere ? local.forgetVm(request) : route.ask("forgetVm", request, request.params.vm);
    },
    listImageSaves: (request) => {
      const { vm } = request.query;
      return vm === undefined ? local.listImageSaves(request) : route.ask("listImageSaves", request, vm);
    },
    listAudit: (request) => {
      const { vm } = request.query;
      return vm === undefined ? local.listAudit(request) : route.ask("listAudit", request, vm);
    },
    watchKeys: (request) => watchKeys(parts, request) as ReturnType<Handlers["watchKeys"]>,
    listVms: (request) => (request.query.everywhere === true ? listEverywhere(parts, request) : local.listVms(request)),
    sendFleet: (request) => sendFleet(parts, request),
    getReceipt: (request) => around.getReceipt(request),
    showImageSave: (request) => around.showImageSave(request),
    followImageSave: (request) => around.followImageSave(request),
    cancelImageSave: (request) => around.cancelImageSave(request),
  };
}

function routed(route: VmRoute): VmRows {
  const rowOf = (name: VmRow) => (request: RowRequest) => {
    return route.ask(name, request, (request.params as { vm: string }).vm);
  };
  // Each has its own row's answer, as the names say.
  return Object.fromEntries(vmRows.map((name) => [name, rowOf(name)])) as unknown as VmRows;
}

/** Events of one VM are in the log of the manager that it was at when they happened: those of its present one are told. */
function rowsOfOneLog(parts: StreamParts): Pick<Handlers, "listEvents" | "followEvents"> {
  const { local, places, route } = parts;
  return {
    listEvents: async (request) => {
      const located = onlyVm(request, places);
      if (located?.at !== "peer") return local.listEvents(request);
      try {
        return await route.ask("listEvents", request, located.vm.id);
      } catch (error) {
        throw ofAnotherLog(error, located);
      }
    },
    followEvents: (request) => {
      const located = onlyVm(request, places);
      if (located === undefined) return local.followEvents(request);
      return followEvents(parts, request, located.vm.id) as ReturnType<Handlers["followEvents"]>;
    },
  };
}

/** The only one that is asked for, by its name or UUID. Throws `usage` for one of another host among several. */
function onlyVm({ who, query }: Pick<Request<"followEvents">, "who" | "query">, places: Places): Located | undefined {
  const names = query.vm ?? [];
  const located = names.filter((name) => !isPattern(name)).map((name) => ({ name, place: places.find(who, name) }));
  if (names.length === 1) return located[0]?.place;
  const elsewhere = located.find(({ place }) => place?.at === "peer");
  if (elsewhere === undefined) return undefined;
  const remedy = `ask for '${printable(elsewhere.name)}' alone`;
  throw usageError(`events of VMs of other hosts are told one VM at a time; ${remedy}`);
}
