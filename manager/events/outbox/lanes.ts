/**
 * The events that wait at one sink for another attempt, each resource's in their order: only the first of them is tried.
 * Those of the manager itself have no order, and each is the first.
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
  has(resource: string): boolean {
    return this.#lanes.has(resource);
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

  /** New, or with another due time. */
  put(event: ParkedEvent): void {
    const lane = this.#lanes.get(nameOf(event)) ?? [];
    this.#lanes.set(nameOf(event), lane);
    const at = lane.findIndex(({ position }) => position >= event.position);
    const isKnown = lane[at]?.position === event.position;
    lane.splice(at === -1 ? lane.length : at, isKnown ? 1 : 0, event);
    if (!isKnown) this.#size += 1;
  }

  remove(parked: Place): void {
    const lane = this.#lanes.get(nameOf(parked));
    const at = lane?.findIndex(({ position }) => position === parked.position) ?? -1;
    if (lane === undefined || at === -1) return;
    lane.splice(at, 1);
    this.#size -= 1;
    if (lane.length === 0) this.#lanes.delete(nameOf(parked));
  }

  /** The first of each resource that is due, those due longest first. */
  due(now: number, limit: number): ParkedEvent[] {
    return this.heads
      .filter(({ dueAt }) => dueAt <= now)
      .sort((one, other) => one.dueAt - other.dueAt)
      .slice(0, limit);
  }

  /** When the next is due, ms since 1970; undefined when none waits. */
  nextDueAt(): number | undefined {
    const { heads } = this;
    return heads.length === 0 ? undefined : Math.min(...heads.map(({ dueAt }) => dueAt));
  }

  /** The first of each resource. */
  get heads(): ParkedEvent[] {
    return [...this.#lanes.values()].flatMap(([head]) => head ?? []);
  }
}

function nameOf({ resource, position }: Place): string {
  return resource === "" ? `the manager's ${position}` : resource;
}
