/**
 * Local recovery: the policies of the configuration, each a sink of the dispatcher. A failure is handled once, in the order
 * of its VM's events, however often the manager is restarted.
 */
import type { RecoveryStanding } from "../../../shared/api/monitor-schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { rfc3339 } from "../../../shared/rfc3339.ts";
import { matchesVm } from "../../../shared/vm-pattern.ts";
import type { RecoveryPolicy } from "../../config.ts";
import { matcherOf } from "../../events/filter.ts";
import type { Dispatcher } from "../../events/outbox/dispatcher.ts";
import type { Store } from "../../store/store.ts";
import { Turns } from "../../turns.ts";
import { afterHealth, withoutFuture } from "./breaker.ts";
import { typesFor } from "./health-news.ts";
import { newRecord, RecoveryRecords } from "./records.ts";
import { RecoverySink, type RecoverySinkOptions } from "./recovery-sink.ts";
import { RecoveryRuns, type RecoveryRunsOptions } from "./runs.ts";

type Injected = Omit<RecoverySinkOptions, "policy" | "records" | "runs" | "now" | "store"> &
  Pick<RecoveryRunsOptions, "recovered" | "endGraceMs">;

export interface RecoveriesOptions extends Injected {
  store: Pick<Store, "loadMonitors" | "appendEvents" | "feedNames">;
  dispatcher: Pick<Dispatcher, "add" | "forget">;
  /** Milliseconds since 1970. */
  now?: () => number;
}

/** Of each policy's sink, before its name. */
const PREFIX = "recovery:";

export class Recoveries {
  readonly #options: RecoveriesOptions;
  readonly #now: () => number;
  readonly #records: RecoveryRecords;
  readonly #runs: RecoveryRuns;
  /** By name; as they were applied. */
  readonly #policies = new Map<string, RecoveryPolicy>();
  readonly #changes = new Turns();

  /** Nothing is recovered before {@link apply}. */
  static async open(options: RecoveriesOptions): Promise<Recoveries> {
    const recoveries = new Recoveries(options, await RecoveryRecords.load(options.store, options.log));
    await recoveries.#runs.endInterrupted();
    return recoveries;
  }

  private constructor(options: RecoveriesOptions, records: RecoveryRecords) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#records = records;
    this.#runs = new RecoveryRuns({ ...options, records, now: this.#now });
  }

  /** Takes the configuration's. One that is as it was goes on undisturbed; of one that is there no more all is forgotten. */
  apply(policies: readonly RecoveryPolicy[]): Promise<void> {
    return this.#changes.take(async () => {
      if (this.#runs.stopping.aborted)
        throw new CommandError("unreachable", "the manager stops; it recovers nothing more");
      await this.#forgetOthers(new Set(policies.map(({ name }) => name)));
      for (const policy of policies) await this.#applyOne(policy);
    });
  }

  /** Of the policies that are for this VM. */
  standing(vmId: string): RecoveryStanding[] {
    const vm = this.#options.vmOf(vmId);
    if (vm === undefined) return [];
    const policies = [...this.#policies.values()].filter(({ vms }) => vms.some((pattern) => matchesVm(pattern, vm)));
    return policies.map((policy) => this.#standing(vmId, policy));
  }

  /** To be called before the store forgets the VM. */
  forget(vmId: string): void {
    this.#records.forgetVm(vmId);
  }

  /** Begins nothing more, and ends the commands that run; settles when they have ended. The sinks are the dispatcher's. */
  async close(): Promise<void> {
    await this.#runs.close();
  }

  async #applyOne(policy: RecoveryPolicy): Promise<void> {
    const { name } = policy;
    if (JSON.stringify(this.#policies.get(name)) === JSON.stringify(policy)) return;
    const sink = new RecoverySink({
      ...this.#options,
      policy,
      records: this.#records,
      runs: this.#runs,
      now: this.#now,
    });
    const wants = matcherOf({ types: typesFor(policy), vms: policy.vms });
    await this.#options.dispatcher.add({
      id: `${PREFIX}${name}`,
      sink,
      wants,
      carriesValues: false,
      tellWhenDisabled: [],
    });
    this.#policies.set(name, policy);
  }

  /** Also of those that were taken out while no manager ran. */
  async #forgetOthers(names: ReadonlySet<string>): Promise<void> {
    const { store, dispatcher } = this.#options;
    for (const name of this.#policies.keys()) if (!names.has(name)) this.#policies.delete(name);
    const feeds = (await store.feedNames()).filter((feed) => feed.startsWith(PREFIX));
    for (const feed of feeds) if (!names.has(feed.slice(PREFIX.length))) await dispatcher.forget(feed);
    const changed = this.#records.keepOnly((name) => names.has(name));
    if (changed.length === 0) return;
    await store.appendEvents(
      [],
      [],
      changed.flatMap((vmId) => this.#records.stored(vmId)),
    );
  }

  #standing(vmId: string, policy: RecoveryPolicy): RecoveryStanding {
    const now = this.#now();
    const { breaker } = this.#records.get(vmId, policy.name) ?? newRecord;
    const { runs, isSuspended } = afterHealth(withoutFuture(breaker, now), policy, now);
    const lastRunAt = runs.at(-1);
    return {
      policy: policy.name,
      runs: runs.length,
      ...(lastRunAt !== undefined && { lastRunAt: rfc3339(lastRunAt) }),
      isSuspended,
    };
  }
}
