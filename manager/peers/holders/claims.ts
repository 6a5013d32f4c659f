/**
 * Which of its own VMs this manager holds. The broker gives a VM's queue to one manager at a time; whoever has more to do with
 * the VM (`Strength`) asks the one that has it to let go, and that one looks at itself before it answers.
 */
import type * as z from "zod/mini";
import type { VmRef } from "../../../shared/api/schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import type { Log } from "../../../shared/log.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { AtMostEvery } from "../../events/at-most-every.ts";
import { WorkSlots } from "../../work-slots.ts";
import { type Caller, MisdirectedError } from "../caller.ts";
import type { Transport } from "../transport.ts";
import type { LocalVm, LocalVms, Place, PeerVm, Strength, Whereabouts } from "../whereabouts.ts";
import { ANSWER_TIMEOUT_MS, type Peer, type peerRequests } from "../wire.ts";
import { Contests } from "./contests.ts";
import type { Directory } from "./directory.ts";

type YieldParams = z.infer<(typeof peerRequests)["yield"]["params"]>;
type YieldAnswer = z.infer<(typeof peerRequests)["yield"]["answer"]>;

/** How often what is not settled is looked at. */
const LOOK_EVERY_MS = 5_000;

/** Whoever does not answer is asked again at each look. */
const TELL_UNANSWERED_EVERY_MS = 60_000;

/** After a connection, for the others to say what they hold: until then nothing is taken that may well be theirs. */
const SETTLING_MS = LOOK_EVERY_MS;

/** Whoever was let have a VM takes it within this, or we do. */
const YIELDED_FOR_MS = 5_000;

/** A manager that did not let go of a VM that runs here is not asked again before this, whatever happens here. */
const REFUSED_FOR_MS = LOOK_EVERY_MS - 500;

/**
 * A queue that is taken and of which nobody speaks is of a connection that the broker has not missed yet: two heartbeats.
 * Each attempt costs a channel (405 RESOURCE_LOCKED ends it).
 */
const FIRST_RETRY_MS = LOOK_EVERY_MS;
const LONGEST_RETRY_MS = 20_000;

/** Whoever has just taken a VM says so within less. */
const ASK_AFTER_MS = 1_000;

/** How often managers that hold VMs of ours are tried: whoever is gone can be followed. */
const ALIVE_EVERY_MS = 10_000;

/** For the guest's answer that proves that we have it. */
const PROOF_MS = 2_000;

/** VMs that are looked at together. Not measured. */
const AT_ONCE = 50;

export interface ClaimsOptions {
  transport: Pick<Transport, "connection" | "claim" | "release" | "send">;
  local: LocalVms;
  directory: Directory;
  caller: Pick<Caller, "askPeer">;
  /** Said once when another manager and we begin to contest a VM, and with undefined when that ends. */
  contested: (vm: VmRef, peer: Peer | undefined) => void;
  log: Log;
  /** Milliseconds, of a clock that is never set. */
  now?: () => number;
}

/** What is known of one of our VMs. */
interface Standing {
  /** The broker gave us its queue, on this connection. */
  isHeld: boolean;
  /** It did so on this connection or, as far as we know, would have it still on the last one. */
  isOurs: boolean;
  /** Who did not let go of it, and how strong we were when we asked, by `#now`. */
  refused: { by: string; strength: Strength; at: number } | undefined;
  /** Attempts in a row to have it let go that nobody answered, and when that was told. */
  unanswered: number;
  unansweredTold: AtMostEvery;
  /** Until then it is not ours to take. */
  yieldedUntil: number;
  /** Not claimed before, and how long that was. */
  retryAt: number;
  retryMs: number;
}

interface Watch {
  place: string;
  listeners: Set<() => void>;
}

