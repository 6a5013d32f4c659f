/** How long it takes until guests are told of that have nothing but qemu-ga behind libvirt: the real monitor and prober. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parseConfig } from "../../../../../manager/config.ts";
import type { NewEvent } from "../../../../../manager/events/event.ts";
import { GuestAgentProber } from "../../../../../manager/monitor/guest-agent/guest-agent-prober.ts";
import { Monitor, type MonitoredVm } from "../../../../../manager/monitor/monitor.ts";
import { type Probe, unknown } from "../../../../../manager/monitor/probe.ts";
import type { Vm } from "../../../../../manager/vms/vm.ts";

const settings = parseConfig({}, "the defaults").monitor;
const seconds = (count: number): Promise<unknown> => vi.advanceTimersByTimeAsync(count * 1_000);

/** Numbers from 0 to 1, the same ones in each run of the tests. */
function newRandom(): () => number {
  let state = 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** As libvirt 9.0: 50 ms for an agent that answers, two seconds and some for the first miss, five and some for each after. */
class FakeLibvirt {
  readonly hung = new Set<string>();
  readonly startedAt: number[] = [];
  readonly asked = new Map<string, number>();
  most = 0;
  takes = { firstMs: 2_000, laterMs: 5_000, spreadMs: 500 };
  readonly #outOfStep = new Set<string>();
  readonly #random: () => number;
  #running = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  readonly ping = async (_uri: string, id: string): Promise<Probe> => {
    this.startedAt.push(performance.now());
    this.asked.set(id, (this.asked.get(id) ?? 0) + 1);
    this.#running += 1;
    this.most = Math.max(this.most, this.#running);
    const isHung = this.hung.has(id);
    const { firstMs, laterMs, spreadMs } = this.takes;
    const hangsMs = (this.#outOfStep.has(id) ? laterMs : firstMs) + spreadMs * this.#random();
    await new Promise((resolve) => setTimeout(resolve, isHung ? hangsMs : 50));
    this.#running -= 1;
    if (isHung) this.#outOfStep.add(id);
    else this.#outOfStep.delete(id);
    return { type: isHung ? "missed" : "answered" };
  };
}

function newGuest(index: number): MonitoredVm {
  const id = `vm${index}`;
  const guestAgent = { via: "libvirt", uri: "qemu:///system", isOpenInGuest: true } as const;
  const vm: Vm = { id, name: id, status: "Running", host: "here", channelPath: undefined, guestAgent };
  return {
    vm,
    ref: { id, name: id },
    statusSince: 0,
    isForgotten: false,
    probe: () => Promise.resolve(unknown("the VM has no channel", true)),
    stats: () => Promise.reject(new Error("none")),
  };
}

/** Guests, all well, each with times of its own. */
class Fleet {
  readonly libvirt: FakeLibvirt;
  readonly guests: MonitoredVm[];
  readonly told: { type: string; id: string; at: number }[] = [];
  readonly #prober: GuestAgentProber;
  #monitor!: Monitor;

  static async of(size: number, random = newRandom()): Promise<Fleet> {
    const fleet = new Fleet(size, random);
    await fleet.#start(random);
    return fleet;
  }

  private constructor(size: number, random: () => number) {
    this.libvirt = new FakeLibvirt(random);
    this.guests = Array.from({ length: size }, (_, index) => newGuest(index));
    const { interval, threshold } = settings;
    const options = { intervalMs: () => interval, threshold: () => threshold, virshPing: this.libvirt.ping };
    this.#prober = new GuestAgentProber(options);
  }

  /** Answers when, in milliseconds. */
  hang(count: number): number {
    for (const { vm } of this.guests.slice(0, count)) this.libvirt.hung.add(vm.id);
    return performance.now();
  }

  answer(): number {
    this.libvirt.hung.clear();
    return performance.now();
  }

  /** Seconds from a moment on, the shortest first. */
  timesTold(type: string, since: number): number[] {
    const times = this.told.filter((event) => event.type === type).map(({ at }) => (at - since) / 1_000);
    return times.toSorted((one, other) => one - other);
  }

  states(): string[] {
    return this.guests.map((guest) => this.#monitor.shown(guest).state);
  }

  async close(): Promise<void> {
    const closed = Promise.all([this.#monitor.close(), this.#prober.close()]);
    await vi.runAllTimersAsync();
    await closed;
  }

  async #start(random: () => number): Promise<void> {
    const note = (events: readonly NewEvent[]): void => {
      const at = performance.now();
      this.told.push(...events.map(({ type, resourceUUID: id }) => ({ type, id, at })));
    };
    const nothing = (): void => undefined;
    this.#monitor = await Monitor.open({
      store: {
        loadMonitors: () => Promise.resolve([]),
        appendEvents: (events) => {
          note(events);
          return Promise.resolve([]);
        },
      },
      settings: () => settings,
      guestAgents: this.#prober,
      pinged: nothing,
      doubted: nothing,
      log: { info: nothing, warn: nothing, error: nothing },
      failed: (error) => {
        throw error;
      },
      random,
    });
    for (const guest of this.guests) this.#monitor.changed(guest);
  }
}

let fleet: Fleet;

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
});

