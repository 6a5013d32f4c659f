/** Policies over a real store and a real dispatcher; what the monitor would tell, the test does. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ProgramConfig, RecoveryPolicy } from "../../../../manager/config.ts";
import { EventLog } from "../../../../manager/events/event-log.ts";
import { type Event, vmEvent } from "../../../../manager/events/event.ts";
import { Dispatcher } from "../../../../manager/events/outbox/dispatcher.ts";
import { Recoveries } from "../../../../manager/monitor/recovery/recoveries.ts";
import { openStore } from "../../../../manager/store/open-store.ts";
import type { Store } from "../../../../manager/store/store.ts";
import type { VmRef } from "../../../../shared/api/schemas.ts";
import type { EventType } from "../../../../shared/event-types.ts";

export const web1 = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };
export const web2 = { id: "22222222-2222-4222-8222-222222222222", name: "web2" };

export const resetHung: RecoveryPolicy = {
  name: "reset-hung",
  vms: ["*"],
  on: ["VM.HUNG"],
  command: "reset",
  atMost: 3,
  within: 3_600_000,
  atMostTogether: 10,
};

interface SceneOptions {
  /** The command's script, whose `$1` is the scene's directory. Without it, it writes down that it was run. */
  script?: string;
  timeout?: number;
  program?: ProgramConfig;
  /** That are there. */
  vms?: readonly VmRef[];
  policies?: readonly RecoveryPolicy[];
}

export class RecoveryScene {
  readonly store: Store;
  readonly dispatcher: Dispatcher;
  readonly recoveries: Recoveries;
  /** With the policy's name. */
  readonly outcomes: readonly string[];
  /** Names in the log. */
  readonly logged: readonly string[];
  readonly #directory: string;
  readonly #clock: { aheadMs: number };

  static async open(directory: string, options: SceneOptions = {}): Promise<RecoveryScene> {
    const { script = RUN_IS_NOTED, timeout = 30_000, vms = [web1, web2], policies = [resetHung] } = options;
    const { program = { run: ["/bin/sh", "-c", script, "sh", directory], timeout } } = options;
    const logged: string[] = [];
    const keep = (event: string): void => void logged.push(event);
    const log = { info: keep, warn: keep, error: keep };
    const failed = (error: unknown): void => {
      throw error;
    };
    const follower: { log?: EventLog } = {};
    const store = await openStore({
      directory: join(directory, "state"),
      log,
      onFailure: failed,
      onAppended: (events) => follower.log?.appended(events),
    });
    const eventLog = new EventLog(store, await store.eventLog());
    follower.log = eventLog;
    const dispatcher = new Dispatcher({ store, log: eventLog, logger: log, attempted: () => undefined, failed });
    const clock = { aheadMs: 0 };
    const outcomes: string[] = [];
    const recoveries = await Recoveries.open({
      store,
      dispatcher,
      host: "hv1",
      program: (name) => (name === "reset" ? program : undefined),
      vmOf: (id) => vms.find((vm) => vm.id === id),
      stands: () => true,
      recovered: (policy, outcome) => void outcomes.push(`${policy} ${outcome}`),
      log,
      failed,
      now: () => Date.now() + clock.aheadMs,
      endGraceMs: 500,
    });
    await recoveries.apply(policies);
    return new RecoveryScene(directory, clock, { store, dispatcher, recoveries, outcomes, logged });
  }

  private constructor(
    directory: string,
    clock: { aheadMs: number },
    parts: Pick<RecoveryScene, "store" | "dispatcher" | "recoveries" | "outcomes" | "logged">,
  ) {
    this.#directory = directory;
    this.#clock = clock;
    this.store = parts.store;
    this.dispatcher = parts.dispatcher;
    this.recoveries = parts.recoveries;
    this.outcomes = parts.outcomes;
    this.logged = parts.logged;
  }

  /** The clock, and not the time that is waited. */
  passes(ms: number): void {
    this.#clock.aheadMs += ms;
  }

  async happens(type: EventType, vm: VmRef = web1, data: Record<string, unknown> = {}): Promise<Event> {
    const time = Date.now() + this.#clock.aheadMs;
    const [event] = await this.store.appendEvents([vmEvent(type, vm, time, { data })]);
    if (event === undefined) throw new Error("nothing was appended");
    return event;
  }

  async told(type: EventType): Promise<Event[]> {
    return (await this.store.eventsAfter(0, 10_000)).filter((event) => event.type === type);
  }

  /** The lines of a file that the command wrote, each with its end. */
  async lines(file: string): Promise<string[]> {
    const text = await readFile(join(this.#directory, file), "utf8").catch(() => "");
    return text.split("\n").slice(0, -1);
  }

  async close(): Promise<void> {
    await this.recoveries.close();
    await this.dispatcher.close();
    await this.store.close();
  }
}

const RUN_IS_NOTED = 'echo "$VMMESSAGE_VM $VMMESSAGE_RECOVERY_RUN" >> "$1/runs"';
