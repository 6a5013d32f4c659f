import { describe, expect, it } from "vitest";
import { Inventory, type InventoryChange, type KnownVm } from "../../../../manager/inventory/inventory.ts";
import type { InventorySink, InventorySource } from "../../../../manager/inventory/source.ts";
import type { GuestAgent, Vm } from "../../../../manager/vms/vm.ts";
import { aborted } from "../../../../shared/abort.ts";

const A = "aaaaaaaa-0000-4000-8000-000000000000";
const B = "bbbbbbbb-0000-4000-8000-000000000000";

function vm(id: string, more: Partial<Vm> = {}): Vm {
  return { id, name: "web1", status: "Running", host: "host1", channelPath: "/run/a.sock", ...more };
}

function stored(known: Vm, inventory = "first", statusSince = 100): KnownVm {
  return { vm: known, inventory, statusSince };
}

/** Says what the test says. */
class ScriptedSource implements InventorySource {
  readonly name: string;
  readonly seesOnlyRunning: boolean;
  sink!: InventorySink;
  hasEnded = false;
  readonly lookedAt: string[] = [];

  constructor(name: string, { seesOnlyRunning = false } = {}) {
    this.name = name;
    this.seesOnlyRunning = seesOnlyRunning;
  }

  async run(sink: InventorySink, signal: AbortSignal): Promise<void> {
    this.sink = sink;
    await aborted(signal);
    this.hasEnded = true;
  }

  look(id: string): void {
    this.lookedAt.push(id);
  }

  probe(): Promise<Vm[]> {
    return Promise.resolve([]);
  }
}

/** An inventory that runs until the test ends. */
class Running implements AsyncDisposable {
  readonly changes: InventoryChange[] = [];
  readonly log: string[] = [];
  readonly inventory: Inventory;
  now = 1_000;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  constructor(sources: InventorySource[], known: KnownVm[] = []) {
    const note = (event: string): void => {
      this.log.push(event);
    };
    this.inventory = new Inventory({
      known,
      onChange: (change) => this.changes.push(change),
      log: { info: note, warn: note, error: note },
      now: () => this.now,
    });
    this.#ended = this.inventory.run(sources, this.#stop.signal);
  }

  /** The changes since the last call, in short. */
  take(): string[] {
    return this.changes.splice(0).map(({ type, vm: { status }, isResync, inventory }) => {
      return `${type} ${status} by ${inventory}${isResync ? ", resync" : ""}`;
    });
  }

  status(id: string): string | undefined {
    const found = this.inventory.find(id);
    return found.type === "found" ? found.vm.vm.status : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }
}

class TwoSources extends Running {
  readonly first: ScriptedSource;
  readonly second: ScriptedSource;

  constructor(known: KnownVm[] = [], options = {}) {
    const first = new ScriptedSource("first", options);
    const second = new ScriptedSource("second");
    super([first, second], known);
    this.first = first;
    this.second = second;
  }
}

