/** Where a request about a VM goes: to this manager, or to the one on another host that has the VM. */
import { pause } from "../../../shared/abort.ts";
import type { VmRef, VmSummary } from "../../../shared/api/schemas.ts";
import { CommandError, usageError } from "../../../shared/cli/failure.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { printable } from "../../../shared/terminal-text.ts";
import { maySeeVm } from "../../access/permissions.ts";
import type { Principal } from "../../access/principal.ts";
import type { ConnectionState } from "../../connection-state.ts";
import type { Whereabouts } from "../whereabouts.ts";
import type { Peer } from "../wire.ts";

/** The VMs that this manager knows, as {@link Vms} has them. */
export interface KnownVms {
  /** Throws CommandError: with the detail `unknownVm: true` when it is not there, `usage` when several have the name. */
  resolve(who: Principal, nameOrId: string): { readonly ref: VmRef };
  visibleTo(who: Principal): { readonly ref: VmRef }[];
}

export type Located = { at: "here"; vm: VmRef } | { at: "peer"; vm: VmRef; peer: Peer };

export interface PlacesOptions {
  whereabouts: Whereabouts;
  vms: KnownVms;
  connection: () => ConnectionState;
}

export class Places {
  readonly #options: PlacesOptions;

  constructor(options: PlacesOptions) {
    this.#options = options;
  }

  /** Our own names come first. Undefined when nobody is known to have it; throws `usage` for a name that several have. */
  find(who: Principal, nameOrId: string): Located | undefined {
    const known = this.#known(who, nameOrId);
    return known === undefined ? this.#findElsewhere(who, nameOrId) : this.#locate(known);
  }

  /** All that may be seen, our own first, each once. */
  all(who: Principal): Located[] {
    const { vms, whereabouts } = this.#options;
    const located = vms.visibleTo(who).map(({ ref }) => this.#locate(ref));
    const ids = new Set(located.map(({ vm }) => vm.id));
    for (const { vm, peer } of whereabouts.elsewhere()) {
      if (ids.has(vm.id) || !maySeeVm(who, vm)) continue;
      ids.add(vm.id);
      located.push(this.#holder(vm) ?? { at: "peer", vm, peer });
    }
    return located;
  }

  isKnownHere(who: Principal, nameOrId: string): boolean {
    return this.#known(who, nameOrId) !== undefined;
  }

  /** A VM that nobody is known to have: it was somewhere, or it may be and nobody has told yet, or it is nowhere at all. */
  notFound(refusal: CommandError, who: Principal, nameOrId: string): CommandError {
    const { whereabouts } = this.#options;
    const what = `VM '${printable(nameOrId)}'`;
    if (this.awayReason !== undefined) return this.unlessAway(refusal, what);
    const [left] = whereabouts.lastSeen(nameOrId).filter(({ vm }) => maySeeVm(who, vm));
    if (left !== undefined) return nobodyHas({ at: "peer", ...left });
    if (!whereabouts.isSettling) return refusal;
    const message = `there is no ${what} here, and managers on other hosts have been met just now; try again`;
    return new CommandError("unreachable", message, {}, { cause: refusal });
  }

  /** What is not here may be elsewhere, and nobody can tell: that is another refusal than that it is nowhere. */
  unlessAway(refusal: CommandError, what: string): CommandError {
    const reason = this.awayReason;
    if (reason === undefined) return refusal;
    const message = `there is no ${what} here, and managers on other hosts cannot be asked now: ${reason}`;
    return new CommandError("unreachable", message, { reason }, { cause: refusal });
  }

  /** Why other managers cannot be asked; undefined when they can. */
  get awayReason(): string | undefined {
    const connection = this.#options.connection();
    return connection.state === "disconnected" ? connection.reason : undefined;
  }

  stayAt(located: Located, signal: AbortSignal): Stay {
    return new Stay(this.#options.whereabouts, located, signal);
  }

  /** Whether the VM is at another place within this time, at once when it is already. */
  async hasMoved(located: Located, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    using stay = this.stayAt(located, signal);
    await pause(timeoutMs, stay.signal);
    return stay.isOver;
  }

  onMoved(vmId: string, listener: () => void): () => void {
    return this.#options.whereabouts.onMoved(vmId, listener);
  }

  isHeldBy(vm: VmRef, peer: Peer): void {
    this.#options.whereabouts.isHeldBy(vm, peer);
  }

  #known(who: Principal, nameOrId: string): VmRef | undefined {
    try {
      return this.#options.vms.resolve(who, nameOrId).ref;
    } catch (error) {
      if (isUnknownVm(error)) return undefined;
      throw error;
    }
  }

  #locate(vm: VmRef): Located {
    return this.#holder(vm) ?? { at: "here", vm };
  }

  /** Whoever has it, if that is not this manager. */
  #holder(vm: VmRef): Located | undefined {
    const place = this.#options.whereabouts.of(vm.id);
    return place.type === "elsewhere" ? { at: "peer", vm, peer: place.peer } : undefined;
  }

