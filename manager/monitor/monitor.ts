/**
 * Pings every guest that runs, each at its own times and none behind another, and writes down what follows: the events and
 * the state they are of in one commit. What waits for a sink or a command never waits here.
 */
import * as z from "zod/mini";
import type { VmHealth } from "../../shared/api/monitor-schemas.ts";
import { monitorEvents, monitorStates } from "../../shared/monitor-table.ts";
import type { Result } from "../../shared/protocol/message.ts";
import { matchesVm } from "../../shared/vm-pattern.ts";
import type { Log } from "../../shared/log.ts";
import type { MonitorConfig } from "../config.ts";
import type { Event } from "../events/event.ts";
import type { GuestStanding } from "../guest-metrics.ts";
import type { Store, StoredMonitor } from "../store/store.ts";
import type { ManagedVm } from "../vms/managed-vm.ts";
import { GuestHealth, type HealthRules, type Round, type StoredHealth } from "./guest-health.ts";
import type { Probe } from "./probe.ts";

/** As {@link ManagedVm} has them. */
export type MonitoredVm = Pick<ManagedVm, "ref" | "vm" | "statusSince" | "isForgotten" | "probe" | "stats">;

/** Pings of QEMU's own guest agent. */
export interface GuestAgents {
  /** Never rejects. */
  probe(vm: MonitoredVm["vm"], timeoutMs: number, signal: AbortSignal): Promise<Probe>;
  /** The VM started, was reset or was stopped: what answered before is of another life. */
  begun(vmId: string): void;
  forget(vmId: string): void;
}

export interface MonitorOptions {
  store: Pick<Store, "loadMonitors" | "appendEvents">;
  /** As the configuration has it now. */
  settings: () => MonitorConfig;
  guestAgents: GuestAgents;
  pinged: (outcome: Probe["type"]) => void;
  /** An agent was missed: whether its port is open is to be read again, where nothing announces that. */
  doubted: (vmId: string) => void;
  log: Log;
  /** The store failed: the manager cannot go on. */
  failed: (error: unknown) => void;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** 0 to 1. */
  random?: () => number;
}

const subject = { state: z.enum(monitorStates), since: z.number() };
const storedHealth = z.object({
  guest: z.object(subject),
  agent: z.optional(z.object(subject)),
  applications: z.array(z.object({ name: z.string(), kind: z.enum(["heartbeat", "check"]), ...subject })),
  begunAt: z.number(),
});

/** What ends or begins the life of a machine, as the log of events has it. */
function isOfAnotherLife({ type, data }: Event): boolean {
  if (type === "VM.RESET" || type === "VM.STOPPED" || type === "VM.CRASHED") return true;
  return Array.isArray(data["stages"]) && data["stages"].includes("CREATE");
}

/** What a hypervisor announces again and again while it goes on. */
const hypervisorAlerts = new Set(["VM.IO-ERROR", "VM.PANIC", "VM.WATCHDOG"]);

function isOfHealth(type: Event["type"]): boolean {
  return Object.values(monitorEvents).some((events) => Object.values(events).some((one) => one === type));
}

const NOTHING_KNOWN = { isUp: undefined, applications: [], stats: undefined };

interface Watched {
  managed: MonitoredVm;
  health: GuestHealth;
  /** As it is on disk. */
  saved: string | undefined;
  timer: NodeJS.Timeout | undefined;
  /** Milliseconds of the monotonic clock. */
  dueAt: number;
  /** Another one after each start, pause and end: what was asked in the one before says nothing. */
  life: number;
  /** The position of the last event of each kind of alert: the earlier ones are old news. */
  alerts: Map<string, number>;
  stats: Result<"stats"> | undefined;
  statsAskedAt: number;
}

export class Monitor {
  readonly #options: MonitorOptions;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #watched = new Map<string, Watched>();
  readonly #stored: Map<string, StoredHealth>;
  /** By which the timers were set. */
  #interval: number;
  readonly #stopping = new AbortController();
  readonly #underWay = new Set<Promise<void>>();

  /** With what was known when the manager ended. */
  static async open(options: MonitorOptions): Promise<Monitor> {
    const stored = new Map<string, StoredHealth>();
    for (const { vmId, state } of await options.store.loadMonitors("health")) {
      const parsed = storedHealth.safeParse(state);
      if (parsed.success) stored.set(vmId, { ...parsed.data, agent: parsed.data.agent });
      else options.log.warn("health-unreadable", { id: vmId });
    }
    return new Monitor(options, stored);
  }

