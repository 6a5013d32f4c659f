/**
 * The events that wait at one sink for another attempt, each resource's in their order: only the first of them is tried, and
 * those behind it that no earlier one holds. Those of the manager itself have no order, and each is the first.
 */
import type { ParkedEvent } from "../../store/store.ts";

type Place = Pick<ParkedEvent, "resource" | "position">;

export class Lanes {
  readonly #lanes = new Map<string, ParkedEvent[]>();
  #size = 0;

  constructor(parked: readonly ParkedEvent[]) {
    for (const event of parked) this.put(event);
  }

  get size(): number {
    return this.#size;
  }

  /** Whether a later event of the resource is to wait. */
  holds(resource: string): boolean {
    return this.#lanes.get(resource)?.some(({ holdsOthers }) => holdsOthers) ?? false;
  }

  /** How many of a resource wait. */
  sizeOf(resource: string): number {
    return this.#lanes.get(resource)?.length ?? 0;
  }

  /** The first of a resource, when more of it wait than so many. */
  firstOver(most: number, resource: string): ParkedEvent | undefined {
    const lane = this.#lanes.get(resource) ?? [];
    return lane.length > most ? lane[0] : undefined;
  }

  /** New, or with another due time. True for a new one. */
  put(event: ParkedEvent): boolean {
    const lane = this.#lanes.get(nameOf(event)) ?? [];
    this.#lanes.set(nameOf(event), lane);
    const at = lane.findIndex(({ position }) => position >= event.position);
    const isKnown = lane[at]?.position === event.position;
    lane.splice(at === -1 ? lane.length : at, isKnown ? 1 : 0, event);
    if (!isKnown) this.#size += 1;
    return !isKnown;
  }

  /** What holds nobody of a resource is due now. */
  askAgain(resource: string, now: number): void {
    for (const event of this.#lanes.get(resource) ?? []) {
      if (!event.holdsOthers) this.put({ ...event, dueAt: Math.min(event.dueAt, now) });
    }
  }

  remove(parked: Place): void {
    const lane = this.#lanes.get(nameOf(parked));
    const at = lane?.findIndex(({ position }) => position === parked.position) ?? -1;
    if (lane === undefined || at === -1) return;
    lane.splice(at, 1);
    this.#size -= 1;
    if (lane.length === 0) this.#lanes.delete(nameOf(parked));
  }

  /** Of those that nobody holds, the ones due longest, in the order of the log. */
  due(now: number, limit: number): ParkedEvent[] {
    return this.free
      .filter((event) => untilDueMs(event, now) === 0)
      .sort((one, other) => one.dueAt - other.dueAt)
      .slice(0, limit)
      .sort((one, other) => one.position - other.position);
  }

  /** Until the next is due; Infinity when none waits. */
  untilDueMs(now: number): number {
    return this.free.reduce((ms, event) => Math.min(ms, untilDueMs(event, now)), Infinity);
  }

  /** Those that nobody holds. */
  get free(): ParkedEvent[] {
    return [...this.#lanes.values()].flatMap((lane) => {
      const holder = lane.findIndex(({ holdsOthers }) => holdsOthers);
      return holder === -1 ? lane : lane.slice(0, holder + 1);
    });
  }
}

/** A clock that was set back would have it wait for that much longer: it is due then. */
function untilDueMs({ parkedAt, dueAt }: ParkedEvent, now: number): number {
  return now < parkedAt ? 0 : Math.max(0, dueAt - now);
}

function nameOf({ resource, position }: Place): string {
  return resource === "" ? `the manager's ${position}` : resource;
}
