import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Event, NewEvent } from "../../../../manager/events/event.ts";
import { LifecycleKeeper } from "../../../../manager/events/lifecycle-keeper.ts";
import type { StoredLifecycle } from "../../../../manager/store/store.ts";
import { found, LIBVIRT, qemuSays, QMP, removed, startedAt, told, virshSays, vm } from "./lifecycle-story.ts";

/** What the keeper needs of a store: what was written together stays together. */
class FakeStore {
  readonly commits: { events: NewEvent[]; lifecycles: StoredLifecycle[] }[] = [];
  readonly lifecycles = new Map<string, unknown>();
  /** Each write waits for it. */
  gate: Promise<unknown> = Promise.resolve();

  loadLifecycles(): Promise<StoredLifecycle[]> {
    return Promise.resolve([...this.lifecycles].map(([vmId, lifecycle]) => ({ vmId, lifecycle })));
  }

  async appendEvents(events: readonly NewEvent[], lifecycles: readonly StoredLifecycle[] = []): Promise<Event[]> {
    await this.gate;
    this.commits.push({ events: [...events], lifecycles: [...lifecycles] });
    for (const { vmId, lifecycle } of lifecycles) this.lifecycles.set(vmId, JSON.parse(JSON.stringify(lifecycle)));
    return [];
  }

  get told(): string[] {
    return told(this.commits.flatMap(({ events }) => events));
  }
}

interface Scene {
  keeper: LifecycleKeeper;
  store: FakeStore;
  warnings: unknown[];
  failures: unknown[];
}

async function scene(store = new FakeStore()): Promise<Scene> {
  const warnings: unknown[] = [];
  const failures: unknown[] = [];
  const log = { info: () => undefined, warn: (...line: unknown[]) => void warnings.push(line), error: () => undefined };
  const keeper = await LifecycleKeeper.open({ store, log, failed: (error) => failures.push(error) });
  onTestFinished(() => keeper.close());
  return { keeper, store, warnings, failures };
}

function virsh(keeper: LifecycleKeeper, vmId: string | undefined, ...texts: string[]): void {
  for (const text of texts) keeper.libvirtEvent(LIBVIRT, virshSays(text, Date.now()), vmId);
}

beforeEach(() => {
  vi.useFakeTimers({ now: startedAt });
});

afterEach(() => {
  vi.useRealTimers();
});

describe("what is told and what it was made from", () => {
  it("are one commit, and what comes meanwhile is the next", async () => {
    const { keeper, store } = await scene();
    keeper.changed(found("Stopped", { isResync: true }));
    virsh(keeper, vm.id, "Resumed Unpaused", "Started Booted");
    await vi.advanceTimersByTimeAsync(0);
    const gate = Promise.withResolvers<undefined>();
    store.gate = gate.promise;
    virsh(keeper, vm.id, "Stopped Failed");
    await vi.advanceTimersByTimeAsync(0);
    virsh(keeper, vm.id, "Resumed Unpaused", "Started Booted", "Stopped Destroyed");
    gate.resolve(undefined);
    await keeper.close();
    expect(store.commits.map(({ events }) => told(events))).toEqual([
      ["VM.DEFINED >Stopped resync", "VM.RUNNING Stopped>Running CREATE,RUNNING", "VM.START"],
      ["VM.CRASHED Running>Crashed DONE"],
      ["VM.RUNNING Crashed>Running CREATE,RUNNING", "VM.START", "VM.STOP", "VM.STOPPED Running>Stopped DONE"],
    ]);
    expect(store.commits.map(({ lifecycles }) => lifecycles)).toMatchObject([
      [{ vmId: vm.id, lifecycle: { status: "Running", life: "running" } }],
      [{ vmId: vm.id, lifecycle: { status: "Crashed", life: "over" } }],
      [{ vmId: vm.id, lifecycle: { status: "Stopped", life: "over" } }],
    ]);
  });

  it("are written whenever they come, also just when a commit has ended", async () => {
    for (let turns = 0; turns < 20; turns += 1) {
      const { keeper, store } = await scene();
      keeper.changed(found("Running", { isResync: true }));
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
      virsh(keeper, vm.id, "Stopped Failed");
      await vi.advanceTimersByTimeAsync(0);
      expect(store.told).toHaveLength(3);
    }
  });

  it("of thousands of VMs at once are several commits", async () => {
    const { keeper, store } = await scene();
    for (let number = 0; number < 1_200; number += 1) {
      const change = found("Stopped", { isResync: true });
      keeper.changed({ ...change, vm: { ...change.vm, id: `id${number}` } });
    }
    await keeper.close();
    expect(store.commits.map(({ events, lifecycles }) => [events.length, lifecycles.length])).toEqual([
      [500, 500],
      [500, 500],
      [200, 200],
    ]);
  });

  it("that cannot be kept end it: the manager is told, and nothing later is written", async () => {
    const { keeper, store, failures } = await scene();
    store.gate = Promise.reject(new Error("disk full"));
    store.gate.catch(() => undefined);
    keeper.changed(found("Stopped"));
    await vi.advanceTimersByTimeAsync(0);
    expect(failures).toMatchObject([{ message: "disk full" }]);
    store.gate = Promise.resolve();
    virsh(keeper, vm.id, "Resumed Unpaused");
    keeper.changed(removed("Stopped"));
    await keeper.close();
    expect(store.commits).toEqual([]);
  });
});

