import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { NewEvent } from "../../../../manager/events/event.ts";
import { type FoundChange, type LifecycleState, VmLifecycle } from "../../../../manager/events/lifecycle.ts";
import {
  libvirtMeanings,
  type Meaning,
  observedByLibvirt,
  observedByQmp,
  qmpMeanings,
} from "../../../../manager/events/lifecycle-table.ts";
import { eventTypes } from "../../../../shared/event-types.ts";
import { FILE, found, LIBVIRT, qemuSays, QMP, removed, startedAt, told, virshSays, vm } from "./lifecycle-story.ts";

/** One VM's lifecycle, and a clock that the test moves. */
class Story {
  readonly events: NewEvent[] = [];
  readonly lifecycle: VmLifecycle;
  now = startedAt;

  constructor(stored?: LifecycleState) {
    this.lifecycle = new VmLifecycle(vm, stored);
  }

  /** A VM of libvirt that is in this state, with nothing told yet. */
  static with(status: LifecycleState["status"]): Story {
    const life = status === "Running" || status === "Suspended" || status === "Paused" ? "running" : "over";
    return new Story({ name: vm.name, isDefined: true, status, life, pause: undefined });
  }

  libvirt(...texts: string[]): this {
    for (const text of texts) {
      const observation = observedByLibvirt(LIBVIRT, virshSays(text, this.now));
      if (observation) this.events.push(...this.lifecycle.announced(observation, this.now));
    }
    return this;
  }

  qemu(name: string, data: Record<string, unknown> = {}): this {
    const observation = observedByQmp(QMP, qemuSays(name, data, this.now));
    if (observation) this.events.push(...this.lifecycle.announced(observation, this.now));
    return this;
  }

  read(change: FoundChange): this {
    this.events.push(...this.lifecycle.found(change, [], this.now));
    return this;
  }

  removed(...args: Parameters<typeof removed>): this {
    this.events.push(...this.lifecycle.removed(removed(...args), this.now));
    return this;
  }

  later(ms: number): this {
    this.now += ms;
    const { dueAt } = this.lifecycle;
    if (dueAt !== undefined && dueAt <= this.now) this.events.push(...this.lifecycle.due(this.now));
    return this;
  }

  /** What was told since this was asked last. */
  get told(): string[] {
    return told(this.events.splice(0));
  }
}

