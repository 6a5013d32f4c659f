import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parseConfig } from "../../../../manager/config.ts";
import type { Event, NewEvent } from "../../../../manager/events/event.ts";
import { Monitor, type MonitoredVm } from "../../../../manager/monitor/monitor.ts";
import type { Probe } from "../../../../manager/monitor/probe.ts";
import type { StoredMonitor } from "../../../../manager/store/store.ts";
import type { Vm } from "../../../../manager/vms/vm.ts";

const settings = parseConfig({}, "the defaults").monitor;

/** A guest, as the monitor sees one: it answers after some time, or not at all. */
class FakeGuest implements MonitoredVm {
  readonly isForgotten = false;
  statusSince = Date.now();
  readonly askedAt: number[] = [];
  vm: Vm;
  answersAfterMs: number | undefined = 5;
  probes: ((timeoutMs: number) => Promise<Probe>) | undefined;
  statsAsked = 0;

  constructor(name: string, more: Partial<Vm> = {}) {
    this.vm = { id: `id of ${name}`, name, status: "Running", host: "here", channelPath: "/channel", ...more };
  }

  get ref() {
    return { id: this.vm.id, name: this.vm.name };
  }

  probe(timeoutMs: number): Promise<Probe> {
    this.askedAt.push(Date.now());
    if (this.probes !== undefined) return this.probes(timeoutMs);
    const { answersAfterMs = Infinity } = this;
    const isInTime = answersAfterMs < timeoutMs;
    return new Promise((resolve) => {
      setTimeout(resolve, Math.min(answersAfterMs, timeoutMs), isInTime ? { type: "answered" } : { type: "missed" });
    });
  }

  stats() {
    this.statsAsked += 1;
    return Promise.reject(new Error("none"));
  }
}

class World {
  readonly events: NewEvent[] = [];
  readonly stored = new Map<string, StoredMonitor>();
  readonly otherAgentAsked: string[] = [];
  readonly doubted: string[] = [];
  otherAgent: Probe = { type: "unknown", reason: "it has never answered" };
  settings = settings;
  monitor!: Monitor;

  async start(random: () => number = () => 0): Promise<this> {
    this.monitor = await Monitor.open({
      store: {
        loadMonitors: () => Promise.resolve(structuredClone([...this.stored.values()])),
        appendEvents: (events, _lifecycles, monitors = []) => {
          this.events.push(...events);
          for (const monitor of monitors) this.stored.set(monitor.vmId, structuredClone(monitor));
          return Promise.resolve([]);
        },
      },
      settings: () => this.settings,
      guestAgents: {
        probe: ({ name }) => {
          this.otherAgentAsked.push(name);
          return Promise.resolve(this.otherAgent);
        },
        begun: () => undefined,
        forget: () => undefined,
      },
      pinged: () => undefined,
      doubted: (vmId) => this.doubted.push(vmId),
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
      failed: (error) => {
        throw error;
      },
      random,
    });
    return this;
  }

  watch(...guests: FakeGuest[]): void {
    for (const guest of guests) this.monitor.changed(guest);
  }

  become(guest: FakeGuest, status: Vm["status"]): void {
    guest.vm = { ...guest.vm, status };
    guest.statusSince = Date.now();
    this.monitor.changed(guest);
  }

  get told(): string[] {
    return this.events.map(({ type, resourceName }) => `${type} ${resourceName ?? ""}`);
  }
}

function lifeEvent(guest: FakeGuest, type: Event["type"], data = {}): Event {
  return { type, time: Date.now(), position: 1, resourceUUID: guest.vm.id, data } as Event;
}

const seconds = (count: number): Promise<unknown> => vi.advanceTimersByTimeAsync(count * 1_000);

let world: World;

/** One that has answered. */
async function wellGuest(): Promise<FakeGuest> {
  const guest = new FakeGuest("web1");
  world.watch(guest);
  await seconds(15);
  return guest;
}

/** One that has answered, and was told of since it does so no more. */
async function hungGuest(): Promise<FakeGuest> {
  const guest = await wellGuest();
  guest.answersAfterMs = undefined;
  await seconds(40);
  return guest;
}

beforeEach(async () => {
  vi.useFakeTimers({ now: 0 });
  world = await new World().start();
});

afterEach(async () => {
  const closed = world.monitor.close();
  await vi.runOnlyPendingTimersAsync();
  await closed;
  vi.useRealTimers();
});

