/** The events of one VM's life, made from what its hypervisor announces and what inventories read. Without a clock or a store. */
import type { VmRef } from "../../shared/api/schemas.ts";
import type { EventType } from "../../shared/event-types.ts";
import type { InventoryChange } from "../inventory/inventory.ts";
import { sourceKind } from "../inventory/source.ts";
import { AtMostEvery } from "./at-most-every.ts";
import { type NewEvent, vmEvent } from "./event.ts";
import type { KnownStatus, Observation } from "./lifecycle-table.ts";

/**
 * What an inventory read may have been so before the last announcement: only what is still so after this time has been
 * missed. A reading takes some 20 ms, and about a second for a thousand domains.
 */
export const SETTLE_MS = 5_000;

/** The longest that a domain takes to be read: then it is known why it was paused. */
export const LONGEST_WAIT_MS = 20_000;

/** `virsh reset` announces three; a guest can reset itself as often as it likes. */
const RESET_EVERY_MS = 1_000;

/** Guests can cause them by thousands. */
const ALERT_EVERY_MS = 10_000;

/** A request and its success are announced apart, and so are a request and the impatient one after it. Not measured. */
const ONE_STOP_MS = 60_000;

/** A noisy hypervisor's announcements are believed so often; then only what lasts is. */
const BELIEVED_PER_MINUTE = 100;
const MINUTE_MS = 60_000;

/** A clock that is further off is not believed: the time goes to others, who read it as a date. */
const MAX_CLOCK_DIFFERENCE_MS = 3_600_000;

/** StratusLab's states of a VM, each told once in a life. */
export type Stage = "CREATE" | "RUNNING" | "DONE";

/** `over`: there is no QEMU for it. `begun`: there is, and its CPUs have not run yet. */
export const lives = ["over", "begun", "running"] as const;

/** What outlives the manager. */
export interface LifecycleState {
  name: string;
  isDefined: boolean;
  /** Undefined when it was never known. */
  status: KnownStatus | undefined;
  life: (typeof lives)[number];
  /** Told as VM.PAUSE when the domain was read, unless it is being saved or moved: the announcement does not say. */
  pause: { at: number; observedBy: string; detail: string; dueAt: number } | undefined;
}

export type FoundChange = Exclude<InventoryChange, { type: "removed" }>;
export type RemovedChange = Extract<InventoryChange, { type: "removed" }>;

/** Where an event comes from, and what its data say of that. */
interface Origin {
  at: number;
  observedBy: string;
  detail: string;
  isResync: boolean;
}

const stateTypes: Record<KnownStatus, EventType> = {
  Running: "VM.RUNNING",
  Paused: "VM.PAUSED",
  Suspended: "VM.SUSPENDED",
  Stopped: "VM.STOPPED",
  Crashed: "VM.CRASHED",
};

/**
 * What the hypervisor announces is believed at once. What an inventory read is believed when it cannot be out of date, or
 * when it stays different from what was announced for {@link SETTLE_MS}.
 *
 * A life begins when there is a QEMU for the VM and ends when there is none. A VM that has moved away ends its life here
 * without DONE, and one that came from another host goes on with the life it had: no CREATE, no RUNNING.
 */
export class VmLifecycle {
  readonly #id: string;
  #state: LifecycleState;
  /** What was read and is not believed yet. */
  #doubt: { status: KnownStatus; observedBy: string; dueAt: number } | undefined;
  /** An inventory sees it. Not so when its source was taken away, or has not spoken since the manager began. */
  #isSeen = false;
  #announcedAt = -Infinity;
  #believed = { since: -Infinity, count: 0 };
  #isMoving = false;
  readonly #alerts = new Map<EventType, AtMostEvery>();
  readonly #resets = new AtMostEvery(RESET_EVERY_MS);
  readonly #reboots = new AtMostEvery(RESET_EVERY_MS);
  #stops = new AtMostEvery(ONE_STOP_MS);

