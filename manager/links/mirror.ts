/**
 * A VM's keys as its agent last told them: sans-IO, fed with the batches of one watch over all keys. It never holds a
 * secret's value. Watchers of the manager are served from it, by state: a reader that is slow costs nothing but its place.
 */
import { MAX_CACHE_LIMIT, MAX_TOMBSTONES, PAGE_BYTES, WIRE_ENTRY_OVERHEAD } from "../../shared/protocol/limits.ts";
import type { ChangedBatch } from "../../shared/api/schemas.ts";
import { RemoteProtocolError } from "../../shared/protocol/errors.ts";
import type { Cursor, WireChange, WireEntry } from "../../shared/protocol/message.ts";
import type { MirroredEntry, StoredMirror } from "../store/store.ts";

/** What a guest may make us hold beside its values' bytes: a default cache has room for 1,024 keys. Not measured. */
const MAX_MIRRORED_KEYS = 32_768;

/** The epoch of a guest that was never heard: no agent's, which are random. */
const NO_EPOCH = "0000000000000000";

/** How far a watcher has read: everything up to the revision, and of the next one the keys up to `key`. */
interface Position {
  revision: number;
  key?: string;
}

/** Where a watcher is. Made by {@link Mirror.startWatch}, moved by {@link Mirror.nextBatch}. */
export interface WatchPlace {
  epoch: string;
  position: Position;
  /** Deletions up to here are known to the watcher, or were before its snapshot began. */
  deletionsKnownTo: number;
  /** The next batch begins a snapshot. */
  isResync: boolean;
}

/** What changed since it was last saved. */
export interface Unsaved {
  isReset: boolean;
  set: MirroredEntry[];
  deleted: string[];
}

interface Snapshot {
  entries: Map<string, MirroredEntry>;
  bytes: number;
}

export class Mirror {
  #epoch = NO_EPOCH;
  #revision = 0;
  #entries = new Map<string, MirroredEntry>();
  #bytes = 0;
  #tombstones = new Map<string, number>();
  /** Deletions up to this revision are not known any more. */
  #forgottenUpTo = 0;
  /** A snapshot that is under way: it counts when it is whole. */
  #snapshot: Snapshot | undefined;
  #unsavedKeys = new Set<string>();
  #isUnsavedReset = false;
  /** As it was saved, which a crash may have kept from being the last that watchers were told. */
  #isAsSaved = false;

  static load({ epoch, revision, entries }: StoredMirror): Mirror {
    const mirror = new Mirror();
    mirror.#epoch = epoch;
    mirror.#revision = revision;
    // Deletions before the manager's start are not known.
    mirror.#forgottenUpTo = revision;
    for (const mirrored of entries) mirror.#put(mirrored);
    mirror.#isAsSaved = true;
    return mirror;
  }

