import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RecoveryPolicy } from "../../../../../manager/config.ts";
import { type Event, vmEvent } from "../../../../../manager/events/event.ts";
import { RecoveryRecords } from "../../../../../manager/monitor/recovery/records.ts";
import { RecoverySink } from "../../../../../manager/monitor/recovery/recovery-sink.ts";
import type { RecoveryRun } from "../../../../../manager/monitor/recovery/runs.ts";
import { sinksHealth } from "../../../../../manager/service/sink-service.ts";
import type { Outcome } from "../../../../../manager/sinks/sink.ts";
import type { StoredMonitor } from "../../../../../manager/store/store.ts";
import type { VmRef } from "../../../../../shared/api/schemas.ts";
import type { Log } from "../../../../../shared/log.ts";
import type { EventType } from "../../../../../shared/event-types.ts";
import { EventsInMemory } from "../../events/event-makers.ts";

const HOUR = 3_600_000;
const web1 = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };
const web2 = { id: "22222222-2222-4222-8222-222222222222", name: "web2" };
const never = new AbortController().signal;

const policyDefaults: RecoveryPolicy = {
  name: "reset-hung",
  vms: ["*"],
  on: ["VM.HUNG"],
  command: "reset",
  atMost: 3,
  within: HOUR,
  atMostTogether: 10,
};

/** A policy over a log and a store in memory; what it would run is written down, and takes effect when the test says so. */
class Scene {
  readonly clock = { now: 1_000 * HOUR };
  readonly store = new EventsInMemory();
  /** Of the log. */
  readonly lines: object[] = [];
  readonly runs: RecoveryRun[] = [];
  readonly failures: unknown[] = [];
  vms: VmRef[] = [web1, web2];
  readonly policy: RecoveryPolicy;
  stands = true;
  program: { run: [string]; timeout: number } | undefined = { run: ["/bin/true"], timeout: 1_000 };
  busy: string | undefined;
  records = new RecoveryRecords();
  sink: RecoverySink;
  /** As it is on disk. */
  readonly stored = new Map<string, string>();
  readonly #log: Log;

  constructor(policy: Partial<RecoveryPolicy> = {}) {
    this.policy = { ...policyDefaults, ...policy };
    const keep = (event: string, fields = {}): void => void this.lines.push({ event, ...fields });
    this.#log = { info: keep, warn: keep, error: keep };
    this.sink = this.#newSink();
  }

  /** What was not on disk is gone. */
  async restart(): Promise<void> {
    const loadMonitors = (): Promise<StoredMonitor[]> => {
      const all = [...this.stored].map(([vmId, state]): StoredMonitor => {
        return { vmId, part: "recovery", state: JSON.parse(state) as unknown };
      });
      return Promise.resolve(all);
    };
    this.records = await RecoveryRecords.load({ loadMonitors }, this.#log);
    this.sink = this.#newSink();
  }

  append(type: EventType, vm: VmRef = web1, more: { time?: number; data?: Record<string, unknown> } = {}): Event {
    const [event] = this.store.append(vmEvent(type, vm, more.time ?? this.clock.now, { data: more.data ?? {} }));
    if (event === undefined) throw new Error("nothing was appended");
    return event;
  }

  async give(event: Event): Promise<Outcome | undefined> {
    return (await this.sink.deliver([event], never))[0]?.outcome;
  }

  happens(type: EventType, vm: VmRef = web1): Promise<Outcome | undefined> {
    return this.give(this.append(type, vm));
  }

  told(type: EventType): Event["data"][] {
    return this.store.events.filter((event) => event.type === type).map(({ data }) => data);
  }

  #newSink(): RecoverySink {
    return new RecoverySink({
      policy: this.policy,
      store: {
        appendEvents: (events, _lifecycles, monitors = []) => {
          for (const { vmId, state } of monitors) this.stored.set(vmId, JSON.stringify(state));
          return this.store.appendEvents(events);
        },
      },
      records: this.records,
      runs: {
        stopping: never,
        whyNotYet: () => this.busy,
        begin: (run) => {
          this.runs.push(run);
          // As the real ones do, in one commit with RECOVERY.STARTED.
          for (const { vmId, state } of this.records.stored(run.vm.id)) this.stored.set(vmId, JSON.stringify(state));
          const started = this.append("RECOVERY.STARTED", run.vm);
          this.records.change(run.vm.id, this.policy.name, { coveredUpTo: started.position });
          return Promise.resolve(true);
        },
      },
      host: "hv1",
      program: (name) => (name === "reset" ? this.program : undefined),
      vmOf: (id) => this.vms.find((vm) => vm.id === id),
      stands: () => this.stands,
      log: this.#log,
      failed: (error) => {
        this.failures.push(error);
      },
      now: () => this.clock.now,
    });
  }
}

