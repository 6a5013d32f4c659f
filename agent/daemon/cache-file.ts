/** The cache as it lies on disk: JSON, without the values of secrets. */
import * as z from "zod/mini";
import { type Cache, type CacheContents, type Entry, type Moment } from "../../shared/protocol/cache.ts";
import { requests } from "../../shared/protocol/message.ts";
import { entryBytes, fromWireValue, toWireValue, type Value } from "../../shared/protocol/value.ts";
import type { Machine } from "../machine.ts";

const moment = z.object({ wallMs: z.number(), uptimeMs: z.number() });
const flag = z.optional(z.literal(true));

const storedEntry = z.object({
  key: z.string(),
  value: z.optional(z.string()),
  base64: z.optional(z.string()),
  bytes: z.int(),
  setBy: z.enum(["host", "guest"]),
  setAt: moment,
  revision: z.int(),
  messageId: z.string(),
  ttlMs: z.optional(z.int()),
  secret: flag,
  readOnly: flag,
  read: flag,
});

const answer = z.discriminatedUnion("method", [
  z.object({ method: z.literal("set"), result: requests.set.result }),
  z.object({ method: z.literal("delete"), result: requests.delete.result }),
  z.object({ method: z.literal("clear"), result: requests.clear.result }),
]);
const answers = z.array(z.tuple([z.string(), answer]));

const cacheFile = z.object({
  format: z.literal(1),
  uuid: z.nullable(z.string()),
  bootId: z.nullable(z.string()),
  /** When it was written: entries of an earlier boot are as old as they were then, and the time since by the wall clock. */
  savedAt: moment,
  revision: z.int(),
  entries: z.array(storedEntry),
  answers: z.object({ host: answers, guest: answers }),
});

type StoredEntry = z.infer<typeof storedEntry>;

export interface CacheFile {
  uuid: string | null;
  isFromThisBoot: boolean;
  contents: CacheContents;
}

export function formatCacheFile(cache: Cache, machine: Machine): string {
  const { revision, entries, answers: given } = cache.contents();
  const file: z.infer<typeof cacheFile> = {
    format: 1,
    uuid: machine.uuid,
    bootId: machine.bootId,
    savedAt: machine.now(),
    revision,
    entries: entries.map(toStored),
    answers: given,
  };
  return JSON.stringify(file);
}

/** Throws when the text is no cache file. */
export function parseCacheFile(
  text: string,
  machine: Machine,
  findSecret: (key: string, revision: number) => Value | undefined,
): CacheFile {
  const file = cacheFile.parse(JSON.parse(text));
  const isFromThisBoot = machine.bootId !== null && file.bootId === machine.bootId;
  const now = machine.now();
  const rebase = (setAt: Moment): Moment => (isFromThisBoot ? setAt : afterBoot(setAt, file.savedAt, now));
  const entries = file.entries.map((stored) => {
    return { ...fromStored(stored, findSecret), setAt: rebase(stored.setAt) };
  });
  return { uuid: file.uuid, isFromThisBoot, contents: { revision: file.revision, entries, answers: file.answers } };
}

/** Puts a moment of an earlier boot on this boot's uptime, so that from here on no step of the wall clock ages it. */
function afterBoot(setAt: Moment, savedAt: Moment, now: Moment): Moment {
  const ageWhenSavedMs = Math.max(0, savedAt.uptimeMs - setAt.uptimeMs);
  const sinceSavedMs = Math.max(0, now.wallMs - savedAt.wallMs);
  return { wallMs: setAt.wallMs, uptimeMs: now.uptimeMs - ageWhenSavedMs - sinceSavedMs };
}

function toStored({ value, ...entry }: Entry): StoredEntry {
  return entry.secret || value === null ? entry : { ...entry, ...toWireValue(value) };
}

function fromStored(
  { value, base64, ...stored }: StoredEntry,
  findSecret: (key: string, revision: number) => Value | undefined,
): Entry {
  const found = stored.secret ? (findSecret(stored.key, stored.revision) ?? null) : fromWireValue({ value, base64 });
  const entry: Entry = { ...defined(stored), value: found };
  return found === null ? entry : { ...entry, bytes: entryBytes(entry.key, found) };
}

function defined({
  ttlMs,
  secret,
  readOnly,
  read,
  ...rest
}: Omit<StoredEntry, "value" | "base64">): Omit<Entry, "value"> {
  return {
    ...rest,
    ...(ttlMs !== undefined && { ttlMs }),
    ...(secret && { secret }),
    ...(readOnly && { readOnly }),
    ...(read && { read }),
  };
}