  constructor({ id, name }: VmRef, stored?: LifecycleState) {
    this.#id = id;
    this.#state = stored ?? { name, isDefined: false, status: undefined, life: "over", pause: undefined };
  }

  get state(): Readonly<LifecycleState> {
    return { ...this.#state };
  }

  get isDefined(): boolean {
    return this.#state.isDefined;
  }

  /** When {@link due} is to be called, ms since 1970. */
  get dueAt(): number | undefined {
    const times = [this.#state.pause?.dueAt, this.#doubt?.dueAt].filter((time) => time !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** The hypervisor announced something. */
  announced(observation: Observation, now: number): NewEvent[] {
    const origin = { ...observation, at: timeOf(observation.at, now), isResync: false };
    const { status, action, isReset, alert } = observation.meaning;
    const told = alert === undefined ? [] : this.#alert(alert, origin, now);
    if (isReset) return [...told, ...this.#reset(action, origin, now)];
    if (status === undefined && action === undefined) return told;
    const to = this.#statusAfter(status);
    if (this.#isTooMuch(now)) {
      if (to !== undefined) this.#doubtUntilSettled(to, origin.observedBy, now);
      return told;
    }
    told.push(...this.#heldPause(observation), ...this.#action(observation, origin, now));
    this.#isMoving = observation.meaning.move === "goes-on";
    if (to === undefined || to === this.#state.status) return told;
    this.#announcedAt = now;
    told.push(...this.#become(to, origin, observation.meaning.move !== undefined));
    if (this.#doubt !== undefined) this.#doubtUntilSettled(this.#doubt.status, this.#doubt.observedBy, now, true);
    return told;
  }

  /** An inventory found the VM, or read something else of it. `announced`: what was announced before anybody knew whose it was. */
  found(change: FoundChange, announced: readonly Observation[], now: number): NewEvent[] {
    this.#state.name = change.vm.name;
    this.#isSeen = change.vm.status !== "Unknown";
    const told = this.#define(change, announced.length === 0, now);
    for (const observation of announced) told.push(...this.announced(observation, now));
    if (change.vm.isPausedByUser === false) this.#state.pause = undefined;
    if (change.vm.isPausedByUser === true) told.push(...this.#heldPause());
    return [...told, ...this.#read(change, now)];
  }

  /**
   * No inventory has the VM any more. libvirt would have it, if it ran. A file may have lost a VM that does, and so may the
   * manager, when it was told to forget one that it cannot see: its life goes on until it is found again, and found ended.
   */
  removed({ inventory, isResync }: RemovedChange, now: number): NewEvent[] {
    if (!this.#state.isDefined) return [];
    const origin = { at: now, observedBy: inventory, detail: "removed", isResync };
    const told = this.#heldPause();
    const isCertain = sourceKind(inventory) === "libvirt" && (isResync || this.#isSeen);
    if (isCertain && this.#state.life !== "over") told.push(...this.#become("Stopped", { ...origin, isResync: true }));
    told.push(this.#event("VM.UNDEFINED", origin, { oldState: this.#state.status }));
    this.#state = { ...this.#state, isDefined: false, status: undefined };
    this.#doubt = undefined;
    return told;
  }

  /** The time is {@link dueAt}. */
  due(now: number): NewEvent[] {
    const { pause } = this.#state;
    const told = pause !== undefined && pause.dueAt <= now ? this.#heldPause() : [];
    const doubt = this.#doubt;
    if (doubt === undefined || doubt.dueAt > now) return told;
    this.#doubt = undefined;
    const detail = `status ${doubt.status}`;
    return [...told, ...this.#become(doubt.status, { at: now, observedBy: doubt.observedBy, detail, isResync: true })];
  }

  /** A VM that has ended is not paused by what is said of its end. */
  #statusAfter(status: KnownStatus | "Begun" | undefined): KnownStatus | undefined {
    if (status === "Begun") return isAlive(this.#state.status) ? undefined : "Paused";
    const isStandstill = status === "Paused" || status === "Suspended";
    return isStandstill && hasEnded(this.#state.status) ? undefined : status;
  }

  #alert(type: EventType, origin: Origin, now: number): NewEvent[] {
    const limit = this.#alerts.get(type) ?? new AtMostEvery(ALERT_EVERY_MS);
    this.#alerts.set(type, limit);
    const turn = limit.take(now);
    return turn === undefined ? [] : [this.#event(type, origin, { suppressed: turn.suppressed })];
  }

  #reset(action: EventType | undefined, origin: Origin, now: number): NewEvent[] {
    const { status } = this.#state;
    if (!isAlive(status)) return [];
    const told = action !== undefined && this.#reboots.take(now) !== undefined ? [this.#event(action, origin)] : [];
    const turn = this.#resets.take(now);
    if (turn === undefined) return told;
    const { suppressed } = turn;
    return [...told, this.#event("VM.RESET", origin, { oldState: status, newState: status, suppressed })];
  }

  #action({ meaning: { action } }: Observation, origin: Origin, now: number): NewEvent[] {
    if (action === undefined || !this.#isTold(action, origin, now)) return [];
    return [this.#event(action, origin)];
  }

  /** Starting, restoring, saving and moving a VM also pause and resume it, and one stop has several announcements. */
  #isTold(action: EventType, { at, observedBy, detail }: Origin, now: number): boolean {
    const { status, life } = this.#state;
    switch (action) {
      case "VM.MIGRATE":
        return !this.#isMoving;
      case "VM.STOP":
        return this.#stops.take(now) !== undefined;
      case "VM.RESUME":
        return status === "Paused" && life === "running" && !this.#isMoving;
      case "VM.PAUSE":
        if (status === "Running") this.#state.pause = { at, observedBy, detail, dueAt: now + LONGEST_WAIT_MS };
        return false;
      default:
        return true;
    }
  }

  /** That somebody paused it, unless what came next says that it was paused to be saved or moved. */
  #heldPause(next?: Observation): NewEvent[] {
    const { pause } = this.#state;
    if (pause === undefined) return [];
    this.#state.pause = undefined;
    if (next?.meaning.action === "VM.SAVE" || next?.meaning.move !== undefined) return [];
    return [this.#event("VM.PAUSE", { ...pause, isResync: false })];
  }

  #isTooMuch(now: number): boolean {
    const sinceMs = now - this.#believed.since;
    if (sinceMs < 0 || sinceMs >= MINUTE_MS) this.#believed = { since: now, count: 0 };
    this.#believed.count += 1;
    return this.#believed.count > BELIEVED_PER_MINUTE;
  }

  /** A VM that is off when it is found is told of at once, unless it was lost while it ran: then its end is told. */
  #define({ vm, inventory, isResync }: FoundChange, isAllThereIs: boolean, now: number): NewEvent[] {
    if (this.#state.isDefined) return [];
    const hasNothingToTell = isAllThereIs && this.#state.life === "over";
    const status = hasNothingToTell && vm.status === "Stopped" ? vm.status : undefined;
    this.#state = { ...this.#state, isDefined: true, status };
    return [
      this.#event("VM.DEFINED", { at: now, observedBy: inventory, detail: "added", isResync }, { newState: status }),
    ];
  }

  /** libvirt forgets that a VM has crashed when it is restarted: one that is off is then Stopped, and nothing has happened. */
  #read(change: FoundChange, now: number): NewEvent[] {
    const { vm, inventory, isResync } = change;
    const { status } = this.#state;
    const isNoNews = vm.status === status || (vm.status === "Stopped" && status === "Crashed");
    if (vm.status === "Unknown" || isNoNews) {
      this.#doubt = undefined;
      return [];
    }
    if (!this.#isCertain(change, now)) {
      this.#doubtUntilSettled(vm.status, inventory, now);
      return [];
    }
    this.#doubt = undefined;
    const hasEndedUnseen = status === undefined && this.#state.life !== "over" && hasEnded(vm.status);
    const detail = `status ${vm.status}`;
    const origin = { at: now, observedBy: inventory, detail, isResync: isResync || hasEndedUnseen };
    return [...this.#heldPause(), ...this.#become(vm.status, origin)];
  }

  /**
   * Of QMP, the end of a connection is the end of a VM, and a VM that had ended or is new has a new QEMU: no event announces
   * these. libvirt announces everything; a domain that it starts, saves or moves is paused meanwhile.
   */
  #isCertain({ vm, inventory, isResync, previous }: FoundChange, now: number): boolean {
    const { status } = this.#state;
    const isUnderWay = vm.isPausedByUser === false;
    if (isResync && !isUnderWay && now - this.#announcedAt >= SETTLE_MS) return true;
    switch (sourceKind(inventory)) {
      case "file":
        return true;
      case "qmp":
        return hasEnded(vm.status) || (!isAlive(status) && !isAlive(previous?.status));
      case "libvirt":
        return false;
    }
  }

  /** `isAnew`: counted from now on, and not from when it was first doubted. */
  #doubtUntilSettled(status: KnownStatus, observedBy: string, now: number, isAnew = false): void {
    const dueAt = isAnew ? now + SETTLE_MS : (this.#doubt?.dueAt ?? now + SETTLE_MS);
    this.#doubt = status === this.#state.status ? undefined : { status, observedBy, dueAt };
  }

  #become(to: KnownStatus, origin: Origin, isMove = false): NewEvent[] {
    const from = this.#state.status;
    if (from === to) return [];
    const stages = this.#liveOn(to, isMove);
    this.#state.status = to;
    return [this.#event(stateTypes[to], origin, { oldState: from, newState: to, stages })];
  }

  /** A VM whose guest sleeps has run before. */
  #liveOn(to: KnownStatus, isMove: boolean): Stage[] {
    const before = this.#state.life;
    if (!isAlive(to)) {
      this.#state.life = "over";
      return before === "over" || isMove ? [] : ["DONE"];
    }
    const isBeginning = before === "over";
    if (isBeginning) this.#forgetLastLife();
    const hasRun = to !== "Paused" || before === "running" || (isBeginning && isMove);
    this.#state.life = hasRun ? "running" : "begun";
    if (isBeginning && isMove) return [];
    return [
      ...(isBeginning ? (["CREATE"] as const) : []),
      ...(hasRun && before !== "running" ? (["RUNNING"] as const) : []),
    ];
  }

  /** What was told of the last life does not stand for this one. */
  #forgetLastLife(): void {
    this.#stops = new AtMostEvery(ONE_STOP_MS);
    this.#alerts.delete("VM.PANIC");
  }

  #event(
    type: EventType,
    { at, observedBy, detail, isResync }: Origin,
    more: Pick<Partial<NewEvent>, "oldState" | "newState"> & { stages?: Stage[]; suppressed?: number } = {},
  ): NewEvent {
    const { oldState, newState, stages = [], suppressed = 0 } = more;
    const data = {
      observedBy,
      detail,
      ...(stages.length > 0 && { stages }),
      ...(suppressed > 0 && { suppressed }),
    };
    return vmEvent(type, { id: this.#id, name: this.#state.name }, at, { oldState, newState, isResync, data });
  }
}

/** Whether there is a QEMU for it. */
function isAlive(status: string | undefined): boolean {
  return status === "Running" || status === "Paused" || status === "Suspended";
}

function hasEnded(status: string | undefined): boolean {
  return status === "Stopped" || status === "Crashed";
}

function timeOf(at: number, now: number): number {
  return Math.abs(at - now) <= MAX_CLOCK_DIFFERENCE_MS ? Math.round(at) : now;
}