describe("the monitor", () => {
  test("tells of a guest that hangs after the interval, as often as the threshold says, and one time-out", async () => {
    const guest = new FakeGuest("web1");
    world.watch(guest);
    await seconds(20.1);
    guest.answersAfterMs = undefined;
    await seconds(31.8);
    expect(world.told).toEqual([]);
    await seconds(0.2);
    expect(world.told).toEqual(["VM.HUNG web1"]);
    expect(Date.now()).toBeLessThanOrEqual(20_100 + 3 * 10_000 + 2_000);
  });

  test("tells of each hanging of a guest that recovered in between", async () => {
    const guest = await wellGuest();
    for (let round = 0; round < 3; round += 1) {
      guest.answersAfterMs = undefined;
      await seconds(40);
      guest.answersAfterMs = 1;
      await seconds(20);
    }
    const oneTime = ["VM.HUNG web1", "VM.RECOVERED web1"];
    expect(world.told).toEqual([...oneTime, ...oneTime, ...oneTime]);
  });

  test("keeps each guest's interval while others hang", async () => {
    let phase = 0;
    world = await new World().start(() => (phase = (phase + 0.618) % 1));
    const guests = Array.from({ length: 100 }, (_, index) => new FakeGuest(`g${index}`));
    world.watch(...guests);
    await seconds(20);
    for (const guest of guests.slice(0, 10)) guest.answersAfterMs = undefined;
    await seconds(100);
    for (const { askedAt } of guests) {
      const intervals = askedAt.slice(1).map((at, index) => at - (askedAt[index] ?? 0));
      expect(Math.max(...intervals)).toBeLessThanOrEqual(10_001);
      expect(Math.min(...intervals)).toBeGreaterThanOrEqual(9_999);
    }
    expect(world.told).toHaveLength(10);
  });

  test("asks guests that began together at different times", async () => {
    let phase = 0;
    world = await new World().start(() => (phase += 0.1));
    const guests = Array.from({ length: 5 }, (_, index) => new FakeGuest(`g${index}`));
    world.watch(...guests);
    await seconds(10);
    expect(new Set(guests.map(({ askedAt }) => askedAt[0])).size).toBe(5);
  });

  test("asks no guest that does not run, and counts no ping that was under way when it was paused", async () => {
    const guest = new FakeGuest("web1");
    world.watch(guest);
    await seconds(10.1);
    guest.answersAfterMs = undefined;
    for (let round = 0; round < 5; round += 1) {
      world.become(guest, "Paused");
      const asked = guest.askedAt.length;
      await seconds(600);
      expect(guest.askedAt).toHaveLength(asked);
      world.become(guest, "Running");
      await seconds(0.1);
      expect(guest.askedAt).toHaveLength(asked + 1);
    }
    expect(world.told).toEqual([]);
  });

  test.each<[Event["type"], Record<string, unknown>]>([
    ["VM.RESET", {}],
    ["VM.STOPPED", {}],
    ["VM.RUNNING", { stages: ["CREATE", "RUNNING"] }],
  ])("takes no silence for a failure while a guest starts again after %s", async (type, data) => {
    const guest = await wellGuest();
    guest.answersAfterMs = undefined;
    world.monitor.appended([lifeEvent(guest, type, data)]);
    await seconds(600);
    expect(world.told).toEqual([]);
    guest.answersAfterMs = 5;
    await seconds(10);
    guest.answersAfterMs = undefined;
    await seconds(40);
    expect(world.told).toEqual(["VM.HUNG web1"]);
  });

  test("remembers over a restart what was told, and does not count what was missed before", async () => {
    const [hung, shaky] = [new FakeGuest("hung"), new FakeGuest("shaky")];
    world.watch(hung, shaky);
    await seconds(15);
    hung.answersAfterMs = undefined;
    await seconds(20);
    shaky.answersAfterMs = undefined;
    await seconds(20);
    expect(world.told).toEqual(["VM.HUNG hung"]);
    await world.monitor.close();
    await world.start();
    const unknown = (): Promise<Probe> => Promise.resolve({ type: "unknown", reason: "connecting" });
    hung.probes = unknown;
    shaky.probes = unknown;
    world.watch(hung, shaky);
    await seconds(600);
    expect(world.told).toEqual(["VM.HUNG hung"]);
    hung.probes = () => Promise.resolve({ type: "answered" });
    shaky.probes = hung.probes;
    await seconds(20);
    expect(world.told).toEqual(["VM.HUNG hung", "VM.RECOVERED hung"]);
  });

  test("knows what stands after a restart, before it has seen a guest", async () => {
    const guest = await hungGuest();
    await world.monitor.close();
    await world.start();
    expect(world.monitor.stands(lifeEvent(guest, "VM.HUNG"))).toBe(true);
    guest.answersAfterMs = 5;
    world.watch(guest);
    await seconds(1);
    expect(world.monitor.stands(lifeEvent(guest, "VM.HUNG"))).toBe(false);
  });

  test("lets a crash stand that the inventory has not read yet, and none of a machine that runs again", async () => {
    const guest = await wellGuest();
    const crash = lifeEvent(guest, "VM.CRASHED");
    expect(world.monitor.stands(crash)).toBe(true);
    await seconds(1);
    world.become(guest, "Crashed");
    expect(world.monitor.stands(crash)).toBe(true);
    await seconds(1);
    world.become(guest, "Running");
    expect(world.monitor.stands(crash)).toBe(false);
  });

  test("lets no hang stand of a machine that has ended, whose end is told by itself", async () => {
    const guest = await hungGuest();
    const hang = lifeEvent(guest, "VM.HUNG");
    expect(world.monitor.stands(hang)).toBe(true);
    world.become(guest, "Crashed");
    expect(world.monitor.stands(hang)).toBe(false);
    expect(world.monitor.stands(lifeEvent(guest, "VM.PANIC"))).toBe(true);
  });

  test("lets only the last of a disk's errors stand, and none after a reset", async () => {
    const guest = new FakeGuest("web1");
    world.watch(guest);
    const [first, second] = [1, 2].map((position) => ({ ...lifeEvent(guest, "VM.IO-ERROR"), position }));
    if (first === undefined || second === undefined) throw new Error("no events");
    world.monitor.appended([first]);
    expect(world.monitor.stands(first)).toBe(true);
    world.monitor.appended([second]);
    expect([first, second].map((event) => world.monitor.stands(event))).toEqual([false, true]);
    await seconds(1);
    world.monitor.appended([{ ...lifeEvent(guest, "VM.RESET"), position: 3 }]);
    expect(world.monitor.stands(second)).toBe(false);
  });

  test("lets no failure stand of the machine's last life, though nobody has answered in this one", async () => {
    const guest = await hungGuest();
    const hang = lifeEvent(guest, "VM.HUNG");
    await seconds(1);
    world.monitor.appended([{ ...lifeEvent(guest, "VM.RESET"), position: 2 }]);
    expect(world.monitor.stands(hang)).toBe(false);
    expect(world.monitor.shown(guest).state).toBe("reported");
  });

  test("asks QEMU's guest agent only of guests that did not answer, and not one after the other when one is doubted", async () => {
    const guestAgent = { via: "socket", path: "/qga" } as const;
    const [well, hung] = [new FakeGuest("well", { guestAgent }), new FakeGuest("hung", { guestAgent })];
    world.watch(well, hung);
    await seconds(15);
    world.otherAgentAsked.length = 0;
    world.otherAgent = { type: "missed" };
    hung.answersAfterMs = undefined;
    await seconds(40);
    expect(new Set(world.otherAgentAsked)).toEqual(new Set(["hung"]));
    expect(world.told).toEqual(["VM.HUNG hung"]);
  });

  test("takes the answer of QEMU's guest agent for the guest's", async () => {
    const guest = new FakeGuest("web1", { guestAgent: { via: "socket", path: "/qga" } });
    world.otherAgent = { type: "answered" };
    world.watch(guest);
    await seconds(15);
    guest.answersAfterMs = undefined;
    await seconds(100);
    expect(world.told).toEqual([]);
  });

  test("watches those alone that the configuration names", async () => {
    world.settings = { ...settings, vms: ["web*"] };
    const [web, db] = [new FakeGuest("web1"), new FakeGuest("db1")];
    world.watch(web, db);
    await seconds(30);
    expect(web.askedAt.length).toBeGreaterThan(0);
    expect(db.askedAt).toEqual([]);
    expect(world.monitor.shown(db).isMonitored).toBe(false);
  });

  test("looks at the load of a guest that is well now and then", async () => {
    const guest = new FakeGuest("web1");
    world.watch(guest);
    await seconds(125);
    expect(guest.statsAsked).toBe(3);
  });

  test("has a guest that is doubted looked at, and one that is reported no more", async () => {
    const guest = await wellGuest();
    guest.answersAfterMs = undefined;
    await seconds(100);
    expect(world.doubted).toEqual([guest.vm.id, guest.vm.id]);
  });

  test("asks at the new times when the interval is another", async () => {
    world = await new World().start(() => 0.5);
    world.settings = { ...settings, interval: 1_200_000, threshold: 1 };
    const guest = new FakeGuest("web1");
    world.monitor.apply();
    world.watch(guest);
    await seconds(10);
    expect(guest.askedAt).toEqual([]);
    world.settings = settings;
    world.monitor.apply();
    await seconds(30);
    expect(guest.askedAt).toHaveLength(3);
  });

  test("measures nothing of a guest that is watched no more", async () => {
    const guest = await wellGuest();
    expect(world.monitor.standing(guest).isUp).toBe(true);
    world.settings = { ...settings, vms: [] };
    expect(world.monitor.standing(guest).isUp).toBeUndefined();
  });

  test("lets nothing stand of a guest that was forgotten", async () => {
    const guest = await hungGuest();
    world.monitor.forget(guest.vm.id);
    expect(world.monitor.stands(lifeEvent(guest, "VM.HUNG"))).toBe(false);
  });

  test("forgets a guest with everything it knew", async () => {
    const guest = await wellGuest();
    world.monitor.forget(guest.vm.id);
    const asked = guest.askedAt.length;
    await seconds(60);
    expect(guest.askedAt).toHaveLength(asked);
  });
});