describe("what a source says", () => {
  it("is told once, with what was before and since when", async () => {
    await using running = new TwoSources();
    const { first } = running;
    first.sink.synchronized([vm(A)]);
    first.sink.changed(vm(A));
    running.now = 2_000;
    first.sink.changed(vm(A, { isOpenInGuest: true }));
    first.sink.changed(vm(A, { status: "Paused" }));
    first.sink.removed(A);
    expect(running.changes).toMatchObject([
      { type: "added", previous: undefined, statusSince: 1_000, isResync: true, inventory: "first" },
      { type: "changed", previous: vm(A), statusSince: 1_000, isResync: false },
      { type: "changed", previous: { isOpenInGuest: true }, vm: { status: "Paused" }, statusSince: 2_000 },
      { type: "removed", previous: { status: "Paused" }, isResync: false },
    ]);
    expect(running.inventory.vms()).toEqual([]);
  });

  it("of a VM is asked for again, of whoever says it, when somebody doubts it", async () => {
    await using running = new TwoSources([stored(vm("cccccccc-0000-4000-8000-000000000000"))]);
    const { first, second, inventory } = running;
    first.sink.synchronized([vm(A, { status: "Stopped" })]);
    second.sink.synchronized([vm(A, { isOpenInGuest: true }), vm(B)]);
    for (const id of [A, B, "cccccccc-0000-4000-8000-000000000000", "dddddddd-0000-4000-8000-000000000000"]) {
      inventory.look(id);
    }
    expect([first.lookedAt, second.lookedAt]).toEqual([[], [A, B]]);
    second.sink.changed(vm(A, { isOpenInGuest: false }));
    expect(running.changes.at(-1)).toMatchObject({ vm: { isOpenInGuest: false }, previous: { isOpenInGuest: true } });
  });

  it("of the guest agent alone is told, once", async () => {
    await using running = new TwoSources();
    const { first } = running;
    const tellings: (GuestAgent | undefined)[] = [
      { via: "libvirt", uri: "qemu:///system", isOpenInGuest: false },
      { via: "libvirt", uri: "qemu:///system", isOpenInGuest: true },
      { via: "socket", path: "/run/qga.sock", isOpenInGuest: true },
      { via: "socket", path: "/run/other.sock", isOpenInGuest: true },
      undefined,
    ];
    first.sink.synchronized([vm(A)]);
    for (const guestAgent of tellings) {
      first.sink.changed(vm(A, { guestAgent }));
      first.sink.changed(vm(A, { guestAgent: guestAgent && { ...guestAgent } }));
    }
    expect(running.changes.slice(1).map((change) => change.vm.guestAgent)).toEqual(tellings);
  });

  it("of the guest agent ends with the source that said it", async () => {
    await using running = new TwoSources();
    const { first, inventory } = running;
    first.sink.synchronized([vm(A, { guestAgent: { via: "socket", path: "/run/qga.sock" } })]);
    await inventory.remove("first");
    expect(inventory.vms()[0]?.vm).toEqual(vm(A, { status: "Unknown", channelPath: undefined }));
  });

  it("again as a whole gives what is different, and what is gone", async () => {
    await using running = new TwoSources();
    const { first } = running;
    first.sink.synchronized([vm(A), vm(B)]);
    running.take();
    first.sink.synchronized([vm(A, { status: "Stopped" })]);
    expect(running.take()).toEqual(["changed Stopped by first, resync", "removed Running by first, resync"]);
  });

  it("stands while it cannot be asked", async () => {
    await using running = new TwoSources();
    const { first, inventory } = running;
    expect(inventory.sources()[0]).toEqual({
      name: "first",
      isConnected: false,
      reason: "it has not answered yet",
      vms: 0,
    });
    first.sink.synchronized([vm(A)]);
    expect(inventory.sources()[0]).toEqual({ name: "first", isConnected: true, reason: undefined, vms: 1 });
    first.sink.disconnected("libvirtd is gone");
    first.sink.disconnected("libvirtd is gone");
    expect(inventory.sources()[0]).toMatchObject({ isConnected: false, reason: "libvirtd is gone", vms: 1 });
    expect(running.status(A)).toBe("Running");
    first.sink.disconnected(undefined);
    expect(running.log).toEqual(["inventory-connected", "inventory-disconnected", "inventory-connected"]);
  });

  it("is cut to a length, and an empty name is replaced", async () => {
    await using running = new TwoSources();
    const { first, inventory } = running;
    first.sink.changed(vm(A, { name: `${"x".repeat(254)}😀`, problem: "y".repeat(5_000) }));
    first.sink.changed(vm(B, { name: "" }));
    const [a, b] = inventory.vms();
    expect(a?.vm.name).toBe(`${"x".repeat(254)}\ufffd`);
    expect(a?.vm.problem).toHaveLength(1_000);
    expect(b?.vm.name).toBe(B);
  });

  it("is not heard when the source fails for good, and the others are", async () => {
    const failing: InventorySource = {
      name: "failing",
      run: () => Promise.reject(new Error("a bug")),
      probe: () => Promise.resolve([]),
    };
    const first = new ScriptedSource("first");
    await using running = new Running([failing, first]);
    await Promise.resolve();
    first.sink.synchronized([vm(A)]);
    expect(running.inventory.sources()).toMatchObject([{ isConnected: false }, { isConnected: true, vms: 1 }]);
    expect(running.log).toContain("inventory-failed");
  });
});

describe("a VM of two sources", () => {
  it("is as the first says that has it running, in the order of the sources", async () => {
    await using running = new TwoSources();
    const { first, second } = running;
    second.sink.synchronized([vm(A)]);
    first.sink.synchronized([vm(A, { status: "Stopped" })]);
    expect(running.take()).toEqual(["added Running by second, resync"]);
    first.sink.changed(vm(A, { channelPath: "/other.sock" }));
    expect(running.take()).toEqual(["changed Running by first"]);
    second.sink.removed(A);
    expect(running.take()).toEqual([]);
    second.sink.changed(vm(A));
    first.sink.removed(A);
    expect(running.take()).toEqual(["changed Running by second"]);
    second.sink.removed(A);
    expect(running.take()).toEqual(["removed Running by second"]);
  });
});

