/**
 * Saves how far the sinks are, many at once and not more often than five times a second: what a crash takes is delivered
 * again, with the same ids.
 */
import type { FeedProgress, ParkedEvent, Store } from "../../store/store.ts";
import { Turns } from "../../turns.ts";

const COLLECT_MS = 200;

/** Sinks in one request to the store: its transactions stay short enough for what must be durable at once. */
const SINKS_AT_ONCE = 100;

/** What one sink has to save: everything since the last time. */
interface Unsaved {
  state: FeedProgress["state"];
  park: Map<number, ParkedEvent>;
  unpark: Set<number>;
  dead: FeedProgress["dead"][number][];
  attempts: FeedProgress["attempts"][number][];
}

export class ProgressKeeper {
  readonly #store: Pick<Store, "saveProgress">;
  readonly #failed: (error: unknown) => void;
  readonly #saves = new Turns();
  #unsaved = new Map<string, Unsaved>();
  #timer: NodeJS.Timeout | undefined;

  constructor(store: Pick<Store, "saveProgress">, failed: (error: unknown) => void) {
    this.#store = store;
    this.#failed = failed;
  }

  note({ sink, state, park, unpark, dead, attempts }: FeedProgress): void {
    const unsaved = this.#unsaved.get(sink) ?? {
      state,
      park: new Map<number, ParkedEvent>(),
      unpark: new Set<number>(),
      dead: [],
      attempts: [],
    };
    unsaved.state = state;
    for (const event of park) unsaved.park.set(event.position, event);
    for (const position of [...unpark, ...dead.map((letter) => letter.position)]) unsaved.park.delete(position);
    for (const position of unpark) unsaved.unpark.add(position);
    unsaved.dead.push(...dead);
    unsaved.attempts.push(...attempts);
    this.#unsaved.set(sink, unsaved);
    this.#timer ??= setTimeout(() => {
      this.flush().catch(this.#failed);
    }, COLLECT_MS);
  }

  /** Settles when everything noted so far is on disk. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return this.#saves.take(() => this.#save());
  }

  /** What was noted of a sink that is no more is not saved. Settles when nothing of it is being saved either. */
  async drop(sink: string): Promise<void> {
    this.#unsaved.delete(sink);
    await this.#saves.take(() => Promise.resolve());
  }

  async #save(): Promise<void> {
    const all = [...this.#unsaved].map(([sink, { state, park, unpark, dead, attempts }]): FeedProgress => {
      return { sink, state, park: [...park.values()], unpark: [...unpark], dead, attempts };
    });
    this.#unsaved = new Map();
    for (let start = 0; start < all.length; start += SINKS_AT_ONCE) {
      await this.#store.saveProgress(all.slice(start, start + SINKS_AT_ONCE));
    }
  }
}
