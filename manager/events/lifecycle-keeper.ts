/** Keeps the lifecycles of all VMs: gives them the time, and writes their events and their state down in one commit. */
import * as z from "zod/mini";
import type { Log } from "../../shared/log.ts";
import type { InventoryChange } from "../inventory/inventory.ts";
import type { LibvirtEvent } from "../inventory/libvirt-events.ts";
import type { QmpEvent } from "../inventory/qmp.ts";
import type { Identity } from "../inventory/qmp-vm.ts";
import type { Store, StoredLifecycle } from "../store/store.ts";
import type { NewEvent } from "./event.ts";
import { type LifecycleState, lives, LONGEST_WAIT_MS, VmLifecycle } from "./lifecycle.ts";
import { knownStatuses, type Observation, observedByLibvirt, observedByQmp } from "./lifecycle-table.ts";

/** Events in one request to the store: its transactions stay short enough for what must be durable at once. */
const EVENTS_AT_ONCE = 500;

/** How long announcements wait for an inventory to know whose they are. It looks at once; libvirt has 20 s to answer. */
const HOLD_MS = 30_000;

/** A domain that is made and started is announced with four. */
const MAX_HELD_OF_ONE = 32;
const MAX_HELD_NAMES = 1_000;

const storedState = z.object({
  name: z.string(),
  isDefined: z.boolean(),
  status: z.optional(z.enum(knownStatuses)),
  life: z.enum(lives),
  pause: z.optional(z.object({ at: z.number(), observedBy: z.string(), detail: z.string(), dueAt: z.number() })),
});

export interface LifecycleKeeperOptions {
  store: Pick<Store, "loadLifecycles" | "appendEvents">;
  log: Log;
  /** The store failed: the manager cannot go on. */
  failed: (error: unknown) => void;
  /** The clock, ms since 1970. */
  now?: () => number;
}

/** Events of one VM, and what is to be remembered with them. */
interface Entry {
  vmId: string;
  events: NewEvent[];
  /** Undefined when the VM was forgotten meanwhile. */
  lifecycle: LifecycleState | undefined;
}

export class LifecycleKeeper {
  readonly #options: LifecycleKeeperOptions;
  readonly #now: () => number;
  readonly #vms = new Map<string, VmLifecycle>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #held = new HeldObservations();
  #queue: Entry[] = [];
  #writing: Promise<void> | undefined;
  #isClosed = false;

  /** With what was known when the manager ended: what happened since is found by comparing. */
  static async open(options: LifecycleKeeperOptions): Promise<LifecycleKeeper> {
    const keeper = new LifecycleKeeper(options);
    for (const { vmId, lifecycle } of await options.store.loadLifecycles()) keeper.#load(vmId, lifecycle);
    return keeper;
  }

