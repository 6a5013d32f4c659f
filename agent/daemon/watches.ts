/**
 * The watches of one connection. A watch is by state, not by history: it knows how far it has sent, and what it sends next
 * is worked out from the cache. So a slow reader costs nothing but its place; one that does not read at all is cut off.
 */
import { RequestError } from "../../shared/protocol/errors.ts";
import type { Position } from "../../shared/protocol/cache.ts";
import { MAX_WATCHES } from "../../shared/protocol/limits.ts";
import type { NotificationParams, Params, Result } from "../../shared/protocol/message.ts";
import type { Machine } from "../machine.ts";
import type { CacheStore } from "./cache-store.ts";

/** How long a watcher may leave a batch unread. Not measured: a host that was suspended longer resumes from where it was. */
const STALLED_AFTER_MS = 30_000;

type Changed = Omit<NotificationParams<"changed">, "session">;
type WatchEnded = Omit<NotificationParams<"watchEnded">, "session">;

/** How a watch tells its connection. Settles when the channel has taken it. */
export interface WatchSink {
  changed(batch: Changed): Promise<void>;
  watchEnded(end: WatchEnded): Promise<void>;
}

interface Watch {
  readonly id: number;
  readonly prefix: string;
  epoch: string;
  position: Position;
  /** Deletions up to here are known to the watcher, or were before its snapshot began. */
  deletionsKnownTo: number;
  /** The next batch begins a snapshot. */
  isResync: boolean;
  isSending: boolean;
  isStalled: boolean;
}

export class Watches {
  readonly #store: CacheStore;
  readonly #machine: Machine;
  readonly #maySee: (key: string) => boolean;
  readonly #sink: WatchSink;
  readonly #watches = new Map<number, Watch>();
  #lastId = 0;

  constructor(options: { store: CacheStore; machine: Machine; maySee: (key: string) => boolean; sink: WatchSink }) {
    this.#store = options.store;
    this.#machine = options.machine;
    this.#maySee = options.maySee;
    this.#sink = options.sink;
  }

  /** Begins a watch; what it sends comes after the answer. */
  add({ prefix = "", since }: Params<"watch">): Result<"watch"> {
    if (this.#watches.size >= MAX_WATCHES) {
      throw new RequestError("over-limit", `a connection can have ${MAX_WATCHES} watches`, { limit: MAX_WATCHES });
    }
    const { cache } = this.#store;
    const { epoch, revision } = cache.cursor;
    const canResume = since !== undefined && cache.canResume(since);
    this.#lastId += 1;
    const watch: Watch = {
      id: this.#lastId,
      prefix,
      epoch,
      position: { revision: canResume ? since.revision : 0 },
      deletionsKnownTo: canResume ? since.revision : revision,
      isResync: !canResume,
      isSending: false,
      isStalled: false,
    };
    this.#watches.set(watch.id, watch);
    setImmediate(() => void this.#send(watch));
    return { watch: watch.id, epoch, revision, resync: watch.isResync };
  }

  remove(id: number): void {
    if (!this.#watches.delete(id)) throw new RequestError("failed", `there is no watch ${id}`);
  }

  clear(): void {
    this.#watches.clear();
  }

  /** The cache changed. */
  update(): void {
    for (const watch of this.#watches.values()) void this.#send(watch);
  }

  async #send(watch: Watch): Promise<void> {
    if (watch.isSending) return;
    watch.isSending = true;
    try {
      while (this.#watches.get(watch.id) === watch) {
        const batch = this.#nextBatch(watch);
        if (batch === undefined) return;
        await this.#sendOrEnd(watch, batch);
      }
    } catch {
      // The channel is gone, and the watch with it.
      this.#watches.delete(watch.id);
    } finally {
      watch.isSending = false;
    }
  }

  #nextBatch(watch: Watch): Changed | undefined {
    const { cache } = this.#store;
    const { epoch, revision: present } = cache.cursor;
    const isOutrun = cache.forgottenUpTo > Math.max(watch.position.revision, watch.deletionsKnownTo);
    if (epoch !== watch.epoch || isOutrun) {
      Object.assign(watch, { epoch, position: { revision: 0 }, deletionsKnownTo: present, isResync: true });
    }
    const resync = watch.isResync;
    const { changes, reached, more } = cache.changesAfter(
      watch.position,
      watch.prefix,
      this.#machine.now(),
      this.#maySee,
    );
    watch.position = reached;
    watch.isResync = false;
    if (changes.length === 0 && !resync) return undefined;
    const revision = more ? Math.max(0, reached.revision - 1) : reached.revision;
    return { watch: watch.id, epoch, revision, more, resync, changes };
  }

  async #sendOrEnd(watch: Watch, batch: Changed): Promise<void> {
    const stallTimer = setTimeout(() => {
      this.#watches.delete(watch.id);
      watch.isStalled = true;
    }, STALLED_AFTER_MS);
    await this.#sink.changed(batch).finally(() => {
      clearTimeout(stallTimer);
    });
    if (!watch.isStalled) return;
    await this.#sink.watchEnded({ watch: watch.id, epoch: batch.epoch, revision: batch.revision });
  }
}