describe("a domain of libvirt", () => {
  it("is started: its CPUs run before it has booted, and it is one start", () => {
    const story = Story.with("Stopped").libvirt("Resumed Unpaused", "Started Booted");
    expect(story.events[0]?.data).toEqual({
      observedBy: LIBVIRT,
      detail: "Resumed Unpaused",
      stages: ["CREATE", "RUNNING"],
    });
    expect(story.told).toEqual(["VM.RUNNING Stopped>Running CREATE,RUNNING", "VM.START"]);
  });

  it("is started paused, and its CPUs first run when it is let go on", () => {
    const story = Story.with("Crashed").libvirt("Started Booted", "Suspended Paused").later(5_000);
    expect(story.told).toEqual(["VM.START", "VM.PAUSED Crashed>Paused CREATE"]);
    expect(story.libvirt("Resumed Unpaused").told).toEqual(["VM.RUNNING Paused>Running RUNNING"]);
  });

  it("is paused and let go on by somebody", () => {
    const story = Story.with("Running").libvirt("Suspended Paused");
    expect(story.told).toEqual(["VM.PAUSED Running>Paused"]);
    expect(story.later(19_999).told).toEqual([]);
    expect(story.read(found("Paused", { was: "Running", isPausedByUser: true })).told).toEqual(["VM.PAUSE"]);
    expect(story.libvirt("Resumed Unpaused").told).toEqual(["VM.RESUME", "VM.RUNNING Paused>Running"]);
    story.libvirt("Suspended Paused", "Resumed Unpaused");
    expect(story.told).toEqual(["VM.PAUSED Running>Paused", "VM.PAUSE", "VM.RESUME", "VM.RUNNING Paused>Running"]);
  });

  it("is paused by somebody also when nothing can be read", () => {
    expect(Story.with("Running").libvirt("Suspended Paused").later(20_000).told.at(-1)).toBe("VM.PAUSE");
  });

  it("is saved for as long as it takes, which is no pause", () => {
    const story = Story.with("Running").libvirt("Suspended Paused");
    story.later(100).read(found("Paused", { was: "Running", isPausedByUser: false }));
    expect(story.later(600_000).libvirt("Stopped Saved").told).toEqual([
      ...["VM.PAUSED Running>Paused", "VM.SAVE", "VM.STOPPED Paused>Stopped DONE"],
    ]);
  });

  it("is saved and restored, without having been paused or let go on by anybody", () => {
    const story = Story.with("Running").libvirt("Suspended Paused", "Stopped Saved").later(5_000);
    expect(story.told).toEqual(["VM.PAUSED Running>Paused", "VM.SAVE", "VM.STOPPED Paused>Stopped DONE"]);
    story.libvirt("Started Restored", "Resumed Unpaused").later(5_000);
    expect(story.told).toEqual(["VM.RESTORE", "VM.PAUSED Stopped>Paused CREATE", "VM.RUNNING Paused>Running RUNNING"]);
  });

  it("is destroyed: one stop, however it is announced", () => {
    const story = Story.with("Running").libvirt("Shutdown Finished after host request", "Stopped Destroyed");
    expect(story.told).toEqual(["VM.STOP", "VM.STOPPED Running>Stopped DONE"]);
    story.libvirt("Resumed Unpaused", "Started Booted", "Stopped Destroyed");
    expect(story.told.slice(2)).toEqual(["VM.STOP", "VM.STOPPED Running>Stopped DONE"]);
  });

  it("shuts down by itself", () => {
    const story = Story.with("Running").libvirt("Shutdown Finished after guest request", "Stopped Shutdown");
    expect(story.told).toEqual(["VM.STOPPED Running>Stopped DONE"]);
  });

  it("has crashed when its QEMU died, or its kernel panicked", () => {
    expect(Story.with("Running").libvirt("Stopped Failed").told).toEqual(["VM.CRASHED Running>Crashed DONE"]);
    const story = Story.with("Running").libvirt("Crashed Panicked", "Stopped Crashed");
    expect(story.told).toEqual(["VM.PANIC", "VM.CRASHED Running>Crashed DONE"]);
  });

  it("sleeps and wakes", () => {
    const story = Story.with("Running").libvirt("PMSuspended Memory", "Started Event wakeup");
    expect(story.told).toEqual(["VM.SUSPENDED Running>Suspended", "VM.RUNNING Suspended>Running"]);
  });

  it("moves away: one move, and its life goes on elsewhere", () => {
    const story = Story.with("Running").libvirt("Suspended Migrated", "Stopped Migrated").later(5_000);
    expect(story.told).toEqual(["VM.MIGRATE", "VM.PAUSED Running>Paused", "VM.STOPPED Paused>Stopped"]);
    story.libvirt("Resumed Unpaused");
    expect(story.told).toEqual(["VM.RUNNING Stopped>Running CREATE,RUNNING"]);
  });

  it("comes from another host, where its life began", () => {
    const story = Story.with("Stopped").libvirt("Started Migrated", "Resumed Migrated", "Suspended Migrated");
    expect(story.told).toEqual([
      ...["VM.MIGRATE", "VM.PAUSED Stopped>Paused", "VM.RUNNING Paused>Running"],
      ...["VM.MIGRATE", "VM.PAUSED Running>Paused"],
    ]);
    expect(story.libvirt("Resumed Migrated", "Stopped Shutdown").told.at(-1)).toBe("VM.STOPPED Running>Stopped DONE");
  });

  it("is reset: one event a second, whoever asked", () => {
    const story = Story.with("Running").libvirt("reboot", "reboot", "reboot");
    expect(story.told).toEqual(["VM.RESET Running>Running"]);
    story.later(1_000).libvirt("reboot");
    expect(story.events[0]?.data).toEqual({ observedBy: LIBVIRT, detail: "reboot", suppressed: 2 });
  });

  it("stands still when its disk fails or its watchdog fired", () => {
    const story = Story.with("Running").libvirt("io-error", "io-error-reason", "Suspended I/O Error");
    expect(story.told).toEqual(["VM.IO-ERROR", "VM.PAUSED Running>Paused"]);
    expect(story.later(5_000).libvirt("Resumed Unpaused", "watchdog", "Suspended Watchdog").told).toEqual([
      ...["VM.RESUME", "VM.RUNNING Paused>Running", "VM.WATCHDOG", "VM.PAUSED Running>Paused"],
    ]);
  });

  it("is not concerned by other events, and keeps to the word when its detail is new", () => {
    const story = Story.with("Running").libvirt("balloon-change", "Defined Updated", "Suspended By the moon");
    expect(story.told).toEqual(["VM.PAUSED Running>Paused"]);
    expect(story.later(5_000).told).toEqual([]);
  });
});