  /** As at home: by UUID, or else by name. */
  #findElsewhere(who: Principal, nameOrId: string): Located | undefined {
    const { whereabouts } = this.#options;
    const byId = whereabouts.of(nameOrId.toLowerCase());
    if (byId.type === "elsewhere" && maySeeVm(who, byId.vm)) return { at: "peer", vm: byId.vm, peer: byId.peer };
    const [found, ...others] = whereabouts.elsewhereNamed(nameOrId).filter(({ vm }) => maySeeVm(who, vm));
    if (found === undefined) return undefined;
    if (others.length > 0) {
      throw ambiguousVm(
        nameOrId,
        [found, ...others].map(({ vm }) => vm.id),
      );
    }
    return { at: "peer", ...found };
  }
}

/** What this manager tells of a VM, with who else has it. */
export function placed(summary: VmSummary, whereabouts: Pick<Whereabouts, "of">): VmSummary {
  const place = whereabouts.of(summary.id);
  switch (place.type) {
    case "elsewhere":
      return { ...summary, heldBy: place.peer.host };
    case "contested":
      return { ...summary, contestedBy: place.peer.host };
    case "here":
    case "nowhere":
      return summary;
    default:
      return unreachable(place);
  }
}

/** While a VM is where it was found: its signal is aborted when it is found elsewhere, and when the given one is. */
export class Stay implements Disposable {
  readonly signal: AbortSignal;
  readonly #left = new AbortController();
  readonly #stopListening: () => void;

  constructor(whereabouts: Whereabouts, located: Located, signal: AbortSignal) {
    this.signal = AbortSignal.any([signal, this.#left.signal]);
    const look = (): void => {
      if (hasLeft(whereabouts, located)) this.#left.abort(new Error("the VM is at another place"));
    };
    this.#stopListening = whereabouts.onMoved(located.vm.id, look);
    look();
  }

  /** Whether it is at another place. */
  get isOver(): boolean {
    return this.#left.signal.aborted;
  }

  [Symbol.dispose](): void {
    this.#stopListening();
  }
}

/** One that nobody has has not been found elsewhere. */
function hasLeft(whereabouts: Whereabouts, located: Located): boolean {
  const place = whereabouts.of(located.vm.id);
  switch (place.type) {
    case "here":
    case "contested":
      return located.at === "peer";
    case "elsewhere":
      return located.at === "here" || place.peer.id !== located.peer.id;
    case "nowhere":
      return false;
    default:
      return unreachable(place);
  }
}

export function nobodyHas(located: Located): CommandError {
  const { id, name } = located.vm;
  const was = located.at === "peer" ? `; it was on ${printable(located.peer.host)}` : "";
  return new CommandError("unreachable", `no manager has '${printable(name)}' now${was}`, { vm: name, id });
}

export function isUnknownVm(error: unknown): error is CommandError {
  return error instanceof CommandError && error.details["unknownVm"] === true;
}

function ambiguousVm(name: string, ids: readonly string[]): CommandError {
  const { code, message } = usageError(
    `${ids.length} VMs on other hosts are named '${name}'; say which by its UUID: ${ids.join(", ")}`,
  );
  return new CommandError(code, message, { ids });
}
