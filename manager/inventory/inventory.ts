/** All VMs of all sources, each by its id, and what changes. */
import { aborted } from "../../shared/abort.ts";
import type { Log } from "../../shared/log.ts";
import type { StoredVm } from "../store/store.ts";
import type { GuestAgent, Vm } from "../vms/vm.ts";
import type { InventorySink, InventorySource } from "./source.ts";

/** Names and reasons are written by others. A name is often a file's, and those have at most 255 bytes. */
const MAX_NAME_LENGTH = 255;
const MAX_REASON_LENGTH = 1_000;

/** Of a source that has just been started. */
const NOT_YET = "it has not answered yet";

/** A VM, who says so, and since when (ms since 1970) it has its status. */
export type KnownVm = StoredVm;

/**
 * `previous` is what was known before: of a VM that no source has spoken of since the start, what the store had of it.
 * `isResync` says that the change was found by comparing, and happened at some time before.
 */
export type InventoryChange = { isResync: boolean } & (
  | ({ type: "added"; previous: undefined } & KnownVm)
  | ({ type: "changed"; previous: Vm } & KnownVm)
  /** With what was last known. */
  | ({ type: "removed"; previous: Vm } & KnownVm)
);

export type FoundVm = { type: "found"; vm: KnownVm } | { type: "none" } | { type: "ambiguous"; ids: string[] };

export interface SourceState {
  name: string;
  isConnected: boolean;
  /** Why not. */
  reason: string | undefined;
  vms: number;
}

export interface InventoryOptions {
  /** What the store has: these VMs are known, with the status Unknown, until a source speaks of them. */
  known: readonly StoredVm[];
  /** Called for each change, one after the other; must not throw. */
  onChange: (change: InventoryChange) => void;
  log: Log;
  /** The clock, ms since 1970. */
  now?: () => number;
}

/** One source while it runs. */
interface Feed {
  source: InventorySource;
  stop: AbortController;
  ended: Promise<void>;
  /** Its VMs as it described them last. */
  vms: Map<string, Vm>;
  hasSpoken: boolean;
  reason: string | undefined;
  /** Settles when it has said what it has, or why it cannot. */
  firstWord: PromiseWithResolvers<undefined>;
}

/** A VM that is known. `isConfirmed`: some source speaks of it; else this is what the store, or a source that was removed, had. */
interface Entry {
  known: KnownVm;
  isConfirmed: boolean;
}

/**
 * When several sources have the same VM, the first that has it running describes it, or else the first that has it at all,
 * in the order in which they were added.
 *
 * A VM that no source speaks of is forgotten only when a source that had it says that it is gone. Until then, and when its
 * source is taken away, it stays with the status Unknown. A source that sees only what runs cannot say so: what it does
 * not name is Stopped, and Unknown while that source has trouble.
 */
export class Inventory {
  readonly #options: InventoryOptions;
  readonly #now: () => number;
  readonly #feeds = new Map<string, Feed>();
  readonly #entries = new Map<string, Entry>();
  readonly #idsByName = new Map<string, Set<string>>();
  #signal: AbortSignal | undefined;

  constructor(options: InventoryOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    for (const known of options.known) this.#keep({ known, isConfirmed: false });
  }

