/**
 * A policy as a sink: what it is given are the failures and recoveries of its VMs, in their order, each at least once. It
 * takes no longer than a wait for the disk; commands run on their own.
 */
import type { VmRef } from "../../../shared/api/schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import type { Log } from "../../../shared/log.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import type { ProgramConfig, RecoveryPolicy } from "../../config.ts";
import type { ConnectionState } from "../../connection-state.ts";
import { type Event, type NewEvent, vmEvent } from "../../events/event.ts";
import { checkProgram } from "../../sinks/check-sink.ts";
import { eventJson, MAX_EVENT_BYTES } from "../../sinks/event-json.ts";
import { OrderedDelivery } from "../../sinks/ordered-delivery.ts";
import type { Attempted, Outcome, Sink } from "../../sinks/sink.ts";
import type { Store } from "../../store/store.ts";
import {
  afterHealth,
  type Breaker,
  decide,
  type Decision,
  withDecision,
  withFailure,
  withoutFuture,
  withRecovery,
  withStop,
} from "./breaker.ts";
import { healthNews, type HealthNews } from "./health-news.ts";
import { newRecord, type RecoveryRecord, type RecoveryRecords } from "./records.ts";
import type { RecoveryRuns } from "./runs.ts";

/** When everything fails at once, so many VMs' records share a wait for the disk. */
const BATCH_SIZE = 64;

/**
 * A failure is old news when it comes after so long, since the manager was away: whoever looks after the VM has begun to act.
 * While it waits for others' commands it grows no older: when many VMs fail at once and commands take their time, the last
 * are run for too, if they fail still.
 */
const MAX_AGE_MS = 600_000;

/** Of one VM, whose failures nothing could be run for: the last ones can be delivered again. */
const MAX_REFUSED = 16;

/** How often a failure that waits for a command's end asks again. */
const ASK_AGAIN_MS = 1_000;

const TOO_LARGE = `the event is larger than ${MAX_EVENT_BYTES} bytes without its values too`;

const handled: Outcome = { type: "delivered" };

export interface RecoverySinkOptions {
  policy: RecoveryPolicy;
  store: Pick<Store, "appendEvents">;
  records: RecoveryRecords;
  runs: Pick<RecoveryRuns, "begin" | "whyNotYet" | "stopping">;
  /** The manager's machine, which is the source of events. */
  host: string;
  /** One of root's configuration, as it is now. */
  program: (name: string) => ProgramConfig | undefined;
  /** As it is called now; undefined when there is none any more. */
  vmOf: (id: string) => VmRef | undefined;
  /** Whether a failure stands still. */
  stands: (failure: Event) => boolean;
  log: Log;
  /** The store failed: the manager cannot go on. */
  failed: (error: unknown) => void;
  /** Milliseconds since 1970. */
  now: () => number;
}

export class RecoverySink implements Sink {
  readonly type = "recovery";
  readonly target: string;
  readonly batchSize = BATCH_SIZE;
  /** Nothing is tried twice. */
  readonly retryScheduleMs = [];
  readonly disableAfter = undefined;
  /** Each action is an event. */
  readonly keepsAttempts = false;
  readonly #options: RecoverySinkOptions;
  readonly #delivery: OrderedDelivery;
  /** By VM, the position of its failure that waits for others' commands. */
  readonly #waiting = new Map<string, number>();

  constructor(options: RecoverySinkOptions) {
    this.#options = options;
    this.target = `command:${options.policy.command}`;
    this.#delivery = new OrderedDelivery({ resourcesAtOnce: BATCH_SIZE, attempt: (event) => this.#attempt(event) });
  }

  deliver(events: readonly Event[], signal: AbortSignal): Promise<Attempted[]> {
    return this.#delivery.deliver(events, AbortSignal.any([signal, this.#options.runs.stopping]));
  }

  connection(): ConnectionState {
    return { state: "idle" };
  }

  start(): void {
    // A command is started when a guest fails.
  }

  /** What runs goes on. */
  close(): Promise<void> {
    return this.#delivery.close();
  }

