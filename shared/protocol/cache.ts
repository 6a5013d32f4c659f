/**
 * The cache: the keys of one guest, their limit, their revisions and the answers given for them. Sans-IO: time comes in,
 * the caller makes it durable. The agent owns it; a change is worked out on a {@link Cache.clone} and takes the
 * original's place once it is on disk, so that a change that fails leaves nothing behind.
 */
import { RequestError } from "./errors.ts";
import {
  DEFAULT_CACHE_LIMIT,
  MAX_ENTRIES_PER_CHANGE,
  MAX_PAGE_ENTRIES,
  MAX_TOMBSTONES,
  PAGE_BYTES,
  REMEMBERED_ANSWERS,
  WIRE_ENTRY_OVERHEAD,
} from "./limits.ts";
import type { Cursor, NewEntry, Params, Result, WireChange, WireEntry } from "./message.ts";
import { entryBytes, fromWireValue, toWireValue, type Value } from "./value.ts";

export type Setter = "host" | "guest";

/** Two clocks: ages and TTLs run on the uptime, which no clock step moves; people read the wall clock. Milliseconds. */
export interface Moment {
  wallMs: number;
  uptimeMs: number;
}

export interface Entry {
  readonly key: string;
  /** null: a secret whose value was lost with the boot it was set in. */
  readonly value: Value | null;
  readonly bytes: number;
  readonly setBy: Setter;
  readonly setAt: Moment;
  readonly revision: number;
  readonly messageId: string;
  readonly ttlMs?: number;
  readonly secret?: true;
  readonly readOnly?: true;
  readonly read?: true;
}

/** Who asks for a change, and what it may touch. */
export interface Caller {
  setBy: Setter;
  mayChange(key: string): boolean;
  /** Bytes that the entries it may change can take, where it has a limit of its own. */
  quota?: number;
}

export type KeyFilter = (key: string) => boolean;

/** How far a watcher has read: a whole revision, or one up to and with a key. */
export interface Position {
  revision: number;
  key?: string;
}

interface Condition {
  ifAbsent?: boolean | undefined;
  ifRevision?: number | undefined;
  ifEpoch?: string | undefined;
}

type ChangeMethod = "set" | "delete" | "clear";

/** What a change was answered with, kept for who asks again. */
export type Answer = { [M in ChangeMethod]: { method: M; result: Result<M> } }[ChangeMethod];

/** Changes for one watcher. With `more`, the next batch begins where this one reached. */
export interface Batch {
  changes: WireChange[];
  reached: Position;
  more: boolean;
}

/** Everything of a cache that has to survive the agent. */
export interface CacheContents {
  revision: number;
  entries: Entry[];
  answers: Record<Setter, [messageId: string, answer: Answer][]>;
}

export class Cache {
  readonly limit: number;
  readonly #epoch: string;
  #revision: number;
  #usedBytes = 0;
  /** In the order of their revisions, which is the order in which they were set. */
  readonly #entries: Map<string, Entry>;
  /** Deleted keys with the revision of their deletion, oldest first. */
  readonly #tombstones: Map<string, number>;
  /** Deletions up to here may be forgotten: a watcher that is older needs a snapshot. */
  #forgottenUpTo: number;
  readonly #answers: Record<Setter, Map<string, Answer>>;