describe("a QEMU with QMP", () => {
  it("is stopped by somebody once, however often it was asked", () => {
    const story = Story.with("Running").qemu("POWERDOWN").later(30_000).qemu("POWERDOWN");
    story.qemu("SHUTDOWN", { guest: false, reason: "host-qmp-quit" });
    expect(story.events.at(-1)?.data).toMatchObject({ observedBy: QMP, detail: "SHUTDOWN host-qmp-quit" });
    expect(story.told).toEqual(["VM.STOP", "VM.STOPPED Running>Stopped DONE"]);
  });

  it("is asked to stop again a minute later", () => {
    expect(Story.with("Running").qemu("POWERDOWN").later(60_000).qemu("POWERDOWN").told).toEqual([
      "VM.STOP",
      "VM.STOP",
    ]);
  });

  it.each([
    ["its guest ends", { guest: true, reason: "guest-shutdown" }, ["VM.STOPPED Running>Stopped DONE"]],
    ["a signal ends it", { guest: false, reason: "host-signal" }, ["VM.STOP", "VM.STOPPED Running>Stopped DONE"]],
    ["it fails", { guest: false, reason: "host-error" }, ["VM.CRASHED Running>Crashed DONE"]],
    ["it says no more than that", {}, ["VM.STOPPED Running>Stopped DONE"]],
  ])("ends when %s", (_, data, expected) => {
    expect(Story.with("Running").qemu("SHUTDOWN", data).told).toEqual(expected);
  });

  it("whose guest panicked has crashed, once, whatever follows", () => {
    const story = Story.with("Running").qemu("GUEST_PANICKED", { action: "poweroff" }).qemu("STOP");
    story.qemu("SHUTDOWN", { guest: true, reason: "guest-panic" });
    story.read(found("Crashed", { inventory: QMP, was: "Running" }));
    expect(story.told).toEqual(["VM.PANIC", "VM.CRASHED Running>Crashed DONE"]);
    expect(story.qemu("RESUME").qemu("GUEST_PANICKED", { action: "pause" }).told).toEqual([
      ...["VM.RUNNING Crashed>Running CREATE,RUNNING", "VM.PANIC", "VM.CRASHED Running>Crashed DONE"],
    ]);
    expect(Story.with("Running").qemu("GUEST_PANICKED", { action: "run" }).told).toEqual(["VM.PANIC"]);
  });

  it("that is killed has crashed as soon as its connection ended", () => {
    const story = Story.with("Running").read(found("Crashed", { inventory: QMP, was: "Running" }));
    expect(story.events[0]?.data).toMatchObject({ observedBy: QMP, detail: "status Crashed" });
    expect(story.told).toEqual(["VM.CRASHED Running>Crashed DONE"]);
  });

  it("is there again: a new life, told at once", () => {
    const story = Story.with("Crashed")
      .read(found("Paused", { inventory: QMP, was: "Crashed" }))
      .qemu("RESUME");
    expect(story.told).toEqual(["VM.PAUSED Crashed>Paused CREATE", "VM.RUNNING Paused>Running RUNNING"]);
  });

  it("is rebooted from outside or by its guest", () => {
    const story = Story.with("Running").qemu("RESET", { guest: false, reason: "host-qmp-system-reset" });
    expect(story.told).toEqual(["VM.REBOOT", "VM.RESET Running>Running"]);
    expect(story.later(1_000).qemu("RESET", { guest: true, reason: "guest-reset" }).told).toEqual([
      "VM.RESET Running>Running",
    ]);
  });

  it("is paused, runs on, sleeps and wakes; who paused it is not said", () => {
    const story = Story.with("Running").qemu("STOP").qemu("RESUME").qemu("SUSPEND").qemu("WAKEUP").later(5_000);
    expect(story.told).toEqual([
      ...["VM.PAUSED Running>Paused", "VM.RUNNING Paused>Running"],
      ...["VM.SUSPENDED Running>Suspended", "VM.RUNNING Suspended>Running"],
    ]);
  });
});

