/**
 * What managers have announced: who is there, and which VMs each holds. Nothing of it is kept on disk, and nothing of it is
 * certain: the broker alone decides who holds a VM.
 */
import type { VmRef } from "../../../shared/api/schemas.ts";
import type { Log } from "../../../shared/log.ts";
import type { Addressee, Transport } from "../transport.ts";
import type { PeerVm } from "../whereabouts.ts";
import type { Announcement, Peer } from "../wire.ts";
import { HeardTimes } from "./heard-times.ts";
import { PacedAnswers } from "./paced-answers.ts";

/** Changes within this are announced together: a manager that starts takes its VMs one by one. */
const COLLECT_MS = 200;

/** What is let go, usually for another who has it at once, is told after that one had the time to say so. */
const COLLECT_LOST_MS = 1_000;

const REMIND_EVERY_MS = 30_000;

/** Whoever says nothing for so long has missed three reminders. */
const SILENCE_MS = 3 * REMIND_EVERY_MS;

/** By then the next reminder is there. */
const ANNOUNCEMENT_EXPIRES_MS = REMIND_EVERY_MS;

/** Of other managers, and of what all of them hold. Not measured; above what one broker should connect. */
const MAX_PEERS = 1_000;
const MAX_PEER_VMS = 100_000;

export interface DirectoryOptions {
  transport: Pick<Transport, "self" | "send">;
  log: Log;
  /** Milliseconds, of a clock that is never set. */
  now?: () => number;
}

/** What one manager has said. */
interface Announced {
  peer: Peer;
  /** Of its list; undefined when it has not told one yet. */
  revision: number | undefined;
  vms: Map<string, VmRef>;
  heardAt: number;
}

/** A manager said something to which an answer is due: our list, or that its own is not known here. */
interface Asked {
  isWhole: boolean;
  /** Of its list. */
  revision: number;
}