describe("after a restart", () => {
  it("what was missed is told, from what was known, and a life that goes on is not told again", async () => {
    const first = await scene();
    first.keeper.changed(found("Running", { isResync: true }));
    await first.keeper.close();
    const second = await scene(first.store);
    second.keeper.changed(found("Running", { isResync: true, was: "Unknown" }));
    await second.keeper.close();
    const third = await scene(first.store);
    third.keeper.changed(found("Stopped", { isResync: true, was: "Unknown" }));
    await third.keeper.close();
    expect(first.store.told).toEqual([
      ...["VM.DEFINED resync", "VM.RUNNING >Running CREATE,RUNNING resync"],
      "VM.STOPPED Running>Stopped DONE resync",
    ]);
  });

  it("a pause that somebody asked for just before is told", async () => {
    const { keeper, store } = await scene();
    keeper.changed(found("Running", { isResync: true }));
    virsh(keeper, vm.id, "Suspended Paused");
    await keeper.close();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(store.told.at(-1)).toBe("VM.PAUSED Running>Paused");
    await scene(store);
    await vi.advanceTimersByTimeAsync(1);
    expect(store.told.at(-1)).toBe("VM.PAUSE");
  });

  it("what cannot be understood is begun anew", async () => {
    const store = new FakeStore();
    store.lifecycles.set(vm.id, { status: "On fire" });
    const { keeper, warnings } = await scene(store);
    expect(warnings).toEqual([["lifecycle-unreadable", { id: vm.id }]]);
    keeper.changed(found("Stopped", { isResync: true, was: "Unknown" }));
    await keeper.close();
    expect(store.told).toEqual(["VM.DEFINED >Stopped resync"]);
  });
});

describe("what an inventory reads", () => {
  it("and nobody announced is told when it has stayed so", async () => {
    const { keeper, store } = await scene();
    keeper.changed(found("Running", { isResync: true }));
    keeper.changed(found("Paused", { was: "Running" }));
    await vi.advanceTimersByTimeAsync(4_999);
    expect(store.told).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1);
    expect(store.told.at(-1)).toBe("VM.PAUSED Running>Paused resync");
  });

  it("and was announced meanwhile is told once", async () => {
    const { keeper, store } = await scene();
    keeper.changed(found("Running", { isResync: true }));
    keeper.changed(found("Suspended", { was: "Running" }));
    virsh(keeper, vm.id, "PMSuspended Memory");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(store.told.slice(2)).toEqual(["VM.SUSPENDED Running>Suspended"]);
  });
});