describe("what an inventory reads", () => {
  it("before the last announcement is not believed", () => {
    const story = Story.with("Running").libvirt("Suspended Paused", "Resumed Unpaused");
    story.later(100).read(found("Paused", { was: "Running" }));
    story.later(100).read(found("Running", { was: "Paused" }));
    expect(story.later(10_000).told).toEqual([
      ...["VM.PAUSED Running>Paused", "VM.PAUSE", "VM.RESUME", "VM.RUNNING Paused>Running"],
    ]);
  });

  it("before the last announcement is not believed either when all was read again", () => {
    const story = Story.with("Running").libvirt("PMSuspended Memory").later(100);
    story.read(found("Paused", { was: "Running", isResync: true }));
    story.later(100).read(found("Suspended", { was: "Paused" }));
    expect(story.later(10_000).told).toEqual(["VM.SUSPENDED Running>Suspended"]);
  });

  it("just before the RESUME that follows is not believed", () => {
    const story = Story.with("Stopped")
      .qemu("RESUME")
      .read(found("Paused", { inventory: QMP, was: "Stopped" }));
    story
      .later(10)
      .read(found("Running", { inventory: QMP, was: "Paused" }))
      .later(10_000);
    expect(story.told).toEqual(["VM.RUNNING Stopped>Running CREATE,RUNNING"]);
  });

  it("is believed when it stays so, and was missed then", () => {
    const story = Story.with("Running").read(found("Paused", { was: "Running" }));
    expect(story.later(4_999).told).toEqual([]);
    expect(story.later(1).told).toEqual(["VM.PAUSED Running>Paused resync"]);
  });

  it("is what was missed when all was read again", () => {
    const story = Story.with("Running").read(found("Stopped", { was: "Unknown", isResync: true }));
    expect(story.told).toEqual(["VM.STOPPED Running>Stopped DONE resync"]);
  });

  it("is nothing when it does not know", () => {
    const story = Story.with("Running").read(found("Unknown", { was: "Running", isResync: true }));
    story.later(10_000).read(found("Running", { was: "Unknown", isResync: true }));
    expect(story.later(10_000).told).toEqual([]);
  });

  it("of a VM that has crashed is that it is off, when libvirt has forgotten why", () => {
    const story = Story.with("Crashed").read(found("Stopped", { was: "Unknown", isResync: true }));
    expect(story.told).toEqual([]);
    expect(story.libvirt("Resumed Unpaused").told).toEqual(["VM.RUNNING Crashed>Running CREATE,RUNNING"]);
  });

  it("of a file is all that is known, and no resynchronization", () => {
    const story = Story.with("Stopped").read(found("Running", { inventory: FILE, was: "Stopped" }));
    story.read(found("Stopped", { inventory: FILE, was: "Running" }));
    expect(story.told).toEqual(["VM.RUNNING Stopped>Running CREATE,RUNNING", "VM.STOPPED Running>Stopped DONE"]);
  });
});

describe("a VM that nobody knew", () => {
  it.each([
    ["Stopped", ["VM.DEFINED >Stopped resync"]],
    ["Running", ["VM.DEFINED resync", "VM.RUNNING >Running CREATE,RUNNING resync"]],
    ["Paused", ["VM.DEFINED resync", "VM.PAUSED >Paused CREATE resync"]],
    ["Suspended", ["VM.DEFINED resync", "VM.SUSPENDED >Suspended CREATE,RUNNING resync"]],
    ["Crashed", ["VM.DEFINED resync", "VM.CRASHED >Crashed resync"]],
    ["Unknown", ["VM.DEFINED resync"]],
  ] as const)("is found %s", (status, expected) => {
    expect(new Story().read(found(status, { isResync: true })).told).toEqual(expected);
  });

  it.each([false, true])(
    "is not taken for paused when libvirt is just starting it (all read again: %s)",
    (isResync) => {
      const story = new Story()
        .read(found("Paused", { isResync, isPausedByUser: false }))
        .later(100)
        .libvirt("Resumed Unpaused", "Started Booted");
      story.read(found("Running", { was: "Paused" })).later(10_000);
      const defined = isResync ? "VM.DEFINED resync" : "VM.DEFINED";
      expect(story.told).toEqual([defined, "VM.RUNNING >Running CREATE,RUNNING", "VM.START"]);
      expect(new Story().read(found("Paused")).later(5_000).told).toEqual([
        ...["VM.DEFINED", "VM.PAUSED >Paused CREATE resync"],
      ]);
    },
  );

  it("is there at once when its QEMU is", () => {
    const story = new Story().read(found("Running", { inventory: QMP }));
    expect(story.told).toEqual(["VM.DEFINED", "VM.RUNNING >Running CREATE,RUNNING"]);
  });

  it("is told of with what was announced before its name was known", () => {
    const story = new Story();
    const announced = ["Resumed Unpaused", "Started Booted"].flatMap((text) => {
      return observedByLibvirt(LIBVIRT, virshSays(text)) ?? [];
    });
    story.events.push(...story.lifecycle.found(found("Running"), announced, story.now));
    expect(story.told).toEqual(["VM.DEFINED", "VM.RUNNING >Running CREATE,RUNNING", "VM.START"]);
  });
});