export class Directory {
  readonly #transport: DirectoryOptions["transport"];
  readonly #log: Log;
  readonly #now: () => number;
  readonly #held = new Map<string, VmRef>();
  readonly #announced = new Map<string, Announced>();
  /** Who says to hold a VM; the last is who said it last. */
  readonly #holders = new Map<string, Announced[]>();
  /** The UUIDs of VMs by the names that somebody who holds them calls them. */
  readonly #named = new Map<string, Set<string>>();
  /** What managers held that are gone, as long as nobody else says to hold it and none has come back to that host. */
  readonly #left = new Map<string, PeerVm>();
  readonly #heardTimes = new HeardTimes(SILENCE_MS);
  readonly #answers = new PacedAnswers<Asked>(
    (peerId, asked) => {
      this.#answer(peerId, asked);
    },
    (earlier, { isWhole, revision }) => ({
      isWhole: earlier.isWhole || isWhole,
      revision: Math.max(earlier.revision, revision),
    }),
  );
  readonly #listeners = new Set<(vmId: string) => void>();
  #revision = 0;
  /** VMs of all the lists. */
  #listed = 0;
  #isFull = false;
  #collecting: { timer: NodeJS.Timeout; dueAt: number } | undefined;
  #reminding: NodeJS.Timeout | undefined;

  constructor({ transport, log, now = () => performance.now() }: DirectoryOptions) {
    this.#transport = transport;
    this.#log = log;
    this.#now = now;
  }

  /** Announces us to everyone, and asks everyone to do so. */
  connected(): void {
    const now = this.#now();
    for (const announced of this.#announced.values()) announced.heardAt = now;
    this.askAll();
    clearInterval(this.#reminding);
    this.#reminding = setInterval(() => {
      this.#remind();
    }, REMIND_EVERY_MS);
  }

  /** What is known stays: nobody can say that it is otherwise. */
  disconnected(): void {
    clearInterval(this.#reminding);
    this.#reminding = undefined;
    this.#forgetChange();
    this.#answers.clear();
  }

  /** Says good-bye to everyone, if it can. */
  async close(): Promise<void> {
    this.disconnected();
    this.#listeners.clear();
    await this.#transport.send({ type: "everyone" }, { type: "bye" }, ANNOUNCEMENT_EXPIRES_MS);
  }

  /** @param sentAt milliseconds since 1970 by the sender's clock: what is no later than what was heard is passed over */
  take(message: Announcement, from: Peer, sentAt?: number): void {
    if (from.id === this.#transport.self.id) return;
    if (sentAt !== undefined && !this.#heardTimes.isNews(from.id, sentAt, this.#now())) return;
    if (message.type === "bye") this.drop(from.id);
    else this.#takeAnnouncement(message, from);
  }

  /** We hold the VM from now on, or it has another name. */
  hold(vm: VmRef): void {
    if (this.#held.get(vm.id)?.name === vm.name) return;
    this.#held.set(vm.id, vm);
    this.#changed(COLLECT_MS);
  }

  letGo(vmId: string): void {
    if (this.#held.delete(vmId)) this.#changed(COLLECT_LOST_MS);
  }

  /** That manager is gone, with all that it held. */
  drop(peerId: string): void {
    const announced = this.#announced.get(peerId);
    if (announced === undefined) return;
    this.#announced.delete(peerId);
    this.#isFull = false;
    const held = [...announced.vms.values()];
    this.#replaceList(announced, []);
    this.#remember(held, announced.peer);
  }

  #remember(vms: readonly VmRef[], peer: Peer): void {
    for (const vm of vms)
      if (!this.#holders.has(vm.id) && this.#left.size < MAX_PEER_VMS) this.#left.set(vm.id, { vm, peer });
  }

  /** It says so itself, though not in a list of its VMs. */
  isHeldBy(vm: VmRef, peer: Peer): void {
    const announced = this.#announcedBy(peer);
    if (announced === undefined || !this.#hasRoom(announced.vms.has(vm.id) ? 0 : 1)) return;
    this.#delist(vm.id, announced);
    this.#list(vm, announced);
    this.#tell([vm.id]);
  }

  isNotHeldBy(vmId: string, peerId: string): void {
    const announced = this.#announced.get(peerId);
    if (announced?.vms.has(vmId) !== true) return;
    this.#delist(vmId, announced);
    this.#tell([vmId]);
  }

  /** Everyone is to say what it holds. */
  askAll(): void {
    this.#forgetChange();
    this.#announce({ type: "everyone" }, { isWhole: true, wants: true });
  }

  /** Who holds a VM, of all others. */
  byId(vmId: string): PeerVm | undefined {
    const announced = this.#holders.get(vmId)?.at(-1);
    const vm = announced?.vms.get(vmId);
    return announced && vm && { vm, peer: announced.peer };
  }

  /** Those of all others' VMs that have the name. */
  byName(name: string): PeerVm[] {
    const vms = [...(this.#named.get(name) ?? [])].flatMap((vmId) => this.byId(vmId) ?? []);
    return vms.filter(({ vm }) => vm.name === name);
  }

  /** Where VMs of this UUID or name were that have not been heard of since their manager was gone. */
  lastSeen(nameOrId: string): PeerVm[] {
    const byId = this.#left.get(nameOrId.toLowerCase());
    return byId === undefined ? [...this.#left.values()].filter(({ vm }) => vm.name === nameOrId) : [byId];
  }

  /** All VMs that others hold, each once. */
  all(): PeerVm[] {
    return [...this.#holders.keys()].flatMap((vmId) => this.byId(vmId) ?? []);
  }

  peers(): Peer[] {
    return [...this.#announced.values()].map(({ peer }) => peer);
  }

  /** Calls back for each VM of which another manager said something else, till the returned function is called. */
  onChange(listener: (vmId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #takeAnnouncement({ revision, vms, wants }: Extract<Announcement, { type: "announce" }>, from: Peer): void {
    const announced = this.#announcedBy(from);
    if (announced !== undefined) {
      announced.heardAt = this.#now();
      if (vms !== undefined && revision >= (announced.revision ?? 0)) {
        announced.revision = revision;
        this.#replaceList(announced, vms);
        this.#isBack(from.host);
      }
    }
    if (wants || this.#isAhead(from.id, revision)) this.#answers.ask(from.id, { isWhole: wants, revision });
  }

  #answer(peerId: string, { isWhole, revision }: Asked): void {
    const wants = this.#isAhead(peerId, revision);
    if (isWhole || wants) this.#announce({ type: "manager", id: peerId }, { isWhole, wants });
  }

  /** It has told of a later list than the one that is known. */
  #isAhead(peerId: string, revision: number): boolean {
    const announced = this.#announced.get(peerId);
    return announced !== undefined && revision > (announced.revision ?? -1);
  }

  /** Its list says what became of what was held there. */
  #isBack(host: string): void {
    for (const [vmId, { peer }] of this.#left) if (peer.host === host) this.#left.delete(vmId);
  }

  /** What is known of it, from its first word on; undefined when there are too many. */
  #announcedBy(peer: Peer): Announced | undefined {
    const known = this.#announced.get(peer.id);
    if (known !== undefined) return known;
    if (peer.id === this.#transport.self.id || !this.#hasRoom(0, 1)) return undefined;
    const announced = { peer, revision: undefined, vms: new Map<string, VmRef>(), heardAt: this.#now() };
    this.#announced.set(peer.id, announced);
    return announced;
  }

  /** Says in the log when it becomes too much, and not again until something was taken away. */
  #hasRoom(vms: number, peers = 0): boolean {
    if (this.#listed + vms <= MAX_PEER_VMS && this.#announced.size + peers <= MAX_PEERS) return true;
    if (!this.#isFull) this.#log.warn("peers-over-limit", { managers: MAX_PEERS, vms: MAX_PEER_VMS });
    this.#isFull = true;
    return false;
  }

  #replaceList(announced: Announced, vms: readonly VmRef[]): void {
    const before = new Map(announced.vms);
    const now = new Map(vms.map((vm) => [vm.id, vm]));
    for (const id of before.keys()) if (!now.has(id)) this.#delist(id, announced);
    for (const vm of now.values()) if (before.has(vm.id) || this.#hasRoom(1)) this.#list(vm, announced);
    const all = new Set([...before.keys(), ...now.keys()]);
    this.#tell([...all].filter((id) => before.get(id)?.name !== announced.vms.get(id)?.name));
  }

  #list(vm: VmRef, announced: Announced): void {
    if (!announced.vms.has(vm.id)) {
      this.#listed += 1;
      this.#holders.set(vm.id, [...(this.#holders.get(vm.id) ?? []), announced]);
    }
    this.#left.delete(vm.id);
    const before = announced.vms.get(vm.id);
    announced.vms.set(vm.id, vm);
    if (before !== undefined && before.name !== vm.name) this.#dropName(before);
    this.#named.set(vm.name, (this.#named.get(vm.name) ?? new Set()).add(vm.id));
  }

  #delist(vmId: string, announced: Announced): void {
    const vm = announced.vms.get(vmId);
    if (vm === undefined) return;
    announced.vms.delete(vmId);
    this.#listed -= 1;
    this.#isFull = false;
    const others = (this.#holders.get(vmId) ?? []).filter((holder) => holder !== announced);
    if (others.length > 0) this.#holders.set(vmId, others);
    else this.#holders.delete(vmId);
    this.#dropName(vm);
  }

  /** Unless another manager calls it so. */
  #dropName({ id, name }: VmRef): void {
    if (this.#holders.get(id)?.some(({ vms }) => vms.get(id)?.name === name) === true) return;
    const named = this.#named.get(name);
    named?.delete(id);
    if (named?.size === 0) this.#named.delete(name);
  }

  #tell(vmIds: readonly string[]): void {
    for (const vmId of vmIds) for (const listener of this.#listeners) listener(vmId);
  }

  #changed(collectMs: number): void {
    this.#revision += 1;
    const dueAt = this.#now() + collectMs;
    // Who is not connected announces everything when it is.
    if (this.#reminding === undefined || (this.#collecting?.dueAt ?? Infinity) <= dueAt) return;
    this.#forgetChange();
    const timer = setTimeout(() => {
      this.#forgetChange();
      this.#announce({ type: "everyone" }, { isWhole: true, wants: false });
    }, collectMs);
    this.#collecting = { timer, dueAt };
  }

  #forgetChange(): void {
    clearTimeout(this.#collecting?.timer);
    this.#collecting = undefined;
  }

  #remind(): void {
    this.#announce({ type: "everyone" }, { isWhole: false, wants: false });
    const now = this.#now();
    for (const { peer, heardAt } of [...this.#announced.values()]) {
      if (now - heardAt > SILENCE_MS) this.drop(peer.id);
    }
  }

  #announce(to: Addressee, { isWhole, wants }: { isWhole: boolean; wants: boolean }): void {
    const vms = isWhole ? { vms: [...this.#held.values()] } : {};
    const announcement = { type: "announce", revision: this.#revision, ...vms, wants } as const;
    void this.#transport.send(to, announcement, ANNOUNCEMENT_EXPIRES_MS).then((passing) => {
      if (to.type === "manager" && passing.type === "nobody") this.drop(to.id);
    });
  }
}