  async #attempt(event: Event): Promise<Outcome> {
    try {
      return event.type === "SINK.TEST" ? await this.#test() : await this.#handle(event);
    } catch (error) {
      this.#options.failed(error);
      return { type: "unavailable", reason: "the store failed" };
    }
  }

  /** Nothing is run. */
  async #test(): Promise<Outcome> {
    const program = this.#program();
    if (program === undefined) return { type: "failed", reason: this.#noProgram };
    try {
      await checkProgram(program);
      return handled;
    } catch (error) {
      if (error instanceof CommandError) return { type: "failed", reason: error.message };
      throw error;
    }
  }

  async #handle(event: Event): Promise<Outcome> {
    const { policy, records } = this.#options;
    const news = healthNews(event, policy);
    const known = records.get(event.resourceUUID, policy.name);
    if (news === undefined || (known !== undefined && isHandled(event, known))) return handled;
    if (news.type === "failed") return this.#handleFailure(event, news.subject, known ?? newRecord);
    // Of a VM that never failed there is nothing to know.
    if (known !== undefined) await this.#noteHealth(event, news, known);
    return handled;
  }

  async #noteHealth(event: Event, news: HealthNews, record: RecoveryRecord): Promise<void> {
    const { breaker } = record;
    const at = Math.min(event.time, this.#options.now());
    this.#put(event, record, news.type === "recovered" ? withRecovery(breaker, news.subject, at) : withStop(breaker));
    await this.#append(event.resourceUUID);
  }

  async #handleFailure(failure: Event, subject: string, record: RecoveryRecord): Promise<Outcome> {
    const { resourceUUID: vmId } = failure;
    const now = this.#options.now();
    const vm = this.#options.vmOf(vmId);
    const over = vm && this.#whyOver(failure, record, now);
    const notYet = vm && over === undefined ? this.#options.runs.whyNotYet(vmId) : undefined;
    if (notYet !== undefined) return this.#postponed(failure, notYet);
    this.#waiting.delete(vmId);
    if (vm === undefined) return { type: "obsolete", reason: "there is no such VM any more" };
    const noted = this.#put(failure, record, this.#breakerWith(failure, subject, record, now));
    if (over === undefined) return this.#recover(vm, failure, { noted, before: record }, now);
    await this.#append(vm.id);
    this.#logPassedOver(vm, failure, over);
    return { type: "obsolete", reason: over };
  }

  #postponed({ resourceUUID: vmId, position }: Event, reason: string): Outcome {
    this.#waiting.set(vmId, position);
    return { type: "postponed", reason, forMs: ASK_AGAIN_MS };
  }

  /** One that was refused before was noted then, and may have recovered since. */
  #breakerWith(failure: Event, subject: string, { breaker, refused }: RecoveryRecord, now: number): Breaker {
    if (refused.includes(failure.position)) return breaker;
    const before = afterHealth(withoutFuture(breaker, now), this.#options.policy, Math.min(failure.time, now));
    return withFailure(before, subject);
  }

  /** Why nothing is to be done about a failure; undefined when the breaker is to decide. */
  #whyOver(failure: Event, { coveredUpTo }: RecoveryRecord, now: number): string | undefined {
    const ageMs = now - failure.time;
    const isWaiting = this.#waiting.get(failure.resourceUUID) === failure.position;
    if (ageMs > MAX_AGE_MS && !isWaiting) return `it happened ${Math.round(ageMs / 1_000)} s ago`;
    if (failure.position <= coveredUpTo) return "it was there when the command was run last";
    return this.#options.stands(failure) ? undefined : "it stands no more";
  }

  /** @param record as it was before the failure, and with the failure noted */
  async #recover(
    vm: VmRef,
    failure: Event,
    { before, noted }: { before: RecoveryRecord; noted: RecoveryRecord },
    now: number,
  ): Promise<Outcome> {
    const { policy, host, runs } = this.#options;
    const program = this.#program();
    const json = eventJson(failure, "cloudevents", host);
    if (program === undefined || json === undefined) {
      return this.#refuse(failure, noted, program === undefined ? this.#noProgram : TOO_LARGE);
    }
    const { decision, together, breaker } = this.#decide(noted.breaker, now);
    this.#put(failure, noted, breaker);
    switch (decision.type) {
      case "run": {
        const run = { policy, vm, program, failure, json, before, number: breaker.runs.length };
        return (await runs.begin(run)) ? handled : this.#postponed(failure, "the manager stops");
      }
      case "suspend":
        await this.#suspend(vm, failure, { of: "vm", runs: breaker.runs.length }, now);
        return handled;
      case "pass-over":
        if (decision.isTold) await this.#suspend(vm, failure, { of: "all", runs: together }, now);
        else await this.#append(vm.id);
        return handled;
      case "suspended":
        await this.#append(vm.id);
        this.#logPassedOver(vm, failure, "recovery is suspended");
        return handled;
      default:
        return unreachable(decision);
    }
  }

  /** It becomes a dead letter: who mends the configuration may have it delivered again. */
  async #refuse({ resourceUUID: vmId, position }: Event, noted: RecoveryRecord, reason: string): Promise<Outcome> {
    const { policy, records } = this.#options;
    records.put(vmId, policy.name, { ...noted, refused: [...noted.refused, position].slice(-MAX_REFUSED) });
    await this.#append(vmId);
    return { type: "rejected", reason };
  }

  #decide(breaker: Breaker, now: number): { decision: Decision; together: number; breaker: Breaker } {
    const { policy, records } = this.#options;
    const together = records.runsTogether(policy.name, policy, now);
    const decision = decide(breaker, policy, together, now);
    return { decision, together, breaker: withDecision(breaker, decision, now) };
  }

  /** @param why of which VMs there were too many runs, and how many */
  async #suspend(vm: VmRef, failure: Event, why: { of: "vm" | "all"; runs: number }, now: number): Promise<void> {
    const { policy, log } = this.#options;
    const data = { policy: policy.name, ...why, withinMs: policy.within, event: failure.id, type: failure.type };
    await this.#append(vm.id, vmEvent("RECOVERY.SUSPENDED", vm, now, { data }));
    log.info("recovery-suspended", { vm: vm.name, id: vm.id, ...data });
  }

  #logPassedOver(vm: VmRef, { id: event, type }: Event, reason: string): void {
    const { policy, log } = this.#options;
    log.info("recovery-passed-over", { vm: vm.name, id: vm.id, policy: policy.name, event, type, reason });
  }

  #put(event: Event, record: RecoveryRecord, breaker: Breaker): RecoveryRecord {
    const { policy, records } = this.#options;
    const changed = {
      ...record,
      breaker,
      handledUpTo: Math.max(record.handledUpTo, event.position),
      refused: record.refused.filter((position) => position !== event.position),
    };
    records.put(event.resourceUUID, policy.name, changed);
    return changed;
  }

  /** What is known of the VM, with what is told of it. */
  async #append(vmId: string, ...events: NewEvent[]): Promise<void> {
    const { store, records } = this.#options;
    await store.appendEvents(events, [], records.stored(vmId));
  }

  #program(): ProgramConfig | undefined {
    return this.#options.program(this.#options.policy.command);
  }

  get #noProgram(): string {
    return `events.commands in the manager's configuration has no '${this.#options.policy.command}' any more`;
  }
}

function isHandled({ position }: Event, { handledUpTo, refused }: RecoveryRecord): boolean {
  return position <= handledUpTo && !refused.includes(position);
}