export class Claims implements Whereabouts {
  readonly #options: ClaimsOptions;
  readonly #now: () => number;
  readonly #directory: Directory;
  readonly #contests: Contests;
  readonly #standings = new Map<string, Standing>();
  readonly #watches = new Map<string, Watch>();
  readonly #slots = new WorkSlots({ slots: AT_ONCE, maxWaiting: Infinity });
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #dueAgain = new Set<string>();
  readonly #closing = new AbortController();
  readonly #stopListening: (() => void)[];
  readonly #timers: NodeJS.Timeout[];
  /** VMs that somebody holds who has not said so. */
  readonly #ownerless = new Set<string>();
  #asking: NodeJS.Timeout | undefined;
  /** Answers that come with a later connection say nothing. */
  #connections = 0;
  #connectedAt = -Infinity;

  constructor(options: ClaimsOptions) {
    const { local, directory, contested, now = () => performance.now() } = options;
    this.#options = options;
    this.#now = now;
    this.#directory = directory;
    this.#contests = new Contests({ said: contested, now });
    const look = (vmId: string): void => {
      this.#look(vmId);
      this.#tellIfMoved(vmId);
    };
    this.#stopListening = [
      local.onChange(look),
      directory.onChange((vmId) => {
        const standing = this.#standings.get(vmId);
        if (standing !== undefined) standing.retryAt = 0;
        look(vmId);
      }),
    ];
    this.#timers = [
      setInterval(() => {
        this.#lookAtAll();
      }, LOOK_EVERY_MS),
      setInterval(() => {
        this.#tryHolders();
      }, ALIVE_EVERY_MS),
    ];
  }

  /** What we held on the last connection is taken again first; the directory has said so. */
  connected(): void {
    this.#connections += 1;
    this.#connectedAt = this.#now();
    for (const standing of this.#standings.values()) {
      const afresh = { isHeld: false, refused: undefined, unanswered: 0, retryAt: 0, retryMs: FIRST_RETRY_MS };
      Object.assign(standing, afresh);
    }
    this.#lookAtAll();
  }

  /** Nobody can say who holds what: everything stays as it was. */
  disconnected(): void {
    this.#connections += 1;
    for (const standing of this.#standings.values()) standing.isHeld = false;
  }

  /** Somebody deleted its queue. */
  lost(vmId: string): void {
    const standing = this.#standings.get(vmId);
    if (standing !== undefined) standing.isHeld = false;
    this.#look(vmId);
  }

  /** The handler of the request `yield`. Rejects never. */
  async yield({ vm: vmId, strength }: YieldParams, from: Peer): Promise<YieldAnswer> {
    const local = this.#options.local.byId(vmId);
    if (local === undefined) await this.#release(vmId);
    if (local === undefined || !this.holds(vmId)) return { isYielded: true, strength: local?.strength ?? 0 };
    // Who is not said to run it cannot be stronger than a guest whose answer is in doubt.
    const own = strength >= 2 ? await this.#proven(vmId) : local.strength;
    if (own < strength) {
      if (this.holds(vmId)) await this.#yieldTo(from, local);
      return { isYielded: true, strength: own };
    }
    this.#compare(local.ref, from, own, strength);
    return { isYielded: false, strength: own };
  }

  /** Takes and releases nothing more; settles when nothing is under way. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const stop of this.#stopListening) stop();
    for (const timer of [...this.#timers, this.#asking]) clearInterval(timer);
    this.#watches.clear();
    await Promise.all(this.#underWay.values());
  }

  /** Whether the broker gave us the VM's queue: what is sent to the VM comes to us. */
  holds(vmId: string): boolean {
    return this.#standings.get(vmId)?.isHeld === true;
  }

  of(vmId: string): Place {
    const contest = this.#contests.of(vmId);
    if (contest !== undefined) return { type: "contested", ...contest };
    const isKnown = this.#options.local.byId(vmId) !== undefined;
    if (isKnown && this.#isOurs(vmId)) return { type: "here" };
    const elsewhere = this.#directory.byId(vmId);
    if (elsewhere !== undefined) return { type: "elsewhere", ...elsewhere };
    return { type: isKnown ? "here" : "nowhere" };
  }

  elsewhere(): PeerVm[] {
    return this.#directory.all().filter(({ vm }) => !this.#isOurs(vm.id));
  }

  elsewhereNamed(name: string): PeerVm[] {
    return this.#directory.byName(name).filter(({ vm }) => !this.#isOurs(vm.id));
  }

  lastSeen(nameOrId: string): PeerVm[] {
    return this.#directory.lastSeen(nameOrId);
  }

  get isSettling(): boolean {
    return this.#now() - this.#connectedAt < ASK_AFTER_MS;
  }

  peers(): Peer[] {
    return this.#directory.peers();
  }

  isHeldBy(vm: VmRef, peer: Peer): void {
    if (!this.holds(vm.id)) this.#directory.isHeldBy(vm, peer);
  }

  onMoved(vmId: string, listener: () => void): () => void {
    const watch = this.#watches.get(vmId) ?? { place: placeInWords(this.of(vmId)), listeners: new Set() };
    this.#watches.set(vmId, watch);
    const own = (): void => {
      listener();
    };
    watch.listeners.add(own);
    return () => {
      watch.listeners.delete(own);
      if (watch.listeners.size === 0 && this.#watches.get(vmId) === watch) this.#watches.delete(vmId);
    };
  }

  #tellIfMoved(vmId: string): void {
    const watch = this.#watches.get(vmId);
    if (watch === undefined) return;
    const place = placeInWords(this.of(vmId));
    if (place === watch.place) return;
    watch.place = place;
    for (const listener of [...watch.listeners]) listener();
  }

  #isOurs(vmId: string): boolean {
    return this.#standings.get(vmId)?.isOurs === true;
  }

  #lookAtAll(): void {
    for (const vmId of this.#contests.endOld(this.#directory.peers())) this.#tellIfMoved(vmId);
    const known = this.#options.local.all().map(({ ref }) => ref.id);
    for (const vmId of new Set([...known, ...this.#standings.keys()])) this.#look(vmId);
  }

  /** One look at a VM at a time; what happens meanwhile is looked at after it. */
  #look(vmId: string): void {
    if (this.#closing.signal.aborted || !this.#isDue(vmId)) return;
    if (this.#underWay.has(vmId)) {
      this.#dueAgain.add(vmId);
      return;
    }
    const looking = this.#slots
      .run(() => this.#reconcile(vmId))
      .catch((error: unknown) => {
        this.#options.log.error("claim-failed", { id: vmId, error });
      })
      .finally(() => {
        this.#underWay.delete(vmId);
        if (this.#dueAgain.delete(vmId)) this.#look(vmId);
      });
    this.#underWay.set(vmId, looking);
  }

  /** Most VMs are settled, and looked at again and again. */
  #isDue(vmId: string): boolean {
    if (this.#options.transport.connection.state === "disconnected") return false;
    const local = this.#options.local.byId(vmId);
    const standing = this.#standings.get(vmId);
    if (local === undefined || standing === undefined) return local !== undefined || standing !== undefined;
    // Who contested it with us shall hear that we do not any more: we ask once more.
    if (local.strength < 2 && this.#endContest(vmId)) standing.refused = undefined;
    if (standing.isHeld) this.#directory.hold(local.ref);
    return !standing.isHeld && !this.#rests(local, standing);
  }

  /** It is left to who has it, or to who may say that it has it. */
  #rests({ ref, strength }: LocalVm, standing: Standing): boolean {
    const now = this.#now();
    if (now < standing.yieldedUntil || now < standing.retryAt) return true;
    if (standing.isOurs) return false;
    const holder = this.#directory.byId(ref.id)?.peer;
    const isSettling = now - this.#connectedAt < SETTLING_MS;
    if (strength === 0) return isSettling || holder !== undefined;
    if (holder === undefined) return false;
    const { refused } = standing;
    const isRefused = refused?.by === holder.id && refused.strength >= strength;
    if (strength === 1) return isSettling || isRefused;
    return isRefused && now - refused.at < REFUSED_FOR_MS;
  }

  async #reconcile(vmId: string): Promise<void> {
    const local = this.#options.local.byId(vmId);
    if (local === undefined) {
      this.#endContest(vmId);
      await this.#release(vmId);
      return;
    }
    const standing = this.#standingOf(vmId);
    if (this.#rests(local, standing)) return;
    const isLeftToOthers = !standing.isOurs && this.#directory.byId(vmId) !== undefined;
    if (!isLeftToOthers && (await this.#claim(local.ref, standing))) return;
    const holder = this.#directory.byId(vmId)?.peer;
    if (holder !== undefined && !standing.isOurs) await this.#contend(local.ref, standing, holder);
  }

  #standingOf(vmId: string): Standing {
    const known = this.#standings.get(vmId);
    if (known !== undefined) return known;
    const standing: Standing = {
      isHeld: false,
      isOurs: false,
      refused: undefined,
      unanswered: 0,
      unansweredTold: new AtMostEvery(TELL_UNANSWERED_EVERY_MS),
      yieldedUntil: 0,
      retryAt: 0,
      retryMs: FIRST_RETRY_MS,
    };
    this.#standings.set(vmId, standing);
    return standing;
  }

  /** Whether we have it now. */
  async #claim(vm: VmRef, standing: Standing): Promise<boolean> {
    const connection = this.#connections;
    const claim = await this.#options.transport.claim(vm.id);
    if (connection !== this.#connections) return false;
    switch (claim) {
      case "held":
        Object.assign(standing, { isHeld: true, isOurs: true, refused: undefined, retryMs: FIRST_RETRY_MS });
        this.#directory.hold(vm);
        this.#endContest(vm.id);
        this.#tellIfMoved(vm.id);
        this.#look(vm.id);
        return true;
      case "taken":
        this.#isTaken(vm, standing);
        return false;
      case "away":
        return false;
      default:
        return unreachable(claim);
    }
  }

  #isTaken(vm: VmRef, standing: Standing): void {
    standing.isOurs = false;
    this.#directory.letGo(vm.id);
    if (this.#directory.byId(vm.id) === undefined) {
      standing.retryAt = this.#now() + standing.retryMs - 1;
      standing.retryMs = Math.min(2 * standing.retryMs, LONGEST_RETRY_MS);
      this.#askWhoHas(vm.id);
    }
    this.#tellIfMoved(vm.id);
  }

  /** Once for all that are found taken together, and not for what is announced meanwhile. */
  #askWhoHas(vmId: string): void {
    this.#ownerless.add(vmId);
    this.#asking ??= setTimeout(() => {
      this.#asking = undefined;
      const isOwnerless = [...this.#ownerless].some((id) => this.#directory.byId(id) === undefined);
      this.#ownerless.clear();
      if (isOwnerless) this.#directory.askAll();
    }, ASK_AFTER_MS);
  }

  /** Has who holds it let go of it, if that is right. */
  async #contend(vm: VmRef, standing: Standing, holder: Peer): Promise<void> {
    const nominal = this.#options.local.byId(vm.id)?.strength ?? 0;
    const strength = await this.#proven(vm.id);
    if (strength === 0) return;
    const answer = await this.#askToYield({ vm: vm.id, strength }, holder);
    if (answer === undefined) return;
    if (answer instanceof Error) {
      this.#unanswered(vm, standing, holder, answer.message);
      return;
    }
    standing.unanswered = 0;
    if (!answer.isYielded) {
      standing.refused = { by: holder.id, strength: nominal, at: this.#now() };
      this.#compare(vm, holder, strength, answer.strength);
      return;
    }
    this.#directory.isNotHeldBy(vm.id, holder.id);
    if (await this.#claim(vm, standing)) {
      this.#options.log.info("vm-taken-over", { vm: vm.name, id: vm.id, strength, from: holder.host });
    }
  }

  /** The error when it did not answer: then it is asked again, or is gone. Undefined when nobody is to know any more. */
  async #askToYield(params: YieldParams, holder: Peer): Promise<YieldAnswer | Error | undefined> {
    const callee = { peer: holder, by: { type: "manager", id: holder.id } } as const;
    const options = { signal: this.#closing.signal, timeoutMs: ANSWER_TIMEOUT_MS };
    try {
      return await this.#options.caller.askPeer(callee, "yield", params, options);
    } catch (error) {
      if (this.#closing.signal.aborted) return undefined;
      if (error instanceof CommandError || error instanceof MisdirectedError) return error;
      throw error;
    }
  }

  /** Once is nothing: it may be gone, or the VM on its way. */
  #unanswered({ id, name }: VmRef, standing: Standing, { host }: Peer, reason: string): void {
    standing.unanswered += 1;
    if (standing.unanswered < 2) return;
    const news = standing.unansweredTold.take(this.#now());
    if (news !== undefined) this.#options.log.warn("vm-claim-unanswered", { vm: name, id, host, reason, ...news });
  }

  /**
   * What we can stand by. A guest that does not answer may be hung here, or may live elsewhere since it was migrated: then we
   * are no stronger than by what an inventory says.
   */
  async #proven(vmId: string): Promise<Strength> {
    const local = this.#options.local.byId(vmId);
    if (local?.strength !== 3) return local?.strength ?? 0;
    const answers = await local.answers(PROOF_MS);
    const strength = this.#options.local.byId(vmId)?.strength ?? 0;
    return answers || strength < 3 ? strength : 1;
  }

  #compare(vm: VmRef, peer: Peer, own: number, others: number): void {
    if (own === others && own >= 2) this.#contests.found(vm, peer);
    else this.#contests.end(vm.id);
    this.#tellIfMoved(vm.id);
  }

  #endContest(vmId: string): boolean {
    const wasContested = this.#contests.end(vmId);
    this.#tellIfMoved(vmId);
    return wasContested;
  }

  async #yieldTo(peer: Peer, { ref, strength }: LocalVm): Promise<void> {
    const standing = this.#standingOf(ref.id);
    const now = this.#now();
    standing.yieldedUntil = now + YIELDED_FOR_MS;
    standing.refused = { by: peer.id, strength, at: now };
    Object.assign(standing, { isHeld: false, isOurs: false });
    this.#directory.letGo(ref.id);
    this.#directory.isHeldBy(ref, peer);
    this.#endContest(ref.id);
    await this.#options.transport.release(ref.id);
    this.#options.log.info("vm-yielded", { vm: ref.name, id: ref.id, strength, to: peer.host });
  }

  /** Of a VM that we do not know any more. */
  async #release(vmId: string): Promise<void> {
    const wasHeld = this.holds(vmId);
    this.#standings.delete(vmId);
    this.#directory.letGo(vmId);
    if (wasHeld) await this.#options.transport.release(vmId);
    this.#tellIfMoved(vmId);
  }

  #tryHolders(): void {
    if (this.#options.transport.connection.state === "disconnected") return;
    const holders = this.#options.local.all().flatMap(({ ref }) => {
      const place = this.of(ref.id);
      return place.type === "elsewhere" || place.type === "contested" ? [place.peer.id] : [];
    });
    for (const id of new Set(holders)) void this.#try(id);
  }

  async #try(peerId: string): Promise<void> {
    const { transport } = this.#options;
    const passing = await transport.send({ type: "manager", id: peerId }, { type: "alive" }, ALIVE_EVERY_MS);
    if (passing.type === "nobody") this.#directory.drop(peerId);
  }
}

/** The same for places between which nothing moves. */
function placeInWords(place: Place): string {
  switch (place.type) {
    case "here":
    case "contested":
      return "here";
    case "elsewhere":
      return place.peer.id;
    case "nowhere":
      return "nowhere";
    default:
      return unreachable(place);
  }
}