describe("a VM that the store knows", () => {
  it("is there at once, as Unknown and without a channel", async () => {
    await using running = new TwoSources([stored(vm(A))]);
    const { inventory } = running;
    expect(inventory.vms()).toEqual([stored(vm(A, { status: "Unknown", channelPath: undefined }))]);
    expect(running.changes).toEqual([]);
  });

  it("is told of when a source speaks of it, also when all is as it was", async () => {
    await using running = new TwoSources([stored(vm(A))]);
    const { first } = running;
    first.sink.synchronized([vm(A)]);
    expect(running.changes).toMatchObject([
      { type: "changed", previous: { status: "Running" }, statusSince: 100, isResync: true },
    ]);
  });

  it("is gone when its source has it no more, and not for another's word", async () => {
    await using running = new TwoSources([stored(vm(A))]);
    const { first, second } = running;
    second.sink.synchronized([]);
    expect(running.take()).toEqual([]);
    first.sink.synchronized([]);
    expect(running.take()).toEqual(["removed Running by first, resync"]);
  });

  it("of a source that is not there any more stays, until it is forgotten", async () => {
    await using running = new TwoSources([stored(vm(A), "another")]);
    const { first, inventory } = running;
    first.sink.synchronized([vm(B)]);
    expect(running.status(A)).toBe("Unknown");
    expect(inventory.forget(A)).toBe(true);
    expect(inventory.forget(A)).toBe(false);
    expect(inventory.forget(B)).toBe(false);
    expect(running.take()).toEqual(["added Running by first, resync", "removed Running by another"]);
  });
});

describe("a source that sees only what runs", () => {
  it.each([
    ["Running", "Stopped"],
    ["Unknown", "Stopped"],
    ["Crashed", "Crashed"],
  ] as const)("does not name a VM that was %s: it is %s", async (before, after) => {
    await using running = new TwoSources([stored(vm(A, { status: before }))], { seesOnlyRunning: true });
    const { first } = running;
    first.sink.synchronized([]);
    expect(running.take()).toEqual([`changed ${after} by first, resync`]);
  });

  it("does not know of a VM that it does not name while it has trouble", async () => {
    await using running = new TwoSources([stored(vm(A))], { seesOnlyRunning: true });
    const { first } = running;
    first.sink.disconnected("somebody has a.qmp");
    first.sink.synchronized([]);
    expect(running.status(A)).toBe("Unknown");
    first.sink.disconnected(undefined);
    expect(running.status(A)).toBe("Stopped");
  });

  it("has its VMs forgotten when they do not run", async () => {
    await using running = new TwoSources([], { seesOnlyRunning: true });
    const { first, inventory } = running;
    first.sink.synchronized([vm(A)]);
    expect(inventory.forget(A)).toBe(false);
    first.sink.changed(vm(A, { status: "Stopped" }));
    expect(inventory.forget(A)).toBe(true);
    expect(inventory.vms()).toEqual([]);
  });
});

describe("a source that is taken away", () => {
  it("leaves its VMs known, as Unknown; and may come back", async () => {
    await using running = new TwoSources();
    const { first, inventory } = running;
    first.sink.synchronized([vm(A)]);
    running.take();
    await inventory.remove("first");
    expect(first.hasEnded).toBe(true);
    first.sink.changed(vm(B));
    expect(running.take()).toEqual(["changed Unknown by first, resync"]);
    const again = new ScriptedSource("first");
    inventory.add(again);
    again.sink.synchronized([vm(A)]);
    expect(running.take()).toEqual(["changed Running by first, resync"]);
    await inventory.remove("nobody");
  });

  it("is not added twice", async () => {
    await using running = new TwoSources();
    const { inventory } = running;
    expect(() => {
      inventory.add(new ScriptedSource("first"));
    }).toThrow("has 'first' already");
  });
});

describe("a look-up", () => {
  it("takes a UUID in either case, before a name that looks like one, or a name that one VM has", async () => {
    await using running = new TwoSources();
    const { first, inventory } = running;
    first.sink.synchronized([vm(A), vm(B, { name: A })]);
    expect(inventory.find(A.toUpperCase())).toMatchObject({ type: "found", vm: { vm: { id: A } } });
    expect(inventory.find("web1")).toMatchObject({ type: "found", vm: { vm: { id: A } } });
    expect(inventory.find("web2")).toEqual({ type: "none" });
    first.sink.changed(vm(B));
    expect(inventory.find("web1")).toEqual({ type: "ambiguous", ids: [A, B] });
    first.sink.changed(vm(A, { name: "renamed" }));
    expect(inventory.find("web1")).toMatchObject({ type: "found", vm: { vm: { id: B } } });
    first.sink.removed(B);
    expect(inventory.find("web1")).toEqual({ type: "none" });
  });
});
