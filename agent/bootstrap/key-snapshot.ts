/** The keys of the agent as they are at one revision, secrets with their values, and the commit among them. */
import { createHash } from "node:crypto";
import { RequestError } from "../../shared/protocol/errors.ts";
import { listAll } from "../../shared/list-all.ts";
import type { Client } from "../../shared/client.ts";
import type { WireEntry } from "../../shared/protocol/message.ts";
import { fromWireValue } from "../../shared/protocol/value.ts";
import { COMMIT_KEY, REPORT_KEY } from "../../shared/bootstrap.ts";
import type { GivenValue, Values } from "./module.ts";

/** Keys that change this often while they are read change all the time. */
const MAX_ATTEMPTS = 20;

const MAX_COMMIT_LENGTH = 256;

export interface Commit {
  key: string;
  /** Null where the value itself may be a secret: that of a key which is more than a commit. */
  value: string | null;
  /** Of the change that set it. */
  messageId: string | null;
  /** The same only for the same setting of the key. */
  identity: string;
}

export interface KeySnapshot {
  entries: readonly WireEntry[];
  values: Values;
  /** Secrets whose values did not survive a boot. */
  gone: readonly string[];
}

/** Reads all keys; each secret's value is of the revision that the list shows. Throws RequestError. */
export async function readKeys(client: Client): Promise<KeySnapshot> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const { entries } = await listAll(client);
    const values = await valuesOf(entries, client);
    const gone = entries.filter((entry) => entry.gone === true).map(({ key }) => key);
    if (values !== undefined) return { entries, values, gone };
  }
  throw new RequestError("busy", "the keys change faster than they can be read");
}

/** Undefined when a secret changed since it was listed. */
async function valuesOf(entries: readonly WireEntry[], client: Client): Promise<Values | undefined> {
  const values = new Map<string, GivenValue>();
  for (const entry of entries) {
    if (entry.gone === true) continue;
    const isSecret = entry.secret === true;
    const current = isSecret ? await secretOf(entry, client) : entry;
    if (current === undefined) return undefined;
    values.set(entry.key, { value: fromWireValue(current), isSecret });
  }
  return values;
}

async function secretOf({ key, revision }: WireEntry, client: Client): Promise<WireEntry | undefined> {
  try {
    const { entry } = await client.read("get", { key });
    return entry.revision === revision ? entry : undefined;
  } catch (error) {
    if (error instanceof RequestError && error.code === "no-such-key") return undefined;
    throw error;
  }
}

/** The one of these keys that was set last; the first of those that were set together. */
export function commitOf(entries: readonly WireEntry[], commitKeys: readonly string[]): Commit | undefined {
  const set = commitKeys.flatMap((key) => entries.find((candidate) => candidate.key === key) ?? []);
  const [entry] = set.toSorted((one, other) => other.revision - one.revision);
  if (entry === undefined) return undefined;
  const isPlain = entry.key === COMMIT_KEY && entry.secret !== true && entry.value !== undefined;
  return {
    key: entry.key,
    value: isPlain ? (entry.value ?? "").slice(0, MAX_COMMIT_LENGTH).toWellFormed() : null,
    messageId: entry.messageId ?? null,
    identity: identityOf(entry),
  };
}

/** What is different as soon as the key is set again, to the same value or another. */
export function identityOf({ key, messageId = "", setAt }: WireEntry): string {
  return `${key} ${setAt} ${messageId}`;
}

/** The same as long as the host sets and deletes nothing; keys that were `erased` since count as gone. */
export function fingerprint({ entries }: KeySnapshot, erased: readonly string[] = []): string {
  const identities = entries
    .filter(({ key, setBy }) => setBy === "host" && key !== REPORT_KEY && !erased.includes(key))
    .map(identityOf)
    .sort();
  return createHash("sha256").update(JSON.stringify(identities)).digest("hex");
}
