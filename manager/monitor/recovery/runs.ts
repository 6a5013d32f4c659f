/**
 * The commands that recover VMs while they run: for each VM one after the other, for a few VMs at the same time. That one
 * begins is on disk before it does, and what the manager's end cut short is ended as interrupted, and not run again.
 */
import type { VmRef } from "../../../shared/api/schemas.ts";
import type { Log } from "../../../shared/log.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { printable } from "../../../shared/terminal-text.ts";
import type { ProgramConfig, RecoveryPolicy } from "../../config.ts";
import { type Event, type NewEvent, vmEvent } from "../../events/event.ts";
import { type ProgramEnd, runProgram } from "../../run-program.ts";
import type { Store } from "../../store/store.ts";
import type { RecoveryRecord, RecoveryRecords, RunUnderWay } from "./records.ts";

/** Commands as `virsh reset` take a second or less of a processor. Not measured. */
const MAX_RUNS_AT_ONCE = 8;

/** Of the last line that a command wrote to its stderr, in UTF-16 code units. */
const MAX_STDERR_LENGTH = 500;

const STOPPING = "the manager stops";

/** `interrupted`: by the manager's end. */
export type RecoveryOutcome = "succeeded" | "failed" | "timed-out" | "interrupted";

export interface RecoveryRunsOptions {
  store: Pick<Store, "appendEvents">;
  records: RecoveryRecords;
  recovered: (policy: string, outcome: RecoveryOutcome) => void;
  log: Log;
  /** The store failed: the manager cannot go on. */
  failed: (error: unknown) => void;
  /** Milliseconds since 1970. */
  now: () => number;
  /** As {@link ProgramRun} has it. */
  endGraceMs?: number | undefined;
}

/** `json`: of the failure, for its standard input. `before`: the record without this run and its failure. */
export interface RecoveryRun {
  policy: RecoveryPolicy;
  vm: VmRef;
  program: ProgramConfig;
  failure: Event;
  json: Buffer;
  before: RecoveryRecord;
  /** From 1, up to the policy's most. */
  number: number;
}

/** How a run ended, for its event and the log. */
interface Ending {
  outcome: RecoveryOutcome;
  exitCode?: number;
  reason?: string;
  stderr?: string;
}

export class RecoveryRuns {
  readonly #options: RecoveryRunsOptions;
  /** By VM. */
  readonly #running = new Map<string, Promise<void>>();
  readonly #stopping = new AbortController();

  constructor(options: RecoveryRunsOptions) {
    this.#options = options;
  }

