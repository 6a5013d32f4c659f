/** All VMs the manager knows, by what the inventory says of them, and who may see which. */
import { isDeepStrictEqual } from "node:util";
import type { VmSelection } from "../../shared/api/schemas.ts";
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import { isPattern, matchesVm } from "../../shared/vm-pattern.ts";
import { maySeeVm } from "../access/permissions.ts";
import type { Principal } from "../access/principal.ts";
import type { InventoryChange } from "../inventory/inventory.ts";
import { ManagedVm, type ManagedVmOptions } from "./managed-vm.ts";
import type { Metrics } from "../metrics.ts";
import type { StoredMirror, StoredVm } from "../store/store.ts";
import type { Vm } from "./vm.ts";

export interface VmsOptions extends Omit<ManagedVmOptions, "metrics"> {
  metrics: Metrics;
}

/** What is written down of a VM that no inventory has any more. */
export const NO_INVENTORY = "none";

export class Vms {
  readonly #options: VmsOptions;
  readonly #vms = new Map<string, ManagedVm>();
  /** One request can name thousands of them. */
  readonly #byName = new Map<string, Set<ManagedVm>>();

  private constructor(options: VmsOptions) {
    this.#options = options;
  }

  /** The VMs of the last run, of which nothing is known until an inventory speaks of them. */
  static async load(known: readonly StoredVm[], options: VmsOptions): Promise<Vms> {
    const { store } = options;
    const vms = new Vms(options);
    const [mirrors, pending] = await Promise.all([store.loadMirrors(), store.pendingCounts()]);
    const mirrorOf = new Map(mirrors.map((mirror) => [mirror.vmId, mirror]));
    for (const { vm, inventory, statusSince } of known) {
      const status = inventory === NO_INVENTORY ? vm.status : "Unknown";
      const seed = { vm: { ...vm, status, channelPath: undefined, guestAgent: undefined }, inventory, statusSince };
      vms.#add(seed, mirrorOf.get(vm.id), pending[vm.id] ?? 0);
    }
    return vms;
  }

  get all(): ManagedVm[] {
    return [...this.#vms.values()];
  }

  byId(id: string): ManagedVm | undefined {
    return this.#vms.get(id);
  }

  /** What the inventory found; saved, so that a VM is known when it is off and so is the manager. */
  update(change: InventoryChange): void {
    const { log, store, failed } = this.#options;
    const before = this.#vms.get(change.vm.id);
    if (change.type === "removed" && before === undefined) return;
    const known = change.type === "removed" ? removed(change) : change;
    const { vm, inventory, statusSince } = known;
    if (before?.vm.status !== vm.status) {
      log.info("vm", { vm: vm.name, id: vm.id, status: vm.status, was: before?.vm.status });
    }
    const isSaved = before !== undefined && isSameButForGuestAgent(known, before);
    const managed = before ?? this.#add(known, undefined, 0);
    this.#dropName(managed);
    managed.describe(vm, inventory, statusSince);
    this.#addName(managed);
    if (!isSaved) store.saveVms([{ vm, inventory, statusSince }]).catch(failed);
  }

  /** By name. */
  visibleTo(who: Principal): ManagedVm[] {
    return this.all.filter(({ vm }) => maySeeVm(who, vm)).sort((a, b) => (a.vm.name < b.vm.name ? -1 : 1));
  }

  /** By UUID or by name. One that may not be seen is not there. */
  resolve(who: Principal, nameOrId: string): ManagedVm {
    const byId = this.#vms.get(nameOrId.toLowerCase());
    const candidates = byId ? [byId] : [...(this.#byName.get(nameOrId) ?? [])];
    const [first, ...others] = candidates.filter(({ vm }) => maySeeVm(who, vm));
    if (first === undefined) throw unknownVm(nameOrId);
    if (others.length > 0) throw ambiguousVm(nameOrId, [first, ...others]);
    return first;
  }

  /** Throws when a name that is no pattern is not there, so that a misspelt one is not passed over. */
  select(who: Principal, selection: VmSelection): ManagedVm[] {
    if ("all" in selection) return this.visibleTo(who);
    const visible = selection.names.some(isPattern) ? this.visibleTo(who) : [];
    const chosen = selection.names.flatMap((name) => {
      return isPattern(name) ? visible.filter(({ vm }) => matchesVm(name, vm)) : [this.resolve(who, name)];
    });
    const unique = [...new Set(chosen)];
    if (unique.length > 0) return unique;
    throw new CommandError("failed", `no VM matches ${selection.names.map((name) => `'${name}'`).join(", ")}`, {
      unknownVm: true,
    });
  }

  /** With everything that is kept for it. */
  async forget(managed: ManagedVm): Promise<void> {
    this.#vms.delete(managed.vm.id);
    this.#dropName(managed);
    this.#options.standingChanged(managed.vm.id);
    await managed.forget();
    await this.#options.store.forgetVm(managed.vm.id);
    this.#options.metrics.forgetVm(managed.ref);
  }

  /** Settles when all are closed; rejects then, when one could not be. */
  async close(): Promise<void> {
    const results = await Promise.allSettled(this.all.map((vm) => vm.close()));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  #add(stored: StoredVm, mirror: StoredMirror | undefined, pending: number): ManagedVm {
    const metrics = this.#options.metrics.forVm({ id: stored.vm.id, name: stored.vm.name });
    const managed = new ManagedVm(stored, { mirror, pending }, { ...this.#options, metrics });
    this.#vms.set(stored.vm.id, managed);
    this.#addName(managed);
    return managed;
  }

  #addName(managed: ManagedVm): void {
    const { name } = managed.vm;
    const named = this.#byName.get(name) ?? new Set();
    this.#byName.set(name, named.add(managed));
  }

  #dropName(managed: ManagedVm): void {
    const { name } = managed.vm;
    const named = this.#byName.get(name);
    named?.delete(managed);
    if (named?.size === 0) this.#byName.delete(name);
  }
}

/** A VM that no inventory has any more has been stopped, as far as anybody can tell; what is kept for it stays. */
function removed({ vm }: InventoryChange): StoredVm {
  const stopped: Vm = { ...vm, status: "Stopped", channelPath: undefined, guestAgent: undefined };
  return { vm: stopped, inventory: NO_INVENTORY, statusSince: Date.now() };
}

/** A guest can open and close its guest agent's port all day, and no manager reads from its store whether it was open. */
function isSameButForGuestAgent(one: StoredVm, { vm, inventory, statusSince }: StoredVm): boolean {
  const isSameSource = one.inventory === inventory && one.statusSince === statusSince;
  return isSameSource && isDeepStrictEqual({ ...one.vm, guestAgent: undefined }, { ...vm, guestAgent: undefined });
}

function unknownVm(name: string): CommandError {
  return new CommandError("failed", `there is no VM '${name}'; 'vmmessage vms' lists them`, { unknownVm: true });
}

function ambiguousVm(name: string, vms: readonly ManagedVm[]): CommandError {
  const ids = vms.map(({ vm }) => vm.id);
  const error = usageError(`${vms.length} VMs are named '${name}'; say which by its UUID: ${ids.join(", ")}`);
  return new CommandError(error.code, error.message, { ids });
}