describe("what is announced of a VM that nobody knows yet", () => {
  it("is told when the inventory says whose it is", async () => {
    const { keeper, store } = await scene();
    virsh(keeper, undefined, "Defined Added", "Resumed Unpaused", "Started Booted");
    // The list has its name now, and its domain is being read.
    virsh(keeper, vm.id, "Shutdown Finished after host request", "Stopped Destroyed");
    keeper.changed(found("Stopped"));
    await keeper.close();
    expect(store.told).toEqual([
      ...["VM.DEFINED", "VM.RUNNING >Running CREATE,RUNNING", "VM.START"],
      ...["VM.STOP", "VM.STOPPED Running>Stopped DONE"],
    ]);
  });

  it("is of its source alone, and not for long", async () => {
    const { keeper, store } = await scene();
    virsh(keeper, undefined, "Resumed Unpaused", "Started Booted");
    keeper.changed(found("Stopped", { inventory: "libvirt qemu:///session" }));
    keeper.changed(removed("Stopped"));
    await vi.advanceTimersByTimeAsync(30_001);
    keeper.changed(found("Stopped"));
    await keeper.close();
    expect(store.told).toEqual(["VM.DEFINED >Stopped", "VM.UNDEFINED Stopped>", "VM.DEFINED >Stopped"]);
  });

  it("by QMP waits until the VM is known, and is dropped while QEMU has not said who it is", async () => {
    const { keeper, store } = await scene();
    keeper.qmpEvent(QMP, qemuSays("STOP"), undefined);
    keeper.qmpEvent(QMP, qemuSays("RESUME"), vm);
    keeper.changed(found("Paused", { inventory: QMP }));
    keeper.changed(found("Running", { inventory: QMP, was: "Paused" }));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(store.told).toEqual(["VM.DEFINED", "VM.RUNNING >Running CREATE,RUNNING"]);
  });

  it("does not pile up", async () => {
    const { keeper, store } = await scene();
    for (let number = 0; number < 1_001; number += 1) {
      keeper.libvirtEvent(LIBVIRT, { ...virshSays("Resumed Unpaused"), domain: `vm${number}` }, undefined);
    }
    for (let times = 0; times < 100; times += 1) {
      keeper.libvirtEvent(LIBVIRT, { ...virshSays("Stopped Failed"), domain: "vm1000" }, undefined);
    }
    keeper.changed(found("Stopped", { name: "vm0" }));
    expect(await store.loadLifecycles()).toEqual([]);
    keeper.forget(vm.id);
    keeper.changed(found("Stopped", { name: "vm1000" }));
    await keeper.close();
    // The oldest was dropped; of the newest, the last announcements stayed.
    expect(store.told).toEqual(["VM.DEFINED >Stopped", "VM.DEFINED", "VM.CRASHED >Crashed"]);
  });
});

describe("a VM that is forgotten", () => {
  it("is not remembered by what was still to be written", async () => {
    const { keeper, store } = await scene();
    keeper.changed(found("Running", { isResync: true }));
    keeper.changed(found("Paused", { was: "Running" }));
    keeper.changed(removed("Paused"));
    keeper.forget(vm.id);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(store.told).toHaveLength(4);
    expect(store.lifecycles.size).toBe(0);
    keeper.changed(found("Stopped"));
    await keeper.close();
    expect(store.told.at(-1)).toBe("VM.DEFINED >Stopped");
  });
});

it("closes twice, and hears nothing after that", async () => {
  const { keeper, store } = await scene();
  keeper.changed(found("Running", { isResync: true }));
  keeper.changed(found("Paused", { was: "Running" }));
  await Promise.all([keeper.close(), keeper.close()]);
  virsh(keeper, vm.id, "Stopped Failed");
  keeper.changed(removed("Running"));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(store.told).toEqual(["VM.DEFINED resync", "VM.RUNNING >Running CREATE,RUNNING resync"]);
});