  /** Aborted when no run begins any more. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Undefined when a run may begin for this VM, or else why it may not yet. */
  whyNotYet(vmId: string): string | undefined {
    if (this.stopping.aborted) return STOPPING;
    if (this.#running.has(vmId)) return "a command that is to recover this VM runs still";
    if (this.#running.size < MAX_RUNS_AT_ONCE) return undefined;
    return `${MAX_RUNS_AT_ONCE} commands run already`;
  }

  /** What the manager had begun before it ended, as nobody expected. */
  async endInterrupted(): Promise<void> {
    const { records, now } = this.#options;
    for (const { vmId, policy, record } of records.all) {
      const { underWay } = record;
      if (underWay === undefined) continue;
      const durationMs = Math.max(0, now() - underWay.startedAt);
      const ending: Ending = { outcome: "interrupted", reason: "the manager was killed, or crashed" };
      await this.#end(vmId, policy, underWay, ending, durationMs);
    }
  }

  /**
   * Settles when it is on disk that it begins, with its record, which the caller has put. False when the manager stops
   * meanwhile: then it has ended as interrupted and not begun, and its failure is still to be handled.
   */
  async begin(run: RecoveryRun): Promise<boolean> {
    const { records, now, failed } = this.#options;
    const { policy, vm, failure, number } = run;
    const underWay: RunUnderWay = {
      run: number,
      command: policy.command,
      event: failure.id,
      vmName: vm.name,
      startedAt: now(),
    };
    records.change(vm.id, policy.name, { underWay });
    const started = this.#tellStarted(run, underWay).then(() => {
      const hasBegun = !this.stopping.aborted;
      return { hasBegun, ended: hasBegun ? this.#run(run, underWay) : this.#takeBack(run, underWay) };
    });
    const running = started
      .then(({ ended }) => ended)
      .catch(failed)
      .finally(() => this.#running.delete(vm.id));
    this.#running.set(vm.id, running);
    return (await started).hasBegun;
  }

  /** Begins nothing more, and ends what runs; settles when that has ended. */
  async close(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#running.values());
  }

  async #tellStarted({ policy, vm, failure }: RecoveryRun, { run, command, startedAt }: RunUnderWay): Promise<void> {
    const { records, log } = this.#options;
    const about = { policy: policy.name, command, run, atMost: policy.atMost };
    const data = { ...about, event: failure.id, type: failure.type };
    const [event] = await this.#append(vm.id, vmEvent("RECOVERY.STARTED", vm, startedAt, { data }));
    // What had failed by then is what it is run for too.
    if (event !== undefined) records.change(vm.id, policy.name, { coveredUpTo: event.position });
    log.info("recovery-started", { vm: vm.name, id: vm.id, ...data });
  }

  async #run({ policy, vm, program, failure: event, json }: RecoveryRun, underWay: RunUnderWay): Promise<void> {
    const startedAt = performance.now();
    const variables = {
      VMMESSAGE_RECOVERY_POLICY: policy.name,
      VMMESSAGE_RECOVERY_RUN: String(underWay.run),
      VMMESSAGE_VM: vm.name,
      VMMESSAGE_VM_ID: vm.id,
    };
    const { endGraceMs } = this.#options;
    const end = await runProgram({ program, variables, event, json, endGraceMs }, this.stopping);
    const durationMs = Math.round(performance.now() - startedAt);
    await this.#end(vm.id, policy.name, underWay, endingOf(end, program.timeout), durationMs);
  }

  /** As if it had not been decided, but for what was told. */
  async #takeBack({ policy, vm, before }: RecoveryRun, underWay: RunUnderWay): Promise<void> {
    this.#options.records.change(vm.id, policy.name, before);
    const reason = `${STOPPING}; it had not begun, and does when the manager is back`;
    await this.#end(vm.id, policy.name, underWay, { outcome: "interrupted", reason }, 0);
  }

  async #end(
    vmId: string,
    policy: string,
    { run, command, event, vmName }: RunUnderWay,
    ending: Ending,
    durationMs: number,
  ): Promise<void> {
    const { records, recovered, log, now } = this.#options;
    records.change(vmId, policy, { underWay: undefined });
    const data = { policy, command, run, event, ...ending, durationMs };
    await this.#append(vmId, vmEvent("RECOVERY.ENDED", { id: vmId, name: vmName }, now(), { data }));
    recovered(policy, ending.outcome);
    log.info("recovery-ended", { vm: vmName, id: vmId, ...data });
  }

  #append(vmId: string, event: NewEvent): Promise<Event[]> {
    const { store, records } = this.#options;
    return store.appendEvents([event], [], records.stored(vmId));
  }
}

function endingOf(end: ProgramEnd, timeoutMs: number): Ending {
  switch (end.type) {
    case "not-started":
      return { outcome: "failed", reason: `it cannot be started: ${end.reason}` };
    case "exited":
      return { outcome: end.code === 0 ? "succeeded" : "failed", exitCode: end.code, ...lastLine(end.stderr) };
    case "killed":
      return { outcome: "failed", reason: `it was ended by ${end.by}`, ...lastLine(end.stderr) };
    case "timed-out":
      return { outcome: "timed-out", reason: `it did not end within ${timeoutMs / 1_000} s`, ...lastLine(end.stderr) };
    case "stopped":
      return { outcome: "interrupted", reason: STOPPING, ...lastLine(end.stderr) };
    default:
      return unreachable(end);
  }
}

function lastLine(written: string): { stderr?: string } {
  const line = written.trimEnd().split("\n").at(-1)?.trim() ?? "";
  return line === "" ? {} : { stderr: printable(line).slice(0, MAX_STDERR_LENGTH) };
}