  /** Runs these sources, and those added meanwhile, until aborted. Settles when all have ended. */
  async run(sources: readonly InventorySource[], signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    for (const source of sources) this.add(source);
    await aborted(signal);
    await Promise.all([...this.#feeds.values()].map(({ ended }) => ended));
  }

  /** Runs one more source, after those that are there. Only while running, and each name once. */
  add(source: InventorySource): void {
    if (this.#signal === undefined) throw new Error("the inventory is not running");
    if (this.#feeds.has(source.name)) throw new Error(`the inventory has '${source.name}' already`);
    const stop = new AbortController();
    const feed: Feed = {
      source,
      stop,
      ended: Promise.resolve(),
      vms: new Map(),
      hasSpoken: false,
      reason: undefined,
      firstWord: Promise.withResolvers(),
    };
    this.#feeds.set(source.name, feed);
    const signal = AbortSignal.any([this.#signal, stop.signal]);
    feed.ended = source.run(this.#sinkOf(feed), signal).catch((error: unknown) => {
      this.#options.log.error("inventory-failed", { inventory: source.name, error });
      this.#setReason(feed, "it failed; the log has the details");
    });
  }

  /** Settles when every source has said what it has, or why it cannot. */
  async spoken(): Promise<void> {
    await Promise.all([...this.#feeds.values()].map(({ firstWord }) => firstWord.promise));
  }

  /** Ends a source; its VMs stay known. Settles when it has ended; nothing happens when there is none of that name. */
  async remove(name: string): Promise<void> {
    const feed = this.#feeds.get(name);
    if (feed === undefined) return;
    feed.stop.abort();
    await feed.ended;
    if (this.#feeds.get(name) !== feed) return;
    this.#feeds.delete(name);
    for (const id of feed.vms.keys()) this.#settle(id, { isResync: true, isGone: false });
  }

  /**
   * Drops a VM that is not there any more as far as the sources can tell: none speaks of it, or only those that see only
   * what runs, and it does not. False when there is such a source, or no such VM.
   */
  forget(id: string): boolean {
    const feeds = [...this.#feeds.values()].filter(({ vms }) => vms.has(id));
    const isVouchedFor = feeds.some(({ source, vms }) => source.seesOnlyRunning !== true || isAlive(vms.get(id)));
    if (isVouchedFor || !this.#entries.has(id)) return false;
    for (const { vms } of feeds) vms.delete(id);
    this.#settle(id, { isResync: false, isGone: true });
    return true;
  }

  /** Somebody doubts what is known of a VM: whoever says it looks again soon, if it may have missed something. */
  look(vmId: string): void {
    const entry = this.#entries.get(vmId);
    if (entry?.isConfirmed === true) this.#feeds.get(entry.known.inventory)?.source.look?.(vmId);
  }

  /** By UUID in either case, which goes before a name that looks like one, or by name. */
  find(nameOrId: string): FoundVm {
    const byId = this.#entries.get(nameOrId.toLowerCase());
    if (byId !== undefined) return { type: "found", vm: view(byId) };
    const [id, ...others] = [...(this.#idsByName.get(nameOrId) ?? [])].sort();
    const entry = id === undefined ? undefined : this.#entries.get(id);
    if (id === undefined || entry === undefined) return { type: "none" };
    return others.length > 0 ? { type: "ambiguous", ids: [id, ...others] } : { type: "found", vm: view(entry) };
  }

  vms(): KnownVm[] {
    return [...this.#entries.values()].map(view);
  }

  /** In the order in which they were added. */
  sources(): SourceState[] {
    return [...this.#feeds.values()].map(({ source, vms, hasSpoken, reason }) => {
      const isConnected = hasSpoken && reason === undefined;
      return { name: source.name, isConnected, reason: isConnected ? undefined : (reason ?? NOT_YET), vms: vms.size };
    });
  }

  /** A source that was removed is not listened to any more. */
  #sinkOf(feed: Feed): InventorySink {
    const whileRunning = <A extends unknown[]>(act: (...args: A) => void) => {
      return (...args: A): void => {
        if (!feed.stop.signal.aborted) act(...args);
      };
    };
    return {
      synchronized: whileRunning((vms: readonly Vm[]) => {
        this.#synchronize(feed, vms);
      }),
      changed: whileRunning((vm: Vm) => {
        feed.vms.set(vm.id, bounded(vm));
        this.#settle(vm.id, { isResync: false, isGone: false });
      }),
      removed: whileRunning((id: string) => {
        feed.vms.delete(id);
        this.#settle(id, { isResync: false, isGone: true });
      }),
      disconnected: whileRunning((reason: string | undefined) => {
        this.#setReason(feed, reason?.slice(0, MAX_REASON_LENGTH));
      }),
    };
  }

  #synchronize(feed: Feed, vms: readonly Vm[]): void {
    const before = this.#idsOf(feed);
    feed.vms = new Map(vms.map((vm) => [vm.id, bounded(vm)]));
    if (feed.source.seesOnlyRunning === true) {
      for (const id of before) if (!feed.vms.has(id)) this.#noteNotSeen(feed, id);
    }
    for (const id of new Set([...before, ...feed.vms.keys()])) this.#settle(id, { isResync: true, isGone: true });
    feed.firstWord.resolve(undefined);
    if (feed.hasSpoken) return;
    feed.hasSpoken = true;
    if (feed.reason === undefined) this.#logConnected(feed);
  }

  /** What the source had, in this run or, as the store says, in an earlier one. */
  #idsOf({ source, vms }: Feed): Set<string> {
    const remembered = [...this.#entries.values()].filter(({ isConfirmed, known }) => {
      return !isConfirmed && known.inventory === source.name;
    });
    return new Set([...vms.keys(), ...remembered.map(({ known }) => known.vm.id)]);
  }

  #noteNotSeen(feed: Feed, id: string): void {
    const vm = this.#entries.get(id)?.known.vm;
    if (vm === undefined) return;
    const hasEnded = vm.status === "Stopped" || vm.status === "Crashed";
    const status = hasEnded ? vm.status : feed.reason === undefined ? "Stopped" : "Unknown";
    feed.vms.set(id, { ...withoutChannel(vm), status });
  }

  #setReason(feed: Feed, reason: string | undefined): void {
    if (feed.reason === reason) return;
    feed.reason = reason;
    if (reason !== undefined) {
      feed.firstWord.resolve(undefined);
      this.#options.log.warn("inventory-disconnected", { inventory: feed.source.name, reason });
      return;
    }
    if (feed.hasSpoken) this.#logConnected(feed);
    if (feed.source.seesOnlyRunning !== true) return;
    for (const [id, vm] of feed.vms) {
      if (vm.status !== "Unknown") continue;
      feed.vms.set(id, { ...vm, status: "Stopped" });
      this.#settle(id, { isResync: true, isGone: false });
    }
  }

  #logConnected({ source, vms }: Feed): void {
    this.#options.log.info("inventory-connected", { inventory: source.name, vms: vms.size });
  }

  /** Brings what is known of a VM in line with what the sources say; `isGone` when none of them may have it. */
  #settle(id: string, { isResync, isGone }: { isResync: boolean; isGone: boolean }): void {
    const { onChange } = this.#options;
    const said = this.#bestOf(id);
    const entry = this.#entries.get(id);
    if (said !== undefined) {
      this.#describe(said.vm, said.inventory, isResync);
    } else if (entry !== undefined && isGone) {
      this.#drop(entry);
      onChange({ type: "removed", isResync, ...entry.known, previous: entry.known.vm });
    } else if (entry?.isConfirmed === true) {
      const orphan = { known: entry.known, isConfirmed: false };
      this.#keep(orphan);
      onChange({ type: "changed", isResync, ...view(orphan), statusSince: this.#now(), previous: entry.known.vm });
    }
  }

  #bestOf(id: string): { vm: Vm; inventory: string } | undefined {
    const said = [...this.#feeds.values()].flatMap(({ source, vms }) => {
      const vm = vms.get(id);
      return vm === undefined ? [] : [{ vm, inventory: source.name }];
    });
    return said.find(({ vm }) => vm.status === "Running") ?? said[0];
  }

  /** A VM that was only remembered is told of also when it is as it was: it is now known to be so. */
  #describe(vm: Vm, inventory: string, isResync: boolean): void {
    const { onChange } = this.#options;
    const entry = this.#entries.get(vm.id);
    const previous = entry?.known.vm;
    if (entry?.isConfirmed === true && entry.known.inventory === inventory && isSame(vm, entry.known.vm)) return;
    const statusSince = entry !== undefined && previous?.status === vm.status ? entry.known.statusSince : this.#now();
    const known = { vm, inventory, statusSince };
    if (entry !== undefined) this.#drop(entry);
    this.#keep({ known, isConfirmed: true });
    if (previous === undefined) onChange({ type: "added", isResync, ...known, previous });
    else onChange({ type: "changed", isResync, ...known, previous });
  }

  #keep(entry: Entry): void {
    const { id, name } = entry.known.vm;
    this.#entries.set(id, entry);
    const ids = this.#idsByName.get(name) ?? new Set();
    this.#idsByName.set(name, ids.add(id));
  }

  #drop({ known }: Entry): void {
    const { id, name } = known.vm;
    this.#entries.delete(id);
    const ids = this.#idsByName.get(name);
    ids?.delete(id);
    if (ids?.size === 0) this.#idsByName.delete(name);
  }
}

/** What is remembered may have changed since. */
function view({ known, isConfirmed }: Entry): KnownVm {
  return isConfirmed ? known : { ...known, vm: { ...withoutChannel(known.vm), status: "Unknown" } };
}

function withoutChannel({ id, name, status, host }: Vm): Vm {
  return { id, name, status, host, channelPath: undefined };
}

/** Whether there is a hypervisor's process for it. */
function isAlive(vm: Vm | undefined): boolean {
  return vm?.status === "Running" || vm?.status === "Paused" || vm?.status === "Suspended";
}

function bounded(vm: Vm): Vm {
  const name = vm.name.slice(0, MAX_NAME_LENGTH).toWellFormed();
  const problem = vm.problem?.slice(0, MAX_REASON_LENGTH);
  return { ...vm, name: name === "" ? vm.id : name, ...(problem !== undefined && { problem }) };
}

function isSame(vm: Vm, other: Vm): boolean {
  return (
    vm.name === other.name &&
    vm.status === other.status &&
    vm.host === other.host &&
    vm.channelPath === other.channelPath &&
    vm.isOpenInGuest === other.isOpenInGuest &&
    vm.problem === other.problem &&
    isSameGuestAgent(vm.guestAgent, other.guestAgent)
  );
}

function isSameGuestAgent(one: GuestAgent | undefined, other: GuestAgent | undefined): boolean {
  return one?.via === other?.via && addressOf(one) === addressOf(other) && one?.isOpenInGuest === other?.isOpenInGuest;
}

function addressOf(guestAgent: GuestAgent | undefined): string | undefined {
  return guestAgent?.via === "libvirt" ? guestAgent.uri : guestAgent?.path;
}