describe("a VM that is gone", () => {
  it("is not defined any more, and defined when it is back", () => {
    const story = Story.with("Stopped").removed("Stopped");
    expect(story.told).toEqual(["VM.UNDEFINED Stopped>"]);
    expect(story.removed("Stopped").told).toEqual([]);
    expect(story.read(found("Stopped")).told).toEqual(["VM.DEFINED >Stopped"]);
  });

  it("from libvirt has ended, though that was missed", () => {
    const story = Story.with("Running").removed("Running", { isResync: true });
    expect(story.told).toEqual(["VM.STOPPED Running>Stopped DONE resync", "VM.UNDEFINED Stopped> resync"]);
  });

  it("and whose inventory was taken away before may run on", () => {
    const story = Story.with("Running").read(found("Running", { was: "Unknown", isResync: true }));
    story.read(found("Unknown", { was: "Running", isResync: true })).removed("Running");
    expect(story.told).toEqual(["VM.UNDEFINED Running>"]);
  });

  it("from a file may run on", () => {
    expect(Story.with("Running").removed("Running", { inventory: FILE }).told).toEqual(["VM.UNDEFINED Running>"]);
  });

  it("from a file and is back goes on with the life it had", () => {
    const story = Story.with("Running").removed("Running", { inventory: FILE });
    story.read(found("Running", { inventory: FILE }));
    expect(story.told).toEqual(["VM.UNDEFINED Running>", "VM.DEFINED", "VM.RUNNING >Running"]);
    expect(story.read(found("Stopped", { inventory: FILE, was: "Running" })).told).toEqual([
      "VM.STOPPED Running>Stopped DONE",
    ]);
  });

  it("from a file and is back without its QEMU has ended meanwhile", () => {
    const story = Story.with("Running").removed("Running", { inventory: FILE });
    story.read(found("Stopped", { inventory: FILE }));
    expect(story.told).toEqual(["VM.UNDEFINED Running>", "VM.DEFINED", "VM.STOPPED >Stopped DONE resync"]);
    expect(story.read(found("Running", { inventory: FILE, was: "Stopped" })).told).toEqual([
      "VM.RUNNING Stopped>Running CREATE,RUNNING",
    ]);
  });

  it("from a file when the manager ended, too, goes on with the life it had", () => {
    const { state } = Story.with("Running").removed("Running", { inventory: FILE }).lifecycle;
    expect(new Story(state).read(found("Running", { inventory: FILE })).told).toEqual([
      "VM.DEFINED",
      "VM.RUNNING >Running",
    ]);
  });

  it("from libvirt for good has ended, also when nobody saw it since a file had lost it", () => {
    const story = Story.with("Running").removed("Running", { inventory: FILE }).read(found("Unknown"));
    expect(story.removed("Unknown", { isResync: true }).told).toEqual([
      ...["VM.UNDEFINED Running>", "VM.DEFINED"],
      ...["VM.STOPPED >Stopped DONE resync", "VM.UNDEFINED Stopped> resync"],
    ]);
  });
});

describe("a life", () => {
  it("has each stage once, also when nobody looked between its end and the next beginning", () => {
    const story = Story.with("Running").libvirt("Stopped Shutdown", "Resumed Unpaused", "Started Booted");
    expect(story.told).toEqual([
      ...["VM.STOPPED Running>Stopped DONE", "VM.RUNNING Stopped>Running CREATE,RUNNING", "VM.START"],
    ]);
    story.libvirt("Suspended Paused", "Resumed Unpaused", "reboot");
    expect(story.told.join()).not.toMatch(/CREATE|RUNNING,|DONE/);
  });

  it("that was going on when the manager ended goes on", () => {
    const first = Story.with("Stopped").libvirt("Started Booted");
    const second = new Story(first.lifecycle.state);
    second.read(found("Paused", { was: "Unknown", isResync: true })).libvirt("Resumed Unpaused");
    expect(second.told).toEqual(["VM.RUNNING Paused>Running RUNNING"]);
  });

  it("keeps for the next manager that somebody paused it", () => {
    const first = Story.with("Running").libvirt("Suspended Paused");
    expect(first.told).toEqual(["VM.PAUSED Running>Paused"]);
    expect(new Story(first.lifecycle.state).later(20_000).told).toEqual(["VM.PAUSE"]);
  });
});