describe("a recovery policy", () => {
  test("runs its command for a failure, once, also when the failure is delivered again", async () => {
    const scene = new Scene();
    const failure = scene.append("VM.HUNG");
    expect(await scene.give(failure)).toEqual({ type: "delivered" });
    expect(await scene.give(failure)).toEqual({ type: "delivered" });
    await scene.restart();
    expect(await scene.give(failure)).toEqual({ type: "delivered" });
    expect(scene.runs).toEqual([
      expect.objectContaining({ policy: scene.policy, vm: web1, failure, number: 1, program: scene.program }),
    ]);
  });

  test("runs nothing for what is not of its types, or what recovers", async () => {
    const scene = new Scene();
    for (const type of ["VM.CRASHED", "VM.AGENT-MISSING", "VM.RECOVERED", "VM.RUNNING", "VM.STOPPED"] as const) {
      expect(await scene.happens(type)).toEqual({ type: "delivered" });
    }
    expect(scene.runs).toEqual([]);
    expect(scene.stored.size).toBe(0);
  });

  test.each([
    ["is older than ten minutes", "it happened 601 s ago", (scene: Scene) => (scene.clock.now += 601_000)],
    ["stands no more", "it stands no more", (scene: Scene) => (scene.stands = false)],
    ["is of a VM that is no more", "there is no such VM any more", (scene: Scene) => (scene.vms = [])],
  ])("runs nothing for a failure that %s", async (_, reason, change) => {
    const scene = new Scene();
    const failure = scene.append("VM.HUNG");
    change(scene);
    expect(await scene.give(failure)).toEqual({ type: "obsolete", reason });
    expect(scene.runs).toEqual([]);
  });

  test("runs for a failure whose time lies ahead, since the clock was set back", async () => {
    const scene = new Scene();
    expect(await scene.give(scene.append("VM.HUNG", web1, { time: scene.clock.now + HOUR }))).toEqual({
      type: "delivered",
    });
    expect(scene.runs).toHaveLength(1);
  });

  test("runs once for failures of one VM that were all there when it was run", async () => {
    const scene = new Scene({ on: ["VM.HUNG", "VM.APPLICATION-FAILED"] });
    const failures = [
      scene.append("VM.APPLICATION-FAILED", web1, { data: { application: "web" } }),
      scene.append("VM.HUNG"),
    ];
    const outcomes = (await scene.sink.deliver(failures, never)).map(({ outcome }) => outcome);
    expect(outcomes).toEqual([
      { type: "delivered" },
      { type: "obsolete", reason: "it was there when the command was run last" },
    ]);
    expect(scene.runs).toHaveLength(1);
  });

  test("has a failure wait while a command of its VM runs, and handles it then", async () => {
    const scene = new Scene();
    const failure = scene.append("VM.HUNG");
    scene.busy = "a command that is to recover this VM runs still";
    expect(await scene.give(failure)).toEqual({ type: "postponed", reason: scene.busy, forMs: 1_000 });
    scene.busy = undefined;
    expect(await scene.give(failure)).toEqual({ type: "delivered" });
    expect(scene.runs).toHaveLength(1);
  });

  test("suspends recovery after its most runs, with one event, also over a restart of the manager", async () => {
    const scene = new Scene();
    for (let time = 0; time < 6; time += 1) {
      await scene.happens("VM.HUNG");
      scene.clock.now += 60_000;
      await scene.happens("VM.RECOVERED");
      await scene.restart();
    }
    expect(scene.runs.map(({ number }) => number)).toEqual([1, 2, 3]);
    expect(scene.told("RECOVERY.SUSPENDED")).toEqual([
      expect.objectContaining({ policy: "reset-hung", of: "vm", runs: 3, withinMs: HOUR, type: "VM.HUNG" }),
    ]);
    scene.clock.now += HOUR;
    await scene.restart();
    await scene.happens("VM.HUNG");
    expect(scene.runs.map(({ number }) => number)).toEqual([1, 2, 3, 1]);
  });

  test("runs for no more VMs together than it may, and tells of each that was passed over once", async () => {
    const scene = new Scene({ atMostTogether: 1 });
    await scene.happens("VM.HUNG", web1);
    for (let time = 0; time < 3; time += 1) {
      await scene.happens("VM.HUNG", web2);
      await scene.happens("VM.RECOVERED", web2);
    }
    expect(scene.runs.map(({ vm }) => vm)).toEqual([web1]);
    expect(scene.told("RECOVERY.SUSPENDED")).toEqual([expect.objectContaining({ of: "all", runs: 1 })]);
    scene.clock.now += HOUR;
    await scene.happens("VM.HUNG", web2);
    expect(scene.runs.map(({ vm }) => vm)).toEqual([web1, web2]);
  });

  test("runs again after the policy's time, though the clock was set back by days since the last runs", async () => {
    const scene = new Scene({ atMostTogether: 1 });
    await scene.happens("VM.HUNG", web1);
    scene.clock.now -= 48 * HOUR;
    await scene.happens("VM.HUNG", web2);
    expect(scene.runs).toHaveLength(1);
    await scene.happens("VM.RECOVERED", web2);
    scene.clock.now += HOUR;
    await scene.happens("VM.HUNG", web2);
    expect(scene.runs).toHaveLength(2);
  });

  test("refuses a failure when the configuration has its command no more, and counts no run", async () => {
    const scene = new Scene();
    scene.program = undefined;
    const reason = "events.commands in the manager's configuration has no 'reset' any more";
    expect(await scene.happens("VM.HUNG")).toEqual({ type: "rejected", reason });
    expect(scene.records.get(web1.id, "reset-hung")?.breaker.runs).toEqual([]);
  });

  test("runs for a failure that it refused, when that is delivered again with the command there, once", async () => {
    const scene = new Scene({ on: ["VM.HUNG", "VM.APPLICATION-FAILED"] });
    const { program } = scene;
    scene.program = undefined;
    const failure = scene.append("VM.HUNG");
    expect(await scene.give(failure)).toMatchObject({ type: "rejected" });
    await scene.happens("VM.APPLICATION-RECOVERED");
    await scene.restart();
    expect(await scene.give(failure)).toMatchObject({ type: "rejected" });
    scene.program = program;
    expect(await scene.give(failure)).toEqual({ type: "delivered" });
    expect(await scene.give(failure)).toEqual({ type: "delivered" });
    expect(scene.runs).toEqual([expect.objectContaining({ failure, number: 1 })]);
  });

  test("runs nothing for a failure that it refused and that has recovered since, and takes it for no new one", async () => {
    const scene = new Scene();
    const { program } = scene;
    scene.program = undefined;
    const failure = scene.append("VM.HUNG");
    await scene.give(failure);
    await scene.happens("VM.RECOVERED");
    scene.program = program;
    scene.stands = false;
    expect(await scene.give(failure)).toEqual({ type: "obsolete", reason: "it stands no more" });
    expect(scene.runs).toEqual([]);
    expect(scene.records.get(web1.id, "reset-hung")).toMatchObject({ refused: [], breaker: { failing: [] } });
  });

  test("remembers a few refused failures of a VM, not all", async () => {
    const scene = new Scene();
    scene.program = undefined;
    for (let time = 0; time < 40; time += 1) await scene.happens("VM.HUNG");
    expect(scene.records.get(web1.id, "reset-hung")?.refused).toHaveLength(16);
  });

  test("does not let a failure grow old that waits for others' commands, as long as the manager runs", async () => {
    const scene = new Scene();
    const [failure, other] = [scene.append("VM.HUNG", web1), scene.append("VM.HUNG", web2)];
    scene.busy = "8 commands run already";
    for (let minute = 0; minute < 30; minute += 1) {
      expect(await scene.give(failure)).toMatchObject({ type: "postponed" });
      scene.clock.now += 60_000;
    }
    scene.busy = undefined;
    expect(await scene.give(failure)).toEqual({ type: "delivered" });
    expect(scene.runs.map(({ vm }) => vm)).toEqual([web1]);
    expect(await scene.give(other)).toEqual({ type: "obsolete", reason: "it happened 1800 s ago" });
  });

  test("takes a failure that waited for old news when the manager was away meanwhile, or when it stands no more", async () => {
    const scene = new Scene();
    scene.busy = "8 commands run already";
    const [failure, other] = [scene.append("VM.HUNG", web1), scene.append("VM.HUNG", web2)];
    await scene.give(failure);
    await scene.give(other);
    scene.clock.now += 1_800_000;
    scene.stands = false;
    expect(await scene.give(other)).toEqual({ type: "obsolete", reason: "it stands no more" });
    scene.stands = true;
    await scene.restart();
    expect(await scene.give(failure)).toEqual({ type: "obsolete", reason: "it happened 1800 s ago" });
  });

  test("is tried without running anything", async () => {
    const scene = new Scene();
    expect(await scene.happens("SINK.TEST")).toEqual({ type: "delivered" });
    scene.program = { run: ["/nonexistent/reset"], timeout: 1_000 };
    expect(await scene.happens("SINK.TEST")).toMatchObject({
      type: "failed",
      reason: expect.stringMatching(/^cannot run \/nonexistent\/reset: ENOENT/) as string,
    });
    scene.program = undefined;
    expect(await scene.happens("SINK.TEST")).toMatchObject({ type: "failed" });
    expect(scene.runs).toEqual([]);
  });

  test("says that the manager cannot go on when what it knows cannot be kept", async () => {
    const scene = new Scene();
    const failure = scene.append("VM.HUNG");
    scene.stands = false;
    scene.store.appendEvents = () => Promise.reject(new Error("disk full"));
    expect(await scene.give(failure)).toEqual({ type: "unavailable", reason: "the store failed" });
    expect(scene.failures).toHaveLength(1);
  });

  test("begins anew for a VM whose record nobody can read, and says so", async () => {
    const scene = new Scene();
    scene.stored.set(web1.id, '{"reset-hung":{"breaker":7}}');
    await scene.restart();
    expect(scene.lines).toEqual([{ event: "recovery-unreadable", id: web1.id }]);
    await scene.happens("VM.HUNG");
    expect(scene.runs).toHaveLength(1);
  });
});

