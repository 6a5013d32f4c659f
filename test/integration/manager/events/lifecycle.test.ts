import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Event, NewEvent } from "../../../../manager/events/event.ts";
import { LifecycleKeeper } from "../../../../manager/events/lifecycle-keeper.ts";
import { Inventory } from "../../../../manager/inventory/inventory.ts";
import { QmpClient } from "../../../../manager/inventory/qmp.ts";
import { openSource, type SourceSpec } from "../../../../manager/inventory/sources.ts";
import type { StoredLifecycle, StoredVm } from "../../../../manager/store/store.ts";
import { LibvirtUnderTest } from "../../support/libvirt.ts";
import { QemuUnderTest } from "../../support/qemu.ts";

const uuid = "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c11";

/** What a manager leaves behind for the next. */
class Disk {
  readonly events: NewEvent[] = [];
  readonly vms = new Map<string, StoredVm>();
  readonly #lifecycles = new Map<string, unknown>();

  loadLifecycles(): Promise<StoredLifecycle[]> {
    return Promise.resolve([...this.#lifecycles].map(([vmId, lifecycle]) => ({ vmId, lifecycle })));
  }

  appendEvents(events: readonly NewEvent[], lifecycles: readonly StoredLifecycle[] = []): Promise<Event[]> {
    this.events.push(...events);
    for (const { vmId, lifecycle } of lifecycles) this.#lifecycles.set(vmId, JSON.parse(JSON.stringify(lifecycle)));
    return Promise.resolve([]);
  }
}

/** An inventory whose VMs' lifecycles are kept, as the manager has it. */
class Watching implements AsyncDisposable {
  readonly disk: Disk;
  readonly inventory: Inventory;
  readonly #keeper: LifecycleKeeper;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  static async start(spec: SourceSpec, disk = new Disk()): Promise<Watching> {
    const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const failed = (error: unknown): never => {
      throw error;
    };
    const watching = new Watching(spec, disk, await LifecycleKeeper.open({ store: disk, log: quiet, failed }));
    await watching.untilConnected();
    return watching;
  }

  private constructor(spec: SourceSpec, disk: Disk, keeper: LifecycleKeeper) {
    this.disk = disk;
    this.#keeper = keeper;
    this.inventory = new Inventory({
      known: [...disk.vms.values()],
      onChange: (change) => {
        const { vm, inventory, statusSince } = change;
        if (change.type === "removed") disk.vms.delete(vm.id);
        else disk.vms.set(vm.id, { vm, inventory, statusSince });
        keeper.changed(change);
      },
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    });
    const source = openSource(spec, "host1", {
      libvirtEvent: (name, event, vmId) => {
        keeper.libvirtEvent(name, event, vmId);
      },
      qmpEvent: (name, event, vm) => {
        keeper.qmpEvent(name, event, vm);
      },
      notify: () => undefined,
    });
    this.#ended = this.inventory.run([source], this.#stop.signal);
  }

  async untilConnected(): Promise<void> {
    await vi.waitUntil(() => this.inventory.sources().every(({ isConnected }) => isConnected), { timeout: 20_000 });
  }

  async untilDisconnected(): Promise<void> {
    await vi.waitUntil(() => this.inventory.sources().some(({ isConnected }) => !isConnected), { timeout: 20_000 });
  }

  /** `VM.RUNNING Stopped>Running CREATE,RUNNING resync`: what was told of a VM since this was asked last. */
  takeTold(id: string): string[] {
    const told = this.told(id);
    for (const event of this.disk.events.filter(({ resourceUUID }) => resourceUUID === id)) {
      this.disk.events.splice(this.disk.events.indexOf(event), 1);
    }
    return told;
  }

  told(id: string): string[] {
    const events = this.disk.events.filter(({ resourceUUID }) => resourceUUID === id);
    return events.map(({ type, oldState, newState, isResync, data }) => {
      const states = oldState === undefined && newState === undefined ? "" : `${oldState ?? ""}>${newState ?? ""}`;
      const stages = Array.isArray(data["stages"]) ? data["stages"].join(",") : "";
      return [type, states, stages, isResync ? "resync" : ""].filter((part) => part !== "").join(" ");
    });
  }

  /** Settles when exactly this was told since it was asked last. */
  async expectTold(id: string, ...expected: string[]): Promise<void> {
    await vi.waitUntil(() => this.told(id).length >= expected.length, { timeout: 20_000 }).catch(() => undefined);
    expect(this.takeTold(id)).toEqual(expected);
  }

  /** A second look at all domains, when virsh has surely subscribed, may be what finds it. */
  async expectDefined(id: string): Promise<void> {
    await vi.waitUntil(() => this.told(id).length > 0, { timeout: 20_000 });
    expect(this.takeTold(id).join()).toMatch(/^VM\.DEFINED >Stopped( resync)?$/);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
    await this.#keeper.close();
  }
}

const START = ["VM.RUNNING Stopped>Running CREATE,RUNNING", "VM.START"];
const DESTROY = ["VM.STOP", "VM.STOPPED Running>Stopped DONE"];

describe("with libvirt", () => {
  let libvirt: LibvirtUnderTest;

  beforeAll(async () => {
    libvirt = await LibvirtUnderTest.start();
  });

  afterAll(async () => {
    await libvirt[Symbol.asyncDispose]();
  });

  afterEach(() => {
    vi.unstubAllEnvs();
  });

  async function watch(disk?: Disk): Promise<Watching> {
    // As the manager's main file has it.
    vi.stubEnv("LC_ALL", "C");
    const watching = await Watching.start({ type: "libvirt", uri: libvirt.uri }, disk);
    await untilSubscribed(watching);
    return watching;
  }

  /** virsh does not say when it has subscribed to the events: then a start is told with who asked for it. */
  async function untilSubscribed(watching: Watching): Promise<void> {
    const id = await libvirt.define("canary");
    await vi.waitFor(
      async () => {
        await libvirt.virsh("start", "canary");
        await libvirt.virsh("destroy", "canary");
        await vi.waitUntil(() => watching.told(id).includes("VM.STOP"), { timeout: 500 });
      },
      { timeout: 30_000 },
    );
    await libvirt.virsh("undefine", "canary");
    await vi.waitUntil(() => watching.told(id).at(-1)?.startsWith("VM.UNDEFINED"), { timeout: 20_000 });
  }

  it("a domain's life is told from its definition to its end, each transition once", async () => {
    await using watching = await watch();
    const id = await libvirt.define("web1", { more: "<features><acpi/></features>" });
    await watching.expectDefined(id);

    await libvirt.virsh("start", "web1");
    await watching.expectTold(id, ...START);
    await libvirt.virsh("suspend", "web1");
    await watching.expectTold(id, "VM.PAUSED Running>Paused", "VM.PAUSE");
    await libvirt.virsh("resume", "web1");
    await watching.expectTold(id, "VM.RESUME", "VM.RUNNING Paused>Running");
    await libvirt.virsh("reset", "web1");
    await watching.expectTold(id, "VM.RESET Running>Running");
    await libvirt.virsh("destroy", "web1");
    await watching.expectTold(id, ...DESTROY);

    await libvirt.virsh("start", "--paused", "web1");
    await watching.expectTold(id, "VM.START", "VM.PAUSED Stopped>Paused CREATE");
    await libvirt.virsh("resume", "web1");
    await watching.expectTold(id, "VM.RUNNING Paused>Running RUNNING");
    await libvirt.killQemu("web1");
    await watching.expectTold(id, "VM.CRASHED Running>Crashed DONE");

    await libvirt.virsh("start", "web1");
    await watching.expectTold(id, "VM.RUNNING Crashed>Running CREATE,RUNNING", "VM.START");
    await libvirt.virsh("managedsave", "web1");
    await watching.expectTold(id, "VM.PAUSED Running>Paused", "VM.SAVE", "VM.STOPPED Paused>Stopped DONE");
    await libvirt.virsh("start", "web1");
    await watching.expectTold(
      id,
      ...["VM.RESTORE", "VM.PAUSED Stopped>Paused CREATE", "VM.RUNNING Paused>Running RUNNING"],
    );
    await vi.waitUntil(
      async () => {
        await libvirt.virsh("qemu-monitor-command", "web1", "--hmp", GUEST.powerOff).catch(() => undefined);
        return watching.told(id).length > 0;
      },
      { timeout: 30_000, interval: 300 },
    );
    await watching.expectTold(id, "VM.STOPPED Running>Stopped DONE");
    await libvirt.virsh("start", "web1");
    await watching.expectTold(id, ...START);
    await libvirt.virsh("destroy", "web1");
    await libvirt.virsh("undefine", "web1");
    await watching.expectTold(id, ...DESTROY, "VM.UNDEFINED Stopped>");
  });

  it("quick changes are all told, in their order, also of a domain that is new", async () => {
    await using watching = await watch();
    const id = await libvirt.define("quick");
    await libvirt.virsh("start quick; destroy quick; start quick; suspend quick; resume quick; destroy quick");
    await libvirt.virsh("undefine", "quick");
    await vi.waitUntil(() => watching.told(id).at(-1)?.startsWith("VM.UNDEFINED"), { timeout: 20_000 });
    const told = watching.takeTold(id);
    // Whether the domain was read before it was started is not the test's to say.
    expect(told.slice(0, 2).join()).toMatch(
      /^VM\.DEFINED( >Stopped)?( resync)?,VM\.RUNNING (Stopped)?>Running CREATE,RUNNING$/,
    );
    expect(told.slice(2)).toEqual([
      "VM.START",
      ...DESTROY,
      ...START,
      ...["VM.PAUSED Running>Paused", "VM.PAUSE", "VM.RESUME", "VM.RUNNING Paused>Running"],
      ...DESTROY,
      "VM.UNDEFINED Stopped>",
    ]);
  });

  it("what happened while libvirtd was away is told when it is back, marked so", async () => {
    await using watching = await watch();
    const ids = { killed: await libvirt.define("killed"), on: await libvirt.define("on"), gone: "" };
    ids.gone = await libvirt.define("gone");
    for (const id of Object.values(ids)) await watching.expectDefined(id);
    for (const name of ["killed", "on"]) await libvirt.virsh("start", name);
    for (const id of [ids.killed, ids.on]) await watching.expectTold(id, ...START);

    await libvirt.kill();
    await watching.untilDisconnected();
    await libvirt.killQemu("killed");
    await rm(join(libvirt.directory, "c", "libvirt", "qemu", "gone.xml"));
    await libvirt.start();
    await watching.untilConnected();
    await vi.waitUntil(() => watching.told(ids.killed).length > 0, { timeout: 20_000 });
    expect(watching.takeTold(ids.killed).join()).toMatch(
      /^VM\.(STOPPED|CRASHED) Running>(Stopped|Crashed) DONE resync$/,
    );
    await watching.expectTold(ids.gone, "VM.UNDEFINED Stopped> resync");
    expect(watching.told(ids.on)).toEqual([]);

    await libvirt.virsh("destroy", "on");
    for (const name of ["on", "killed"]) await libvirt.virsh("undefine", name);
    await watching.expectTold(ids.on, ...DESTROY, "VM.UNDEFINED Stopped>");
  });

  it("what happened while the manager was away is told when it is back, and nothing else", async () => {
    const disk = new Disk();
    const ids = { stopped: await libvirt.define("stopped"), started: await libvirt.define("started") };
    const same = await libvirt.define("same");
    for (const name of ["stopped", "same"]) await libvirt.virsh("start", name);
    {
      await using first = await watch(disk);
      await first.expectTold(same, "VM.DEFINED resync", "VM.RUNNING >Running CREATE,RUNNING resync");
      await first.expectTold(ids.started, "VM.DEFINED >Stopped resync");
      first.takeTold(ids.stopped);
    }
    await libvirt.virsh("destroy", "stopped");
    await libvirt.virsh("start", "started");
    await using second = await watch(disk);
    await second.expectTold(ids.stopped, "VM.STOPPED Running>Stopped DONE resync");
    await second.expectTold(ids.started, "VM.RUNNING Stopped>Running CREATE,RUNNING resync");
    expect(second.told(same)).toEqual([]);
    for (const name of ["started", "same"]) await libvirt.virsh("destroy", name);
    await second.expectTold(same, ...DESTROY);
    for (const name of ["stopped", "started", "same"]) await libvirt.virsh("undefine", name);
  });
});

/** What a guest's kernel would write to the ports of a PC, by QEMU's own monitor. */
const GUEST = {
  sleep: "o /w 0x604 0x2400",
  powerOff: "o /w 0x604 0x2000",
  reset: "o /b 0xcf9 6",
  panic: "o /b 0x505 1",
};

/** Its firmware first has to set the ports up, and does not say when it has. A QEMU that ended answers no more. */
async function asGuest(qmp: QmpClient, command: string, isDone: () => boolean): Promise<void> {
  await vi.waitUntil(
    async () => {
      if (isDone()) return true;
      await qmp.execute("human-monitor-command", { "command-line": command }).catch(() => undefined);
      return isDone();
    },
    { timeout: 30_000, interval: 300 },
  );
}

describe("with QMP", () => {
  async function scene() {
    const parent = await mkdtemp(join(tmpdir(), "vmm-life-"));
    onTestFinished(() => rm(parent, { recursive: true, force: true }));
    const directory = join(parent, "vms");
    const operators = join(parent, "op");
    for (const folder of [directory, operators]) await mkdir(folder);
    let starts = 0;
    /** With a second QMP socket, with which the test does what an operator would. */
    const start = async (...args: string[]) => {
      const path = join(operators, String(++starts));
      const operator = ["-qmp", `unix:${path},server=on,wait=off`];
      const qemu = await QemuUnderTest.start({ directory, name: "web1", uuid, args: [...operator, ...args] });
      onTestFinished(() => qemu.kill());
      // The other socket's file may be that of the QEMU before.
      await vi.waitUntil(() => existsSync(path), { timeout: 20_000, interval: 20 });
      const connect = async (): Promise<QmpClient> => {
        const client = await QmpClient.connect(path, { signal: AbortSignal.timeout(30_000), onEvent: () => undefined });
        onTestFinished(() => client.close());
        return client;
      };
      return { qemu, qmp: await connect() };
    };
    return { spec: { type: "qmp", directory } as const, start };
  }

  it("a QEMU's life is told from its start to its end, each transition once", async () => {
    const { spec, start } = await scene();
    await using watching = await Watching.start(spec);
    const { qmp } = await start("-S");
    await watching.expectTold(uuid, "VM.DEFINED", "VM.PAUSED >Paused CREATE");
    await qmp.execute("cont");
    await watching.expectTold(uuid, "VM.RUNNING Paused>Running RUNNING");
    await qmp.execute("stop");
    await qmp.execute("cont");
    await watching.expectTold(uuid, "VM.PAUSED Running>Paused", "VM.RUNNING Paused>Running");
    await qmp.execute("system_reset");
    await watching.expectTold(uuid, "VM.REBOOT", "VM.RESET Running>Running");
    await qmp.execute("system_powerdown");
    await watching.expectTold(uuid, "VM.STOP");
    await qmp.execute("quit");
    await watching.expectTold(uuid, "VM.STOPPED Running>Stopped DONE");

    const second = await start();
    await watching.expectTold(uuid, "VM.RUNNING Stopped>Running CREATE,RUNNING");
    await second.qemu.kill("SIGKILL");
    await watching.expectTold(uuid, "VM.CRASHED Running>Crashed DONE");
    const third = await start();
    await watching.expectTold(uuid, "VM.RUNNING Crashed>Running CREATE,RUNNING");
    await third.qemu.kill("SIGTERM");
    await watching.expectTold(uuid, "VM.STOP", "VM.STOPPED Running>Stopped DONE");
  });

  it("what its guest does is told, and nobody is said to have done it", async () => {
    const { spec, start } = await scene();
    await using watching = await Watching.start(spec);
    const first = await start("-no-shutdown");
    await watching.expectTold(uuid, "VM.DEFINED", "VM.RUNNING >Running CREATE,RUNNING");
    await asGuest(first.qmp, GUEST.sleep, () => watching.told(uuid).length > 0);
    await watching.expectTold(uuid, "VM.SUSPENDED Running>Suspended");
    await first.qmp.execute("system_wakeup");
    await vi.waitUntil(() => watching.told(uuid).length > 0, { timeout: 20_000 });
    // What wakes it, its firmware then does with a reset, or without.
    expect(watching.takeTold(uuid)[0]).toBe("VM.RUNNING Suspended>Running");
    await first.qmp.execute("quit");
    await vi.waitUntil(() => watching.told(uuid).at(-1)?.startsWith("VM.STOPPED"), { timeout: 20_000 });
    watching.takeTold(uuid);

    const second = await start();
    await watching.expectTold(uuid, "VM.RUNNING Stopped>Running CREATE,RUNNING");
    await asGuest(second.qmp, GUEST.reset, () => watching.told(uuid).length > 0);
    await watching.expectTold(uuid, "VM.RESET Running>Running");
    await asGuest(second.qmp, GUEST.powerOff, () => watching.told(uuid).some((line) => line.startsWith("VM.STOPPED")));
    expect(watching.takeTold(uuid).at(-1)).toBe("VM.STOPPED Running>Stopped DONE");
  });

  it("a guest that panics has crashed, once", async () => {
    const { spec, start } = await scene();
    await using watching = await Watching.start(spec);
    for (const [from, ...args] of [[""], ["Crashed", "-no-shutdown"]] as const) {
      const { qmp } = await start("-device", "pvpanic", ...args);
      await vi.waitUntil(() => watching.told(uuid).at(-1) === `VM.RUNNING ${from}>Running CREATE,RUNNING`);
      watching.takeTold(uuid);
      await asGuest(qmp, GUEST.panic, () => watching.told(uuid).length > 0);
      await watching.expectTold(uuid, "VM.PANIC", "VM.CRASHED Running>Crashed DONE");
    }
  });

  it("what happened while the manager was away is told when it is back", async () => {
    const { spec, start } = await scene();
    const disk = new Disk();
    const first = await start();
    {
      await using watching = await Watching.start(spec, disk);
      await watching.expectTold(uuid, "VM.DEFINED resync", "VM.RUNNING >Running CREATE,RUNNING resync");
    }
    await first.qemu.kill("SIGKILL");
    await using watching = await Watching.start(spec, disk);
    await watching.expectTold(uuid, "VM.STOPPED Running>Stopped DONE resync");
  });
});