describe("noise", () => {
  it("of alerts is told every ten seconds, for each type, with how many there were", () => {
    const story = Story.with("Running");
    for (let times = 0; times < 5_000; times += 1) story.qemu("BLOCK_IO_ERROR", { action: "report" }).qemu("WATCHDOG");
    expect(story.told).toEqual(["VM.IO-ERROR", "VM.WATCHDOG"]);
    story.later(10_000).qemu("BLOCK_IO_ERROR", { action: "report" });
    expect(story.events[0]?.data).toMatchObject({ detail: "BLOCK_IO_ERROR report", suppressed: 4_999 });
  });

  it("of transitions is told in part, and then as what lasts", () => {
    const story = Story.with("Running");
    for (let times = 0; times < 5_000; times += 1) story.qemu("STOP").qemu("RESUME");
    story.qemu("STOP");
    expect(story.told).toHaveLength(100);
    expect(story.later(5_000).told).toEqual(["VM.PAUSED Running>Paused resync"]);
    expect(story.later(60_000).qemu("RESUME").told).toEqual(["VM.RUNNING Paused>Running"]);
  });

  it("does not make data large, or dates that are none", () => {
    const story = Story.with("Running");
    const observation = observedByQmp(QMP, qemuSays("STOP", { reason: "x".repeat(9_999) }, 1e300));
    expect(observation?.detail).toHaveLength(100);
    if (observation) story.events.push(...story.lifecycle.announced(observation, story.now));
    expect(story.events).toMatchObject([{ type: "VM.PAUSED", time: startedAt }]);
  });
});

it("whatever comes in whatever order, each state follows the one before, and each stage comes once in a life", () => {
  const statuses = ["Running", "Paused", "Suspended", "Stopped", "Crashed", "Unknown"] as const;
  const meanings = Object.entries<Meaning>(libvirtMeanings);
  // A life that comes from another host or goes to one has its stages there too.
  const atHome = meanings.filter(([, { move }]) => move === undefined).map(([text]) => text);
  const anything = fc.oneof(
    fc.constantFrom(...atHome).map((text) => (story: Story) => story.libvirt(text)),
    fc.constantFrom(...Object.keys(qmpMeanings)).map((text) => (story: Story) => {
      const [name = "", reason] = text.split(" ");
      return story.qemu(name, { reason, guest: reason !== "host" });
    }),
    fc.tuple(fc.constantFrom(...statuses), fc.constantFrom(LIBVIRT, QMP, FILE), fc.boolean()).map((read) => {
      const [status, inventory, isResync] = read;
      return (story: Story) => story.read(found(status, { inventory, isResync, was: "Stopped" }));
    }),
    fc.nat(5_000).map((ms) => (story: Story) => story.later(ms)),
  );
  fc.assert(
    fc.property(fc.array(anything, { maxLength: 60 }), (happenings) => {
      const story = Story.with("Stopped");
      for (const happens of happenings) happens(story);
      const moves = story.events.filter(({ type, newState }) => newState !== undefined && type !== "VM.RESET");
      const states = ["Stopped", ...moves.map(({ newState }) => newState)];
      expect(moves.map(({ oldState }) => oldState)).toEqual(states.slice(0, -1));
      expect(moves.filter(({ oldState, newState }) => oldState === newState)).toEqual([]);
      const stages = story.events.flatMap(({ data }) => (data["stages"] as string[] | undefined) ?? []).join(" ");
      expect(stages).toMatch(/^(CREATE( RUNNING)?( DONE|$) ?)*$/);
    }),
    { numRuns: 500 },
  );
});

it("every meaning in the tables has types of events that there are", () => {
  const meanings: Meaning[] = [...Object.values(libvirtMeanings), ...Object.values(qmpMeanings)];
  const types = meanings.flatMap(({ action, alert }) => [action, alert].filter((type) => type !== undefined));
  expect(types.filter((type) => !Object.hasOwn(eventTypes, type))).toEqual([]);
});
