/**
 * Saves mirrors as they change, and with them the events of their keys: a change after a pause at once, then not more often
 * than twice a second for each VM. The guest is the authority, so what a crash takes is told again at the next greeting.
 */
import type { MirrorChange, Store } from "../store/store.ts";
import { Turns } from "../turns.ts";

/** Of one VM: what there is to save is collected for so long. A guest that changes its keys all the time costs no more. */
const COLLECT_MS = 500;

/** Mirrors in one request to the store: its transactions stay short enough for what must be durable at once. */
const MIRRORS_AT_ONCE = 100;

export interface MirrorHolder {
  takeUnsaved(): MirrorChange | undefined;
  lastWord(): MirrorChange | undefined;
  readonly isUp: boolean;
}

export class MirrorKeeper {
  readonly #store: Pick<Store, "saveMirrors">;
  readonly #failed: (error: unknown) => void;
  readonly #saves = new Turns();
  readonly #savedAt = new WeakMap<MirrorHolder, number>();
  readonly #changed = new Set<MirrorHolder>();
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;

  constructor(store: Pick<Store, "saveMirrors">, failed: (error: unknown) => void) {
    this.#store = store;
    this.#failed = failed;
  }

  /** This mirror has something to save. */
  add(holder: MirrorHolder): void {
    if (this.#changed.has(holder)) return;
    this.#changed.add(holder);
    this.#wakeAt(this.#dueAt(holder));
  }

  /** Saves what there is, now. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#saves.take(() => this.#save([...this.#changed]));
  }

  #dueAt(holder: MirrorHolder): number {
    return (this.#savedAt.get(holder) ?? -Infinity) + COLLECT_MS;
  }

  #wakeAt(at: number): void {
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Infinity;
        this.#saves.take(() => this.#saveDue()).catch(this.#failed);
      },
      Math.max(0, at - performance.now()),
    );
  }

  async #saveDue(): Promise<void> {
    const now = performance.now();
    const changed = [...this.#changed];
    await this.#save(changed.filter((holder) => this.#dueAt(holder) <= now));
    const next = Math.min(...[...this.#changed].map((holder) => this.#dueAt(holder)));
    if (next !== Infinity) this.#wakeAt(next);
  }

  async #save(holders: readonly MirrorHolder[]): Promise<void> {
    const now = performance.now();
    for (const holder of holders) {
      this.#changed.delete(holder);
      this.#savedAt.set(holder, now);
    }
    for (let start = 0; start < holders.length; start += MIRRORS_AT_ONCE) {
      const part = holders.slice(start, start + MIRRORS_AT_ONCE);
      const changes = part.flatMap((holder) => (holder.isUp ? holder.takeUnsaved() : holder.lastWord()) ?? []);
      if (changes.length > 0) await this.#store.saveMirrors(changes);
    }
  }
}