  constructor({
    epoch,
    limit = DEFAULT_CACHE_LIMIT,
    contents,
  }: {
    epoch: string;
    limit?: number;
    contents?: CacheContents;
  }) {
    this.limit = limit;
    this.#epoch = epoch;
    this.#revision = contents?.revision ?? 0;
    this.#forgottenUpTo = this.#revision;
    this.#entries = new Map(contents?.entries.map((entry) => [entry.key, entry]));
    for (const entry of this.#entries.values()) this.#usedBytes += entry.bytes;
    this.#tombstones = new Map();
    this.#answers = { host: new Map(contents?.answers.host), guest: new Map(contents?.answers.guest) };
  }

  /** A copy to work a change out on; in a new epoch when one is given. */
  clone(epoch = this.#epoch): Cache {
    const copy = new Cache({ epoch, limit: this.limit, contents: this.contents() });
    if (epoch !== this.#epoch) return copy;
    copy.#forgottenUpTo = this.#forgottenUpTo;
    for (const [key, revision] of this.#tombstones) copy.#tombstones.set(key, revision);
    return copy;
  }

  contents(): CacheContents {
    return {
      revision: this.#revision,
      entries: [...this.#entries.values()],
      answers: { host: [...this.#answers.host], guest: [...this.#answers.guest] },
    };
  }

  get cursor(): Cursor {
    return { epoch: this.#epoch, revision: this.#revision };
  }

  /**
   * A retry of a change that was made after this revision gets its first answer; of an earlier one nobody knows any more
   * whether it was made. 0 as long as nothing can have been forgotten. Each change that was one has a revision of its own, so
   * that what was forgotten was made before the oldest that is remembered, unless that one found nothing to change.
   */
  answersSince(setBy: Setter): number {
    const answers = this.#answers[setBy];
    const [oldest] = answers.values();
    if (oldest === undefined || answers.size < REMEMBERED_ANSWERS) return 0;
    return Math.max(1, oldest.result.revision - 1);
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get size(): number {
    return this.#entries.size;
  }

  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  find(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  /** Throws RequestError (no-such-key), which for a lost secret says why. */
  get(key: string): Entry & { value: Value } {
    const entry = this.#entries.get(key);
    if (entry === undefined) throw new RequestError("no-such-key", `there is no key '${key}'`, { key });
    if (entry.value === null) {
      const reason = `the secret '${key}' was lost when the guest booted; it has to be set again`;
      throw new RequestError("no-such-key", reason, { key, gone: true });
    }
    return { ...entry, value: entry.value };
  }

  /** One page in the order of the keys, with the revision it is true for. */
  list(
    { prefix = "", after, limit = MAX_PAGE_ENTRIES }: Params<"list">,
    now: Moment,
    maySee = everyKey,
  ): Result<"list"> {
    const keys = [...this.#entries.keys()]
      .filter((key) => key.startsWith(prefix) && maySee(key) && (after === undefined || key > after))
      .sort();
    const entries: WireEntry[] = [];
    let bytes = 0;
    for (const key of keys) {
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      bytes += wireBytes(key, entry);
      if (entries.length === limit || (entries.length > 0 && bytes > PAGE_BYTES)) break;
      entries.push(listed(entry, now));
    }
    const last = entries.at(-1)?.key;
    return {
      ...this.cursor,
      usedBytes: this.#usedBytes,
      limitBytes: this.limit,
      entries,
      ...(last !== undefined && entries.length < keys.length && { next: last }),
    };
  }

  /**
   * Sets all of the entries or none; a retry gets the first answer. Throws RequestError (not-permitted, conflict,
   * over-limit), after which this cache is of no use and the one it was cloned from is as it was.
   */
  set(params: Params<"set">, caller: Caller, now: Moment): Result<"set"> {
    return this.#once("set", params.messageId, caller, () => this.#setAll(params, caller, now));
  }

  /** Deletes those of the keys that exist; a retry gets the first answer. Throws RequestError: not-permitted, conflict. */
  delete({ messageId, keys, ...condition }: Params<"delete">, caller: Caller): Result<"delete"> {
    return this.#once("delete", messageId, caller, () => {
      this.#assertPermitted(keys, caller);
      this.#assertCondition(keys, condition);
      return this.#remove(keys);
    });
  }

  /** Deletes all that the caller may delete; a retry gets the first answer. */
  clear({ messageId }: Params<"clear">, caller: Caller): Result<"clear"> {
    return this.#once("clear", messageId, caller, () => {
      return this.#remove([...this.#entries.keys()].filter((key) => this.#mayChange(key, caller)));
    });
  }

  /** Deletes what has outlived its TTL; the keys that went. */
  expire(now: Moment): string[] {
    const expired = [...this.#entries.values()].filter((entry) => remainingTtlMs(entry, now) === 0);
    return this.#remove(expired.map(({ key }) => key)).deleted;
  }

  /** Milliseconds until the next expiry, or undefined when nothing expires. */
  nextExpiryMs(now: Moment): number | undefined {
    const remaining = [...this.#entries.values()]
      .map((entry) => remainingTtlMs(entry, now))
      .filter((ms) => ms !== undefined);
    return remaining.length === 0 ? undefined : Math.min(...remaining);
  }

  /** Notes that a program in the guest fetched the value; true when it is the first to. */
  markRead(key: string): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.read === true || entry.setBy !== "host") return false;
    this.#entries.set(key, { ...entry, read: true });
    return true;
  }

  /** Deletions up to this revision may be forgotten: who knows less than that needs a snapshot. */
  get forgottenUpTo(): number {
    return this.#forgottenUpTo;
  }

  /** Whether a watcher that knows this place can go on from it, or needs a snapshot. */
  canResume(since: Cursor): boolean {
    return since.epoch === this.#epoch && since.revision >= this.#forgottenUpTo && since.revision <= this.#revision;
  }

  /** What changed after a position, oldest first and each key once, in a batch that fits a frame. */
  changesAfter(position: Position, prefix: string, now: Moment, maySee = everyKey): Batch {
    const entries = [...this.#entries.values()].map((entry) => ({ key: entry.key, revision: entry.revision, entry }));
    const deletions = [...this.#tombstones].map(([key, revision]) => ({ key, revision, entry: undefined }));
    const pending = [...entries, ...deletions]
      .filter((item) => isAfter(item, position) && item.key.startsWith(prefix) && maySee(item.key))
      .sort((a, b) => a.revision - b.revision || compareKeys(a.key, b.key));
    const changes: WireChange[] = [];
    let bytes = 0;
    let last: Position = position;
    for (const { key, revision, entry } of pending) {
      bytes += wireBytes(key, entry);
      if (changes.length > 0 && bytes > PAGE_BYTES) return { changes, reached: last, more: true };
      changes.push(entry === undefined ? { key, deleted: true, revision } : listed(entry, now));
      last = { revision, key };
    }
    return { changes, reached: { revision: this.#revision }, more: false };
  }

  #setAll({ messageId, entries, ...condition }: Params<"set">, caller: Caller, now: Moment): Result<"set"> {
    const keys = entries.map(({ key }) => key);
    const twice = keys.find((key, index) => keys.indexOf(key) !== index);
    if (twice !== undefined) throw new RequestError("invalid-params", `the key '${twice}' stands twice in one change`);
    this.#assertPermitted(keys, caller);
    this.#assertCondition(keys, condition);
    const replaced = keys.filter((key) => this.#entries.has(key));
    this.#revision += 1;
    for (const entry of entries) this.#put(this.#newEntry(entry, messageId, caller, now));
    this.#assertWithinLimits(entries, caller);
    const isVolatile = entries.some(({ secret }) => secret === true);
    return { ...this.cursor, replaced, ...(isVolatile && { volatile: true }) };
  }

  #newEntry(wire: NewEntry, messageId: string, { setBy }: Caller, now: Moment): Entry {
    const value = fromWireValue(wire);
    return {
      key: wire.key,
      value,
      bytes: entryBytes(wire.key, value),
      setBy,
      setAt: now,
      revision: this.#revision,
      messageId,
      ...(wire.ttlMs !== undefined && { ttlMs: wire.ttlMs }),
      ...(wire.secret === true && { secret: true }),
      ...(wire.readOnly === true && { readOnly: true }),
    };
  }

  #put(entry: Entry): void {
    this.#usedBytes += entry.bytes - (this.#entries.get(entry.key)?.bytes ?? 0);
    this.#entries.delete(entry.key);
    this.#entries.set(entry.key, entry);
    this.#tombstones.delete(entry.key);
  }

  #remove(keys: readonly string[]): Result<"delete"> {
    const deleted = [...new Set(keys)].filter((key) => this.#entries.has(key));
    if (deleted.length > 0) this.#revision += 1;
    for (const key of deleted) {
      this.#usedBytes -= this.#entries.get(key)?.bytes ?? 0;
      this.#entries.delete(key);
      this.#tombstones.set(key, this.#revision);
    }
    for (const [key, revision] of this.#tombstones) {
      if (this.#tombstones.size <= MAX_TOMBSTONES) break;
      this.#tombstones.delete(key);
      this.#forgottenUpTo = revision;
    }
    return { ...this.cursor, ...named(deleted) };
  }

  #mayChange(key: string, caller: Caller): boolean {
    const isProtected = caller.setBy === "guest" && this.#entries.get(key)?.readOnly === true;
    return caller.mayChange(key) && !isProtected;
  }

  #assertPermitted(keys: readonly string[], caller: Caller): void {
    const key = keys.find((candidate) => !this.#mayChange(candidate, caller));
    if (key === undefined) return;
    const reason = caller.mayChange(key)
      ? "was set read-only by the host"
      : "is not among those this socket may change";
    throw new RequestError("not-permitted", `the key '${key}' ${reason}`, { key });
  }

  #assertCondition(keys: readonly string[], { ifAbsent, ifRevision, ifEpoch }: Condition): void {
    if (ifEpoch !== undefined && ifEpoch !== this.#epoch) {
      throw new RequestError("conflict", "the cache is in another epoch than the one named", { ...this.cursor });
    }
    for (const key of keys) {
      const entry = this.#entries.get(key);
      if (ifAbsent === true && entry !== undefined) {
        throw new RequestError("conflict", `the key '${key}' exists`, { key, revision: entry.revision });
      }
      const revision = entry?.revision ?? this.#tombstones.get(key) ?? this.#forgottenUpTo;
      if (ifRevision !== undefined && revision > ifRevision) {
        const reason = `the key '${key}' may have changed up to revision ${revision}, after ${ifRevision}`;
        throw new RequestError("conflict", reason, { key, revision });
      }
    }
  }

  #assertWithinLimits(entries: readonly NewEntry[], caller: Caller): void {
    const changed = entries.reduce((sum, { key }) => sum + (this.#entries.get(key)?.bytes ?? 0), 0);
    assertFits("cache", this.#usedBytes, this.limit, changed);
    if (caller.quota === undefined) return;
    const own = [...this.#entries.values()].filter(({ key }) => caller.mayChange(key));
    assertFits(
      "quota of this socket",
      own.reduce((sum, { bytes }) => sum + bytes, 0),
      caller.quota,
      changed,
    );
  }

  #once<M extends ChangeMethod>(method: M, messageId: string, { setBy }: Caller, work: () => Result<M>): Result<M> {
    const answers = this.#answers[setBy];
    const earlier = answers.get(messageId);
    if (earlier?.method === method) return earlier.result as Result<M>;
    if (earlier) throw new RequestError("invalid-params", `the messageId was used for '${earlier.method}' before`);
    const result = work();
    answers.set(messageId, { method, result } as Answer);
    for (const oldest of answers.keys()) {
      if (answers.size <= REMEMBERED_ANSWERS) break;
      answers.delete(oldest);
    }
    return result;
  }
}

const everyKey: KeyFilter = () => true;

/** As many of the deleted keys as an answer has room for. A default cache cannot hold more. */
function named(deleted: readonly string[]): { deleted: string[]; more?: true } {
  let bytes = 0;
  const first = deleted.slice(0, MAX_ENTRIES_PER_CHANGE).filter((key) => {
    bytes += Buffer.byteLength(JSON.stringify(key));
    return bytes <= PAGE_BYTES;
  });
  return { deleted: first, ...(first.length < deleted.length && { more: true }) };
}

function assertFits(what: string, used: number, limit: number, needed: number): void {
  if (used <= limit) return;
  const free = Math.max(0, limit - (used - needed));
  const message = `over the limit of the ${what}: ${needed} bytes needed, ${free} free, limit ${limit}`;
  throw new RequestError("over-limit", message, { needed, free, limit });
}

function isAfter({ key, revision }: { key: string; revision: number }, position: Position): boolean {
  if (revision !== position.revision) return revision > position.revision;
  return position.key !== undefined && key > position.key;
}

function compareKeys(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** An upper bound of what an entry takes in a frame, beside its line: names, dates, numbers and flags. */
function wireBytes(key: string, entry: Entry | undefined): number {
  return WIRE_ENTRY_OVERHEAD + (entry?.bytes ?? Buffer.byteLength(key));
}

export function ageMs({ setAt }: Entry, now: Moment): number {
  return Math.max(0, Math.round(now.uptimeMs - setAt.uptimeMs));
}

/** Undefined for an entry without a TTL; never below 0. */
export function remainingTtlMs(entry: Entry, now: Moment): number | undefined {
  return entry.ttlMs === undefined ? undefined : Math.max(0, entry.ttlMs - ageMs(entry, now));
}

/** An entry as an answer to `get` carries it, its value with it. */
export function toWireEntry(entry: Entry, now: Moment): WireEntry {
  const { key, value, setBy, setAt, revision, messageId, secret, readOnly, read } = entry;
  const ttlMs = remainingTtlMs(entry, now);
  return {
    key,
    ...(value !== null && toWireValue(value)),
    setBy,
    setAt: new Date(setAt.wallMs).toISOString(),
    ageMs: ageMs(entry, now),
    revision,
    messageId,
    ...(ttlMs !== undefined && { ttlMs }),
    ...(secret && { secret }),
    ...(value === null && { gone: true }),
    ...(readOnly && { readOnly }),
    ...(read && { read }),
  };
}

/** An entry as a list or a watch carries it: of a secret only the name. */
function listed(entry: Entry, now: Moment): WireEntry {
  const { value, base64, ...rest } = toWireEntry(entry, now);
  if (entry.secret) return rest;
  return { ...rest, ...(value !== undefined && { value }), ...(base64 !== undefined && { base64 }) };
}
