/**
 * Who did what, on disk before it is answered. A record that cannot be written fails the request it is of: what nobody
 * can find out later is not done in silence. What was done by then stays done, so the log has the record too.
 */
import type { AuditRecord, VmRef } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { Log } from "../../shared/log.ts";
import type { Store } from "../store/store.ts";
import type { Principal } from "./principal.ts";

/** Of each value, in UTF-8 bytes: the log says what was set, it is no second copy of it. */
const MAX_LOGGED_VALUE = 1024;

/** Keys of one request: a record stays small, whatever the request was. */
const MAX_LOGGED_KEYS = 64;

/** The longest name of somebody who does not exist. */
const MAX_WHO = 256;

export interface Deed {
  who: Pick<Principal, "name" | "via">;
  /** As in {@link AuditRecord}. */
  action: string;
  vm?: VmRef | undefined;
  keys?: readonly string[] | undefined;
  messageId?: string | undefined;
  /** `ok`, or the error's code. */
  outcome: string;
  /** Only when they were asked for, and never a secret's: the caller leaves those out. */
  values?: Readonly<Record<string, string>> | undefined;
}

export interface AuditLogOptions {
  store: Pick<Store, "addAudit">;
  log: Log;
  /** Milliseconds since 1970. */
  clock?: () => number;
}

export class AuditLog {
  readonly #store: Pick<Store, "addAudit">;
  readonly #log: Log;
  readonly #clock: () => number;

  constructor({ store, log, clock = Date.now }: AuditLogOptions) {
    this.#store = store;
    this.#log = log;
    this.#clock = clock;
  }

  /** Settles when it is on disk; rejects with CommandError. */
  record(deed: Deed): Promise<void> {
    return this.recordAll([deed]);
  }

  /** All of them or none. Records that come meanwhile from elsewhere share the store's next commit. */
  async recordAll(deeds: readonly Deed[]): Promise<void> {
    const time = new Date(this.#clock()).toISOString();
    try {
      await this.#store.addAudit(deeds.map((deed) => recordOf(deed, time)));
    } catch (error) {
      for (const deed of deeds) {
        this.#log.error("audit-not-written", { ...recordOf({ ...deed, values: undefined }, time), error });
      }
      const message = `the audit log cannot be written (${(error as Error).message})`;
      throw new CommandError("failed", message, {}, { cause: error });
    }
  }
}

function recordOf(
  { who, action, vm, keys = [], messageId, outcome, values }: Deed,
  time: string,
): Omit<AuditRecord, "id"> {
  return {
    time,
    who: who.name.slice(0, MAX_WHO),
    via: who.via,
    action,
    ...(vm !== undefined && { vm }),
    keys: shortened(keys),
    ...(messageId !== undefined && { messageId }),
    outcome,
    ...(values !== undefined && { values: shortenedValues(values) }),
  };
}

function shortened(keys: readonly string[]): string[] {
  const left = keys.length - MAX_LOGGED_KEYS;
  return left <= 0 ? [...keys] : [...keys.slice(0, MAX_LOGGED_KEYS), `... and ${left} more`];
}

function shortenedValues(values: Readonly<Record<string, string>>): Record<string, string> {
  const logged = Object.entries(values).slice(0, MAX_LOGGED_KEYS);
  return Object.fromEntries(logged.map(([key, value]) => [key, cut(value)]));
}

/** Never in the middle of a character. */
function cut(value: string): string {
  const bytes = Buffer.from(value);
  if (bytes.length <= MAX_LOGGED_VALUE) return value;
  return `${new TextDecoder().decode(bytes.subarray(0, MAX_LOGGED_VALUE), { stream: true })}...`;
}