  get cursor(): Cursor {
    return { epoch: this.#epoch, revision: this.#revision };
  }

  /** Where the agent's watch is to go on, or undefined when nothing was heard yet. */
  get resumeFrom(): Cursor | undefined {
    return this.#epoch === NO_EPOCH ? undefined : this.cursor;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What the entries count in the agent's cache. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes a batch in. Throws RemoteProtocolError when it holds more than any cache can; the mirror is then as it was. */
  apply(batch: ChangedBatch, now: number): void {
    if (batch.resync) this.#snapshot = { entries: new Map(), bytes: 0 };
    try {
      if (this.#snapshot === undefined) this.#applyChanges(batch, now);
      else this.#collect(this.#snapshot, batch, now);
    } catch (error) {
      this.abandonSnapshot();
      throw error;
    }
  }

  /** Another watch began: what came of a snapshot under way is no part of it. */
  abandonSnapshot(): void {
    this.#snapshot = undefined;
  }

  get(key: string, now: number): WireEntry | undefined {
    const mirrored = this.#entries.get(key);
    return mirrored && aged(mirrored, now);
  }

  list(prefix: string, now: number): WireEntry[] {
    const keys = [...this.#entries.keys()].filter((key) => key.startsWith(prefix)).sort();
    return keys.flatMap((key) => this.get(key, now) ?? []);
  }

  /** What the guest says when it is asked to tell its changes: it tells nothing where there are none. */
  guestIsAt({ epoch, revision }: Cursor): void {
    if (epoch === this.#epoch && revision <= this.#revision) this.#isAsSaved = false;
  }

  startWatch(since: Cursor | undefined): WatchPlace {
    const canResume =
      since?.epoch === this.#epoch &&
      (since.revision <= this.#revision || this.#isAsSaved) &&
      since.revision >= this.#forgottenUpTo;
    const revision = canResume ? since.revision : 0;
    return {
      epoch: this.#epoch,
      position: { revision },
      deletionsKnownTo: canResume ? revision : this.#revision,
      isResync: !canResume,
    };
  }

  /** What the watcher does not know yet, at most a page, or undefined when there is nothing; its place moves on. */
  nextBatch(
    place: WatchPlace,
    prefix: string,
    maySee: (key: string) => boolean,
    now: number,
  ): ChangedBatch | undefined {
    const isOutrun = this.#forgottenUpTo > Math.max(place.position.revision, place.deletionsKnownTo);
    const isAhead = place.epoch === this.#epoch && place.position.revision > this.#revision;
    // The guest is heard first: what was saved is older than what the watcher knows.
    if (isAhead && this.#isAsSaved) return undefined;
    if (place.epoch !== this.#epoch || isOutrun || isAhead) Object.assign(place, this.startWatch(undefined));
    const { changes, reached, more } = this.#changesAfter(place, prefix, maySee, now);
    const resync = place.isResync;
    place.position = reached;
    place.isResync = false;
    if (changes.length === 0 && !resync) return undefined;
    const revision = more ? Math.max(0, reached.revision - 1) : reached.revision;
    return { epoch: this.#epoch, revision, more, resync, changes };
  }

  /** What is to be saved, and counts as saved from now on; undefined when nothing is. */
  takeUnsaved(): Unsaved | undefined {
    const isReset = this.#isUnsavedReset;
    if (!isReset && this.#unsavedKeys.size === 0) return undefined;
    const keys = isReset ? [...this.#entries.keys()] : [...this.#unsavedKeys];
    this.#unsavedKeys = new Set();
    this.#isUnsavedReset = false;
    const set = keys.flatMap((key) => this.#entries.get(key) ?? []);
    return { isReset, set, deleted: keys.filter((key) => !this.#entries.has(key)) };
  }

  #applyChanges({ epoch, revision, more, changes }: ChangedBatch, now: number): void {
    if (epoch !== this.#epoch) throw new RemoteProtocolError("changes of another epoch came without a snapshot");
    const added = changes.reduce((sum, change) => sum + ("deleted" in change ? 0 : bytesOf(change)), 0);
    assertBounded(this.#bytes + added - this.#bytesOfKeys(changes), this.#entries.size + changes.length);
    for (const change of changes) this.#applyChange(change, now);
    this.#revision = Math.max(this.#revision, revision);
    if (!more) this.#isAsSaved = false;
  }

  #applyChange(change: WireChange, now: number): void {
    this.#unsavedKeys.add(change.key);
    if ("deleted" in change) {
      this.#remove(change.key);
      this.#bury(change.key, change.revision);
    } else {
      this.#put({ entry: change, seenAt: now });
      this.#tombstones.delete(change.key);
    }
  }

  #collect(snapshot: Snapshot, { epoch, revision, more, changes }: ChangedBatch, now: number) {
    for (const change of changes) {
      const before = snapshot.entries.get(change.key);
      if (before !== undefined) snapshot.bytes -= bytesOf(before.entry);
      snapshot.entries.delete(change.key);
      if ("deleted" in change) continue;
      snapshot.bytes += bytesOf(change);
      snapshot.entries.set(change.key, { entry: change, seenAt: now });
    }
    assertBounded(snapshot.bytes, snapshot.entries.size);
    if (more) return;
    this.#snapshot = undefined;
    this.#replaceAll(snapshot, { epoch, revision });
  }

  #replaceAll({ entries, bytes }: Snapshot, { epoch, revision }: Cursor): void {
    this.#entries = entries;
    this.#bytes = bytes;
    this.#epoch = epoch;
    this.#revision = revision;
    this.#tombstones = new Map();
    this.#forgottenUpTo = revision;
    this.#unsavedKeys = new Set();
    this.#isUnsavedReset = true;
    this.#isAsSaved = false;
  }

  #put(mirrored: MirroredEntry): void {
    this.#remove(mirrored.entry.key);
    this.#entries.set(mirrored.entry.key, mirrored);
    this.#bytes += bytesOf(mirrored.entry);
  }

  #remove(key: string): void {
    const mirrored = this.#entries.get(key);
    if (mirrored === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= bytesOf(mirrored.entry);
  }

  #bury(key: string, revision: number): void {
    this.#tombstones.delete(key);
    this.#tombstones.set(key, revision);
    if (this.#tombstones.size <= MAX_TOMBSTONES) return;
    const [oldest = key, forgotten = revision] = this.#tombstones.entries().next().value ?? [];
    this.#tombstones.delete(oldest);
    this.#forgottenUpTo = Math.max(this.#forgottenUpTo, forgotten);
  }

  #bytesOfKeys(changes: readonly WireChange[]): number {
    const keys = new Set(changes.map(({ key }) => key));
    return [...keys].reduce((sum, key) => {
      const mirrored = this.#entries.get(key);
      return sum + (mirrored ? bytesOf(mirrored.entry) : 0);
    }, 0);
  }

  #changesAfter({ position }: WatchPlace, prefix: string, maySee: (key: string) => boolean, now: number) {
    const deletions = [...this.#tombstones].map(([key, revision]) => ({ key, revision, mirrored: undefined }));
    const sets = [...this.#entries.values()].map((mirrored) => {
      return { key: mirrored.entry.key, revision: mirrored.entry.revision, mirrored };
    });
    const due = [...sets, ...deletions]
      .filter((item) => isAfter(item, position) && item.key.startsWith(prefix) && maySee(item.key))
      .sort((a, b) => a.revision - b.revision || (a.key < b.key ? -1 : 1));
    const changes: WireChange[] = [];
    let bytes = 0;
    let last: Position = position;
    for (const { key, revision, mirrored } of due) {
      bytes += WIRE_ENTRY_OVERHEAD + (mirrored === undefined ? key.length : bytesOf(mirrored.entry));
      if (changes.length > 0 && bytes > PAGE_BYTES) return { changes, reached: last, more: true };
      changes.push(mirrored === undefined ? { key, deleted: true, revision } : aged(mirrored, now));
      last = { revision, key };
    }
    return { changes, reached: { revision: this.#revision }, more: false };
  }
}

function isAfter({ revision, key }: { revision: number; key: string }, position: Position): boolean {
  if (revision !== position.revision) return revision > position.revision;
  return position.key !== undefined && key > position.key;
}

function assertBounded(bytes: number, keys: number): void {
  if (bytes > MAX_CACHE_LIMIT) throw new RemoteProtocolError(`its keys take more than ${MAX_CACHE_LIMIT} bytes`);
  if (keys > MAX_MIRRORED_KEYS) throw new RemoteProtocolError(`it has more than ${MAX_MIRRORED_KEYS} keys`);
}

/** About the entry's line in the cache: what a guest may make us hold is bounded by it. */
function bytesOf({ key, value = "", base64 = "" }: Pick<WireEntry, "key" | "value" | "base64">): number {
  return Buffer.byteLength(key) + Buffer.byteLength(value) + base64.length + 7;
}

/** Grown older since it was seen. */
function aged({ entry, seenAt }: MirroredEntry, now: number): WireEntry {
  const olderMs = Math.max(0, now - seenAt);
  return {
    ...entry,
    ageMs: entry.ageMs + olderMs,
    ...(entry.ttlMs !== undefined && { ttlMs: Math.max(0, entry.ttlMs - olderMs) }),
  };
}
