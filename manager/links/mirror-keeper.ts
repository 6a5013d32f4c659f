/**
 * Saves mirrors as they change, many at once and not more often than twice a second: the guest is the authority, so what a
 * crash takes is told again at the next greeting.
 */
import type { MirrorChange, Store } from "../store/store.ts";

/** What there is to save is collected for so long. */
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
  #changed = new Set<MirrorHolder>();
  #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(store: Pick<Store, "saveMirrors">, failed: (error: unknown) => void) {
    this.#store = store;
    this.#failed = failed;
  }

  /** This mirror has something to save. */
  add(holder: MirrorHolder): void {
    this.#changed.add(holder);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#saving = this.#save().catch(this.#failed);
    }, COLLECT_MS);
  }

  /** Saves what there is, now. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#saving;
    await this.#save();
  }

  async #save(): Promise<void> {
    const holders = [...this.#changed];
    this.#changed = new Set();
    for (let start = 0; start < holders.length; start += MIRRORS_AT_ONCE) {
      const part = holders.slice(start, start + MIRRORS_AT_ONCE);
      const changes = part.flatMap((holder) => (holder.isUp ? holder.takeUnsaved() : holder.lastWord()) ?? []);
      if (changes.length > 0) await this.#store.saveMirrors(changes);
    }
  }
}