test("a policy is one of the configured sinks in the manager's health, and no user's", () => {
  const sink = { id: "recovery:reset-hung", type: "recovery", target: "command:reset", state: "idle" } as const;
  const health = sinksHealth([{ ...sink, backlog: 1, retrying: 0, deadLetters: 0, failures: 0 }]);
  expect(health).toEqual({
    configured: [{ id: "recovery:reset-hung", state: "idle", backlog: 1, deadLetters: 0 }],
    subscribed: { connected: 0, disconnected: 0, idle: 0, disabled: 0 },
  });
});

describe("whatever fails and recovers, however often the manager is restarted and the clock is set back,", () => {
  const vm = fc.constantFrom(web1, web2);
  const types = [
    "VM.HUNG",
    "VM.RECOVERED",
    "VM.CRASHED",
    "VM.RUNNING",
    "VM.STOPPED",
    "VM.APPLICATION-FAILED",
    "VM.APPLICATION-RECOVERED",
  ] as const;
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ type: fc.constantFrom(...types), vm }) },
    { weight: 10, arbitrary: fc.record({ type: fc.constantFrom("VM.HUNG", "VM.RECOVERED"), vm }) },
    {
      weight: 5,
      arbitrary: fc.record({ waitMs: fc.constantFrom(1, 5, 20, 50, 59, 60, 61).map((min) => min * 60_000) }),
    },
    { weight: 1, arbitrary: fc.record({ backMs: fc.integer({ min: 1, max: 5 * HOUR }) }) },
    { weight: 1, arbitrary: fc.constant("restart" as const) },
  );

  test("no VM has more runs in any such time than the policy has it, nor all together, and none while suspended", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
        const policy = { on: ["VM.HUNG", "VM.CRASHED", "VM.APPLICATION-FAILED"] as RecoveryPolicy["on"], atMost: 2 };
        const scene = new Scene({ ...policy, atMostTogether: 3 });
        // Time as it goes by, whatever the clock shows.
        let elapsed = 0;
        const runs: { at: number; vm: VmRef }[] = [];
        for (const one of steps) {
          if (one === "restart") await scene.restart();
          else if ("backMs" in one) scene.clock.now -= one.backMs;
          else if ("waitMs" in one) {
            scene.clock.now += one.waitMs;
            elapsed += one.waitMs;
          } else {
            const before = scene.records.get(one.vm.id, "reset-hung")?.breaker;
            const count = scene.runs.length;
            await scene.happens(one.type, one.vm);
            if (scene.runs.length === count) continue;
            runs.push({ at: elapsed, vm: one.vm });
            const { isSuspended = false, healthySince = Infinity } = before ?? {};
            expect(isSuspended && scene.clock.now - healthySince < HOUR).toBe(false);
          }
        }
        for (const { at } of runs) {
          const within = runs.filter((run) => run.at > at - HOUR && run.at <= at);
          expect(within.length).toBeLessThanOrEqual(3);
          for (const { id } of [web1, web2]) {
            expect(within.filter((run) => run.vm.id === id).length).toBeLessThanOrEqual(2);
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
