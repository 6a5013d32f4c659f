/** The events that wait at one sink for another attempt, each resource's in their order: only the first of them is tried. */
import type { ParkedEvent } from "../../store/store.ts";

export class Lanes {
  readonly #lanes = new Map<string, ParkedEvent[]>();
  #size = 0;

  constructor(parked: readonly ParkedEvent[]) {
    for (const event of parked) this.put(event);
  }

  get size(): number {
    return this.#size;
  }

  has(resource: string): boolean {
    return this.#lanes.has(resource);
  }

  /** New, or with another due time. */
  put(event: ParkedEvent): void {
    const lane = this.#lanes.get(event.resource) ?? [];
    this.#lanes.set(event.resource, lane);
    const at = lane.findIndex(({ position }) => position >= event.position);
    const isKnown = lane[at]?.position === event.position;
    lane.splice(at === -1 ? lane.length : at, isKnown ? 1 : 0, event);
    if (!isKnown) this.#size += 1;
  }

  remove({ resource, position }: Pick<ParkedEvent, "resource" | "position">): void {
    const lane = this.#lanes.get(resource);
    const at = lane?.findIndex((event) => event.position === position) ?? -1;
    if (lane === undefined || at === -1) return;
    lane.splice(at, 1);
    this.#size -= 1;
    if (lane.length === 0) this.#lanes.delete(resource);
  }

  /** The first of each resource that is due, those due longest first. */
  due(now: number, limit: number): ParkedEvent[] {
    return this.#heads()
      .filter(({ dueAt }) => dueAt <= now)
      .sort((one, other) => one.dueAt - other.dueAt)
      .slice(0, limit);
  }

  /** When the next is due, ms since 1970; undefined when none waits. */
  nextDueAt(): number | undefined {
    const heads = this.#heads();
    return heads.length === 0 ? undefined : Math.min(...heads.map(({ dueAt }) => dueAt));
  }

  #heads(): ParkedEvent[] {
    return [...this.#lanes.values()].flatMap(([head]) => head ?? []);
  }
}