afterEach(async () => {
  await fleet.close();
  vi.useRealTimers();
});

describe("guests with nothing but qemu-ga behind libvirt, which hang at once,", () => {
  test.each([
    { hanging: 1, withinS: 35 },
    { hanging: 8, withinS: 45 },
    { hanging: 30, withinS: 80 },
    { hanging: 100, withinS: 200 },
  ])("are all told of: $hanging within $withinS s", async ({ hanging, withinS }) => {
    fleet = await Fleet.of(100);
    await seconds(60);
    const since = fleet.hang(hanging);
    await seconds(600);
    const times = fleet.timesTold("VM.HUNG", since);
    expect(times).toHaveLength(hanging);
    expect(times.at(-1)).toBeLessThan(withinS);
    expect(fleet.libvirt.most).toBeLessThanOrEqual(8);
  });

  test("are all told of, though libvirt takes the same time for each of them", async () => {
    fleet = await Fleet.of(100);
    fleet.libvirt.takes = { firstMs: 2_050, laterMs: 5_050, spreadMs: 0 };
    await seconds(60);
    const since = fleet.hang(100);
    await seconds(600);
    const times = fleet.timesTold("VM.HUNG", since);
    expect(times).toHaveLength(100);
    expect(times.at(-1)).toBeLessThan(200);
  });

  test("are told of once, and heard within minutes when they answer again", async () => {
    fleet = await Fleet.of(100);
    await seconds(60);
    fleet.hang(100);
    await seconds(1_200);
    expect(fleet.told).toHaveLength(100);
    const since = fleet.answer();
    await seconds(150);
    const times = fleet.timesTold("VM.RECOVERED", since);
    expect(times).toHaveLength(100);
    expect(times.at(-1)).toBeLessThan(120);
  });

  test("leave turns to one that hangs after them", async () => {
    fleet = await Fleet.of(101);
    await seconds(60);
    fleet.hang(100);
    await seconds(600);
    const since = fleet.hang(101);
    await seconds(150);
    const [at, ...others] = fleet.timesTold("VM.HUNG", since).filter((time) => time > 0);
    expect(at).toBeLessThan(60);
    expect(others).toEqual([]);
  });
});

describe("three hundred guests with nothing but qemu-ga behind libvirt", () => {
  test("take ten processes in a second, and each its turn", async () => {
    fleet = await Fleet.of(300);
    await seconds(305);
    const { startedAt, asked } = fleet.libvirt;
    const inASecond = startedAt.map((at) => startedAt.filter((other) => other > at - 1_000 && other <= at).length);
    expect(Math.max(...inASecond)).toBe(10);
    const counts = [...asked.values()];
    expect(counts).toHaveLength(300);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(9);
    expect(Math.max(...counts)).toBeLessThanOrEqual(11);
    expect(new Set(fleet.states())).toEqual(new Set(["healthy"]));
    expect(fleet.told).toEqual([]);
  });

  test("are told of as late as that takes when one hangs, and the others never", async () => {
    fleet = await Fleet.of(300);
    await seconds(100);
    const since = fleet.hang(1);
    await seconds(200);
    const times = fleet.timesTold("VM.HUNG", since);
    expect(times).toHaveLength(1);
    expect(times[0]).toBeLessThan(3 * (10 + 30.7 + 5.5) + 10);
    expect(fleet.told).toHaveLength(1);
  });
});
