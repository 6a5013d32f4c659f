/**
 * Whatever VMs, managers and their broker do: never two managers hold one VM, and when all is quiet, each VM is held where it
 * runs, and each message is at one manager, where its VM is.
 */
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Strength } from "../../../../../manager/peers/whereabouts.ts";
import { NOW } from "../../store/tables.ts";
import { Host } from "../hosts.ts";
import { type Fate, MemoryBroker } from "../memory-broker.ts";

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
});

afterEach(() => {
  vi.useRealTimers();
});

const vms = [1, 2, 3].map((number) => ({ id: `${number}1111111-1111-4111-8111-111111111111`, name: `web${number}` }));
const names = ["a", "b", "c"];
const fates: Fate[] = ["arrives", "is lost", "is unconfirmed and arrives", "is unconfirmed and lost"];

/** Longer than every interval, pause and silence. */
const QUIET_MS = 150_000;

const vm = fc.constantFrom(...vms);
const host = fc.nat(names.length - 1);
const step = fc.oneof(
  fc.record({ type: fc.constant("start" as const), vm, host, strength: fc.constantFrom<Strength>(2, 3) }),
  fc.record({ type: fc.constant("stop" as const), vm }),
  fc.record({ type: fc.constant("migrate" as const), vm, host }),
  fc.record({ type: fc.constant("define" as const), vm, host, strength: fc.constantFrom<Strength>(0, 1) }),
  fc.record({ type: fc.constant("send" as const), vm, host }),
  fc.record({ type: fc.constant("send" as const), vm, host }),
  fc.record({ type: fc.constant("deliver" as const), vm }),
  fc.record({ type: fc.constant("cable" as const), host }),
  fc.record({ type: fc.constant("manager" as const), host }),
  fc.record({ type: fc.constant("weather" as const), fates: fc.array(fc.constantFrom(...fates), { maxLength: 6 }) }),
  fc.record({ type: fc.constant("wait" as const), ms: fc.constantFrom(1, 300, 2_000, 12_000, 40_000) }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Vm = (typeof vms)[number];

class World {
  readonly broker = new MemoryBroker();
  readonly hosts = names.map((name) => new Host(name, this.broker));
  readonly #runsAt = new Map<string, Host>();
  /** Hosts that a VM has left and that have not seen it yet. */
  readonly #left = new Map<Host, Vm>();
  readonly #away = new Set<Host>();
  readonly sent = new Map<string, Vm>();
  readonly delivered = new Set<string>();

  runsAt(vm: Vm): Host | undefined {
    return this.#runsAt.get(vm.id);
  }

  async take(step: Step): Promise<void> {
    this.#act(step);
    await vi.advanceTimersByTimeAsync(step.type === "wait" ? step.ms : 1);
    for (const vm of vms) expect(this.holders(vm).length).toBeLessThan(2);
  }

  async becomeQuiet(): Promise<void> {
    this.broker.fateOf = () => "arrives";
    for (const host of this.hosts) if (!host.isRunning) host.start();
    for (const host of this.#away) host.running.transport.reconnect();
    this.#away.clear();
    this.#seeWhatLeft();
    await vi.advanceTimersByTimeAsync(QUIET_MS);
  }

  holders(vm: Vm): string[] {
    return this.hosts.filter((host) => host.holds(vm)).map(({ name }) => name);
  }

  #act(step: Step): void {
    switch (step.type) {
      case "start":
        if (this.runsAt(step.vm) === undefined) this.#run(step.vm, this.#host(step.host), step.strength);
        return;
      case "stop":
        this.runsAt(step.vm)?.vms.set(step.vm, 1);
        this.#runsAt.delete(step.vm.id);
        return;
      case "migrate":
        this.#migrate(step.vm, this.#host(step.host));
        return;
      case "define":
        if (this.runsAt(step.vm) !== this.#host(step.host)) this.#host(step.host).vms.set(step.vm, step.strength);
        return;
      case "send":
        this.#send(step.vm, this.#host(step.host));
        return;
      case "deliver":
        this.#deliver(step.vm);
        return;
      case "cable":
        this.#plug(this.#host(step.host));
        return;
      case "manager":
        this.#startOrKill(this.#host(step.host));
        return;
      case "weather":
        this.#changeWeather(step.fates);
        return;
      case "wait":
        this.#seeWhatLeft();
        return;
    }
  }

  #host(index: number): Host {
    const host = this.hosts[index];
    if (host === undefined) throw new Error(`there is no host ${index}`);
    return host;
  }

  #run(vm: Vm, host: Host, strength: Strength): void {
    host.vms.set(vm, strength);
    this.#runsAt.set(vm.id, host);
  }

  /** For a while the host that it leaves has the link to a guest that does not answer. */
  #migrate(vm: Vm, to: Host): void {
    const from = this.runsAt(vm);
    if (from === undefined || from === to) return;
    this.#seeWhatLeft();
    from.vms.set(vm, from.vms.byId(vm.id)?.strength ?? 2, false);
    this.#left.set(from, vm);
    this.#run(vm, to, 3);
  }

  #seeWhatLeft(): void {
    for (const [host, vm] of this.#left) if (this.runsAt(vm) !== host) host.vms.set(vm, 0);
    this.#left.clear();
  }

  /** As a user at that host does, whose request is done there when nobody else has the VM. */
  #send(vm: Vm, host: Host): void {
    if (!host.isRunning || host.vms.byId(vm.id) === undefined) return;
    if (!["here", "contested"].includes(host.running.claims.of(vm.id).type)) return;
    const messageId = `m${this.sent.size}`;
    this.sent.set(messageId, vm);
    host.keep(vm, messageId);
  }

  #deliver(vm: Vm): void {
    const host = this.runsAt(vm);
    if (host?.isRunning !== true || host.vms.byId(vm.id)?.strength !== 3) return;
    const messageId = host.deliver(vm);
    if (messageId !== undefined) this.delivered.add(messageId);
  }

  #plug(host: Host): void {
    if (!host.isRunning) return;
    if (this.#away.delete(host)) {
      host.running.transport.reconnect();
      return;
    }
    this.#away.add(host);
    host.running.transport.disconnect("the cable is out");
  }

  #startOrKill(host: Host): void {
    if (!host.isRunning) {
      host.start();
      return;
    }
    this.#away.delete(host);
    host.kill();
  }

  #changeWeather(fates: readonly Fate[]): void {
    let sent = 0;
    this.broker.fateOf = () => fates[(sent += 1) % (fates.length + 1)] ?? "arrives";
  }
}

test("managers find together again, and lose no message", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      const world = new World();
      for (const step of steps) await world.take(step);
      await world.becomeQuiet();
      for (const vm of vms) {
        const host = world.runsAt(vm);
        if (host === undefined) continue;
        expect(world.holders(vm)).toEqual([host.name]);
        const places = world.hosts.map((other) => other.place(vm));
        expect(places).toEqual(world.hosts.map((other) => (other === host ? "here" : `at ${host.name}`)));
      }
      for (const [messageId, vm] of world.sent) {
        const pendingAt = world.hosts.filter((host) => host.pending(vm).includes(messageId)).map(({ name }) => name);
        const knownAt = world.hosts.filter(({ tables }) => tables.receipt(messageId) !== undefined);
        const host = world.runsAt(vm);
        if (world.delivered.has(messageId)) expect(knownAt.length).toBeGreaterThan(0);
        else expect(knownAt).toHaveLength(1);
        if (host !== undefined) expect(pendingAt.filter((name) => name !== host.name)).toEqual([]);
        if (!world.delivered.has(messageId)) expect(pendingAt).toHaveLength(1);
      }
      for (const running of world.hosts) running.kill();
      vi.clearAllTimers();
    }),
    { numRuns: 40 },
  );
});