  private constructor(options: LifecycleKeeperOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** virsh prints names: an event of one that is new waits for the inventory to say whose it is. */
  libvirtEvent(sourceName: string, event: LibvirtEvent, vmId: string | undefined): void {
    this.#observe(sourceName, vmId, event.domain, observedByLibvirt(sourceName, event));
  }

  /** What comes before the VM has said who it is shows in what the inventory then reads. */
  qmpEvent(sourceName: string, event: QmpEvent, identity: Identity | undefined): void {
    if (identity !== undefined) this.#observe(sourceName, identity.id, identity.id, observedByQmp(sourceName, event));
  }

  changed(change: InventoryChange): void {
    if (this.#isClosed) return;
    const { vm, inventory } = change;
    const now = this.#now();
    const lifecycle = this.#vms.get(vm.id);
    if (change.type === "removed") {
      if (lifecycle !== undefined) this.#keep(vm.id, lifecycle, lifecycle.removed(change, now));
      return;
    }
    const known = lifecycle ?? new VmLifecycle(vm);
    this.#vms.set(vm.id, known);
    const announced = [vm.name, vm.id].flatMap((key) => this.#held.take(inventory, key, now));
    this.#keep(vm.id, known, known.found(change, announced, now));
  }

  /** Remembers nothing of this VM any more. To be called before the store forgets it. */
  forget(vmId: string): void {
    this.#vms.delete(vmId);
    this.#stopTimer(vmId);
    for (const entry of this.#queue) if (entry.vmId === vmId) entry.lifecycle = undefined;
  }

  /** Settles when everything is written; what is told to it from now on is not heard. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const vmId of [...this.#timers.keys()]) this.#stopTimer(vmId);
    await this.#writing;
  }

  /** What comes after something that could not be written would be wrong without it. */
  #end(): void {
    void this.close();
    this.#queue = [];
  }

  #load(vmId: string, stored: unknown): void {
    const parsed = storedState.safeParse(stored);
    if (!parsed.success) {
      this.#options.log.warn("lifecycle-unreadable", { id: vmId });
      return;
    }
    const { status, pause, ...state } = parsed.data;
    const lifecycle = new VmLifecycle({ id: vmId, name: state.name }, { ...state, status, pause });
    this.#vms.set(vmId, lifecycle);
    this.#setTimer(vmId, lifecycle);
  }

  #observe(source: string, vmId: string | undefined, key: string, observation: Observation | undefined): void {
    if (observation === undefined || this.#isClosed) return;
    const lifecycle = vmId === undefined ? undefined : this.#vms.get(vmId);
    const now = this.#now();
    if (vmId === undefined || lifecycle?.isDefined !== true) this.#held.add(source, key, observation, now);
    else this.#keep(vmId, lifecycle, lifecycle.announced(observation, now));
  }

  #keep(vmId: string, lifecycle: VmLifecycle, events: NewEvent[]): void {
    this.#setTimer(vmId, lifecycle);
    if (events.length === 0) return;
    this.#queue.push({ vmId, events, lifecycle: lifecycle.state });
    this.#writing ??= this.#write();
  }

  #setTimer(vmId: string, lifecycle: VmLifecycle): void {
    this.#stopTimer(vmId);
    if (lifecycle.dueAt === undefined) return;
    const now = this.#now();
    // The clock may have been set since.
    const waitMs = Math.min(Math.max(lifecycle.dueAt - now, 0), LONGEST_WAIT_MS);
    const timer = setTimeout(() => {
      this.#keep(vmId, lifecycle, lifecycle.due(now + waitMs));
    }, waitMs);
    this.#timers.set(vmId, timer);
  }

  #stopTimer(vmId: string): void {
    clearTimeout(this.#timers.get(vmId));
    this.#timers.delete(vmId);
  }

  /** One request after the other, in the order in which things happened; what comes meanwhile goes with the next. */
  async #write(): Promise<void> {
    const { store, failed } = this.#options;
    try {
      while (this.#queue.length > 0) {
        // Others may have something to say at the same moment.
        await Promise.resolve();
        const { events, lifecycles } = this.#takeQueued();
        await store.appendEvents(events, lifecycles);
      }
    } catch (error) {
      this.#end();
      failed(error);
    } finally {
      // Here, and not when this promise has settled: what came in between would wait for ever.
      this.#writing = undefined;
    }
  }

  /** Of each VM, what is to be remembered after the last of these events. */
  #takeQueued(): { events: NewEvent[]; lifecycles: StoredLifecycle[] } {
    let count = 0;
    let size = 0;
    for (const { events } of this.#queue) {
      if (count > 0 && size + events.length > EVENTS_AT_ONCE) break;
      count += 1;
      size += events.length;
    }
    const entries = this.#queue.splice(0, count);
    const lifecycles = new Map<string, StoredLifecycle>();
    for (const { vmId, lifecycle } of entries) if (lifecycle) lifecycles.set(vmId, { vmId, lifecycle });
    return { events: entries.flatMap(({ events }) => events), lifecycles: [...lifecycles.values()] };
  }
}

/** What was announced of VMs that no inventory has spoken of yet. */
class HeldObservations {
  readonly #held = new Map<string, { observations: Observation[]; since: number }>();

  /** The oldest make room. */
  add(source: string, key: string, observation: Observation, now: number): void {
    const whose = keyOf(source, key);
    const held = this.#held.get(whose);
    if (held !== undefined && !isOver(held.since, now)) {
      held.observations = [...held.observations, observation].slice(-MAX_HELD_OF_ONE);
      return;
    }
    this.#held.delete(whose);
    this.#held.set(whose, { observations: [observation], since: now });
    for (const [oldest, { since }] of this.#held) {
      if (!isOver(since, now) && this.#held.size <= MAX_HELD_NAMES) break;
      this.#held.delete(oldest);
    }
  }

  take(source: string, key: string, now: number): Observation[] {
    const whose = keyOf(source, key);
    const held = this.#held.get(whose);
    this.#held.delete(whose);
    return held === undefined || isOver(held.since, now) ? [] : held.observations;
  }
}

function keyOf(source: string, key: string): string {
  return `${source}\n${key}`;
}

function isOver(since: number, now: number): boolean {
  return now < since || now - since > HOLD_MS;
}