  private constructor(options: MonitorOptions, stored: Map<string, StoredHealth>) {
    this.#options = options;
    this.#stored = stored;
    this.#interval = options.settings().interval;
    this.#now = options.now ?? Date.now;
    this.#random = options.random ?? Math.random;
  }

  /** A VM is new, or its description is another. Nothing for one that there is not. */
  changed(managed: MonitoredVm | undefined): void {
    if (managed === undefined || this.#stopping.signal.aborted) return;
    const watched = this.#watched.get(managed.vm.id) ?? this.#add(managed);
    const isRunning = managed.vm.status === "Running";
    if (isRunning === (watched.timer !== undefined)) return;
    watched.life += 1;
    watched.health.rest();
    if (isRunning) this.#begin(watched);
    else this.#rest(watched);
  }

  /** The settings are others: guests are asked at their new times. */
  apply(): void {
    const { interval } = this.#options.settings();
    if (interval === this.#interval) return;
    this.#interval = interval;
    for (const watched of this.#watched.values()) {
      if (watched.timer === undefined) continue;
      clearTimeout(watched.timer);
      this.#begin(watched);
    }
  }

  /** These were written to the log. */
  appended(events: readonly Event[]): void {
    for (const event of events) {
      const watched = this.#watched.get(event.resourceUUID);
      if (watched === undefined) continue;
      if (isOfAnotherLife(event)) this.#beginLife(watched, event);
      if (hypervisorAlerts.has(event.type)) watched.alerts.set(event.type, event.position);
    }
  }

  #beginLife(watched: Watched, { position, resourceUUID: vmId }: Event): void {
    watched.life += 1;
    watched.health.begin(position, this.#now());
    this.#options.guestAgents.begun(vmId);
    this.#save(watched, []);
  }

  /** Asks for it no more, and remembers nothing. To be called before the store forgets it. */
  forget(vmId: string): void {
    const watched = this.#watched.get(vmId);
    if (watched !== undefined) this.#rest(watched);
    this.#watched.delete(vmId);
    this.#stored.delete(vmId);
    this.#options.guestAgents.forget(vmId);
  }

  /** Whether what an event tells of a guest is still so, as far as anybody knows. */
  stands(event: Event): boolean {
    const { type, time, position, resourceUUID: vmId } = event;
    const watched = this.#watched.get(vmId);
    const status = watched?.managed.vm.status;
    // The event comes before the inventory has read that it is so.
    if (type === "VM.CRASHED") return status !== "Running" || (watched?.managed.statusSince ?? 0) <= time;
    const health = this.#healthOf(vmId);
    if (!isOfHealth(type)) {
      return health?.isOfThisLife(event) !== false && position >= (watched?.alerts.get(type) ?? 0);
    }
    // A machine that has ended is told of by its own event, and one that was forgotten is nobody's any more.
    return status !== "Stopped" && status !== "Crashed" && health?.stands(event) === true;
  }

  shown(managed: MonitoredVm): Omit<VmHealth, "recovery"> {
    const { ref } = managed;
    const health = this.#healthOf(ref.id) ?? new GuestHealth(this.#now());
    return { isMonitored: this.#isMonitored(managed), ...health.shown(ref) };
  }

  standing({ vm }: MonitoredVm): Omit<GuestStanding, "vm"> {
    const watched = this.#watched.get(vm.id);
    if (watched?.timer === undefined || !this.#isMonitored(watched.managed)) return NOTHING_KNOWN;
    const { health, stats } = watched;
    return { isUp: health.isUp, applications: health.applicationStandings, stats };
  }

  /** Settles when no ping is under way any more. */
  async close(): Promise<void> {
    this.#stopping.abort();
    for (const watched of this.#watched.values()) this.#rest(watched);
    await Promise.all(this.#underWay);
  }

  #healthOf(vmId: string): GuestHealth | undefined {
    const stored = this.#stored.get(vmId);
    return this.#watched.get(vmId)?.health ?? (stored && new GuestHealth(this.#now(), stored));
  }

  #add(managed: MonitoredVm): Watched {
    const { id } = managed.vm;
    const stored = this.#stored.get(id);
    this.#stored.delete(id);
    const health = new GuestHealth(this.#now(), stored);
    const watched: Watched = {
      managed,
      health,
      saved: stored && JSON.stringify(health.stored),
      timer: undefined,
      dueAt: 0,
      life: 0,
      alerts: new Map(),
      stats: undefined,
      statsAskedAt: -Infinity,
    };
    this.#watched.set(id, watched);
    return watched;
  }

  /** Guests that began together are not asked together. */
  #begin(watched: Watched): void {
    watched.dueAt = performance.now() + this.#options.settings().interval * this.#random();
    this.#setTimer(watched);
  }

  #rest(watched: Watched): void {
    clearTimeout(watched.timer);
    watched.timer = undefined;
    watched.stats = undefined;
  }

  /** Counted from when it was due, so that the interval stays what it is however late a timer fires. */
  #setTimer(watched: Watched): void {
    const waitMs = Math.max(watched.dueAt - performance.now(), 0);
    watched.timer = setTimeout(() => {
      const round = this.#round(watched).catch(this.#options.failed);
      this.#underWay.add(round);
      void round.finally(() => this.#underWay.delete(round));
    }, waitMs);
  }

  async #round(watched: Watched): Promise<void> {
    const { interval } = this.#options.settings();
    const now = performance.now();
    const next = watched.dueAt + interval;
    // What this host slept through is not made up for.
    watched.dueAt = next > now ? next : now + interval;
    this.#setTimer(watched);
    if (!this.#isMonitored(watched.managed)) {
      watched.health.rest();
      return;
    }
    const { life } = watched;
    const round = await this.#ask(watched);
    if (watched.life !== life || this.#stopping.signal.aborted || watched.managed.isForgotten) return;
    this.#judge(watched, round);
    this.#askForStats(watched);
  }

  /**
   * QEMU's guest agent is asked when ours did not answer: of guests that are well nobody else is bothered. One that was not
   * well the last time has both asked at once, so that the second does not wait for the first's time-out.
   */
  async #ask({ managed, health }: Watched): Promise<Round> {
    const { timeout, guestAgent: asksOther } = this.#options.settings();
    const { signal } = this.#stopping;
    const other = async (): Promise<Probe | undefined> => {
      if (!asksOther || managed.vm.guestAgent === undefined) return undefined;
      return this.#options.guestAgents.probe(managed.vm, timeout, signal);
    };
    if (!health.isWell) {
      const [agent, guestAgent] = await Promise.all([managed.probe(timeout, signal), other()]);
      return { agent, guestAgent };
    }
    const agent = await managed.probe(timeout, signal);
    return { agent, guestAgent: agent.type === "answered" ? undefined : await other() };
  }

  #judge(watched: Watched, round: Round): void {
    const { managed, health } = watched;
    for (const probe of [round.agent, round.guestAgent]) if (probe !== undefined) this.#options.pinged(probe.type);
    if (round.agent.type !== "answered") watched.stats = undefined;
    this.#save(watched, health.round(managed.ref, round, this.#rulesFor(managed), this.#now()));
    if (round.agent.type === "missed" && health.isUp !== false) this.#options.doubted(managed.vm.id);
  }

  #save(watched: Watched, events: ReturnType<GuestHealth["round"]>): void {
    const { store, failed } = this.#options;
    const { stored } = watched.health;
    const json = JSON.stringify(stored);
    if (json === watched.saved && events.length === 0) return;
    watched.saved = json;
    const monitor: StoredMonitor = { vmId: watched.managed.vm.id, part: "health", state: stored };
    store.appendEvents(events, [], [monitor]).catch(failed);
  }

  #askForStats(watched: Watched): void {
    const { managed, health } = watched;
    const now = performance.now();
    // As late as the round before is near enough: rounds and looks need not meet.
    if (!health.isWell || now - watched.statsAskedAt < this.#options.settings().statsInterval) return;
    watched.statsAskedAt = now;
    managed.stats().then(
      (stats) => {
        if (watched.timer !== undefined) watched.stats = stats;
      },
      () => {
        watched.stats = undefined;
      },
    );
  }

  #isMonitored({ vm }: MonitoredVm): boolean {
    return this.#options.settings().vms.some((pattern) => matchesVm(pattern, vm));
  }

  #rulesFor({ vm }: MonitoredVm): HealthRules {
    const { threshold, bootTime, interval, expectAgent } = this.#options.settings();
    const bootRounds = Math.ceil(bootTime / interval);
    return { threshold, bootRounds, expectsAgent: expectAgent.some((pattern) => matchesVm(pattern, vm)) };
  }
}
