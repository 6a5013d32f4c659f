/** What each policy knows of each VM, in memory and as the store keeps it. */
import * as z from "zod/mini";
import type { Log } from "../../../shared/log.ts";
import type { Store, StoredMonitor } from "../../store/store.ts";
import { type Breaker, closedBreaker, type RecoveryLimits, runsWithin, withoutFuture } from "./breaker.ts";

/** A run whose end is not written down yet. */
export interface RunUnderWay {
  /** Of the runs that the breaker counts, from 1. */
  run: number;
  command: string;
  /** The failure that it is for. */
  event: string;
  vmName: string;
  startedAt: number;
}

export interface RecoveryRecord {
  breaker: Breaker;
  /** A position of the log: this policy is through with this VM's events up to there. */
  handledUpTo: number;
  /** Positions of failures before that, for which nothing could be run: handled when they are delivered again. */
  refused: readonly number[];
  /** A position of the log: the failures up to there were there when the command was run last, which was for them too. */
  coveredUpTo: number;
  underWay: RunUnderWay | undefined;
}

const storedRecord = z.object({
  breaker: z.object({
    runs: z.array(z.number()),
    isSuspended: z.boolean(),
    failing: z.array(z.string()),
    healthySince: z.optional(z.number()),
    passedOverAt: z.optional(z.number()),
  }),
  handledUpTo: z.number(),
  refused: z.array(z.number()),
  coveredUpTo: z.number(),
  underWay: z.optional(
    z.object({ run: z.number(), command: z.string(), event: z.string(), vmName: z.string(), startedAt: z.number() }),
  ),
});

/** By policy. */
const storedState = z.record(z.string(), storedRecord);

export const newRecord: RecoveryRecord = {
  breaker: closedBreaker,
  handledUpTo: 0,
  refused: [],
  coveredUpTo: 0,
  underWay: undefined,
};

export class RecoveryRecords {
  /** By VM, then by policy. */
  readonly #records = new Map<string, Map<string, RecoveryRecord>>();

  static async load(store: Pick<Store, "loadMonitors">, log: Log): Promise<RecoveryRecords> {
    const records = new RecoveryRecords();
    for (const { vmId, state } of await store.loadMonitors("recovery")) {
      const parsed = storedState.safeParse(state);
      if (parsed.success) records.#load(vmId, parsed.data);
      else log.warn("recovery-unreadable", { id: vmId });
    }
    return records;
  }

  get all(): { vmId: string; policy: string; record: RecoveryRecord }[] {
    return [...this.#records].flatMap(([vmId, records]) => {
      return [...records].map(([policy, record]) => ({ vmId, policy, record }));
    });
  }

  /** Undefined when it never failed. */
  get(vmId: string, policy: string): RecoveryRecord | undefined {
    return this.#records.get(vmId)?.get(policy);
  }

  put(vmId: string, policy: string, record: RecoveryRecord): void {
    const records = this.#records.get(vmId) ?? new Map<string, RecoveryRecord>();
    this.#records.set(vmId, records);
    records.set(policy, record);
  }

  /** Of one that is known still. */
  change(vmId: string, policy: string, change: Partial<RecoveryRecord>): void {
    const record = this.get(vmId, policy);
    if (record !== undefined) this.put(vmId, policy, { ...record, ...change });
  }

  /** Of a policy for all VMs. Times that lie ahead are now from then on. */
  runsTogether(policy: string, limits: RecoveryLimits, now: number): number {
    let count = 0;
    for (const records of this.#records.values()) {
      const record = records.get(policy);
      if (record === undefined) continue;
      const breaker = withoutFuture(record.breaker, now);
      if (breaker !== record.breaker) records.set(policy, { ...record, breaker });
      count += runsWithin(breaker, limits, now);
    }
    return count;
  }

  /** For the store. Nothing of a VM that was forgotten, which must not come back. */
  stored(vmId: string): StoredMonitor[] {
    const records = this.#records.get(vmId);
    return records === undefined ? [] : [{ vmId, part: "recovery", state: Object.fromEntries(records) }];
  }

  forgetVm(vmId: string): void {
    this.#records.delete(vmId);
  }

  /** Answers the VMs of which something was forgotten. */
  keepOnly(isPolicy: (name: string) => boolean): string[] {
    const forgotten = this.all.filter(({ policy }) => !isPolicy(policy));
    for (const { vmId, policy } of forgotten) this.#records.get(vmId)?.delete(policy);
    return [...new Set(forgotten.map(({ vmId }) => vmId))];
  }

  #load(vmId: string, state: z.infer<typeof storedState>): void {
    for (const [policy, { breaker, underWay, ...places }] of Object.entries(state)) {
      const { healthySince, passedOverAt, ...rest } = breaker;
      this.put(vmId, policy, { ...places, underWay, breaker: { ...rest, healthySince, passedOverAt } });
    }
  }
}
