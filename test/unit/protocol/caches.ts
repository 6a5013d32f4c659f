/** A cache as the agent keeps it: each change is worked out on a clone, which is thrown away when the change is refused. */
import { Cache, type CacheContents, type Caller, type Moment } from "../../../shared/protocol/cache.ts";
import { RequestError } from "../../../shared/protocol/errors.ts";
import type { NewEntry, Result } from "../../../shared/protocol/message.ts";
import { EPOCH } from "./sessions.ts";

/** The wall clock at uptime 0. */
export const BOOTED_AT_MS = Date.UTC(2026, 10, 21, 7, 0, 0);

export const HOST: Caller = { setBy: "host", mayChange: () => true };
export const GUEST: Caller = { setBy: "guest", mayChange: () => true };

export function at(uptimeMs: number): Moment {
  return { wallMs: BOOTED_AT_MS + uptimeMs, uptimeMs };
}

/** Counts for all caches: one that goes on with another's contents knows its messages. */
let lastMessage = 0;

export class KeptCache {
  current: Cache;

  constructor(options: { limit?: number; epoch?: string; contents?: CacheContents } = {}) {
    this.current = new Cache({ epoch: EPOCH, ...options });
  }

  change<R>(work: (cache: Cache) => R): R {
    const next = this.current.clone();
    const result = work(next);
    this.current = next;
    return result;
  }

  set(entries: Record<string, string> | NewEntry[], options: { now?: Moment; caller?: Caller } = {}): Result<"set"> {
    const list = Array.isArray(entries) ? entries : Object.entries(entries).map(([key, value]) => ({ key, value }));
    const { now = at(0), caller = HOST } = options;
    return this.change((cache) => cache.set({ messageId: this.newMessageId(), entries: list }, caller, now));
  }

  delete(...keys: string[]): Result<"delete"> {
    return this.change((cache) => cache.delete({ messageId: this.newMessageId(), keys }, HOST));
  }

  keys(): string[] {
    return [...this.current.entries()].map(({ key }) => key).sort();
  }

  newMessageId(): string {
    lastMessage += 1;
    return `t${lastMessage}`;
  }
}

/** What a refused request says; anything else that is thrown, or nothing, fails the test. */
export function refusal(work: () => unknown): { code: string; message: string } & Record<string, unknown> {
  try {
    work();
  } catch (error) {
    if (error instanceof RequestError) return { ...error.details, code: error.code, message: error.message };
    throw error;
  }
  throw new Error("it was not refused");
}
