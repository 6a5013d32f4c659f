import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LibvirtPinger } from "../../../../../manager/monitor/guest-agent/libvirt-pinger.ts";
import { verdictOf } from "../../../../../manager/monitor/guest-agent/virsh-ping.ts";
import { VirshQueue } from "../../../../../manager/monitor/guest-agent/virsh-queue.ts";
import { type Probe, unknown } from "../../../../../manager/monitor/probe.ts";

const TIMEOUT_MS = 2_000;
const INTERVAL_MS = 10_000;
const NEVER = new AbortController().signal;
const answered: Probe = { type: "answered" };
const missed: Probe = { type: "missed" };

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** As libvirt 9.0 does: two seconds for an agent that it is in step with, five for one that is to synchronize first. */
class FakeLibvirt {
  guest: "answers" | "hangs" = "answers";
  /** Another program's command is under way until then. */
  busyUntil = 0;
  commands = 0;
  #isInStep = false;

  async ping(timeoutSeconds: number): Promise<Probe> {
    this.commands += 1;
    const waitMs = this.busyUntil - performance.now();
    if (waitMs > 0) await after(Math.min(waitMs, 30_000));
    if (waitMs > 30_000) return unknown("another program asks qemu-ga something");
    await after(50);
    if (this.guest === "answers") {
      this.#isInStep = true;
      return answered;
    }
    await after(this.#isInStep ? timeoutSeconds * 1_000 : 5_000);
    this.#isInStep = false;
    return missed;
  }
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

class Rounds {
  readonly libvirt = new FakeLibvirt();
  readonly queue = new VirshQueue();
  readonly pinger = new LibvirtPinger({
    ping: (seconds) => this.libvirt.ping(seconds),
    queue: this.queue,
    intervalMs: () => INTERVAL_MS,
    threshold: () => 3,
  });

  /** Others have every slot for so long. */
  occupy(ms: number): void {
    for (let slot = 0; slot < 8; slot += 1) void this.queue.take(() => after(ms), NEVER);
  }

  /** What so many rounds found, each within its time. */
  async run(count: number, timeoutMs = TIMEOUT_MS): Promise<Probe[]> {
    const probes: Probe[] = [];
    for (let round = 0; round < count; round += 1) {
      const startedAt = performance.now();
      const probing = this.pinger.ping(timeoutMs, NEVER).then((probe) => {
        expect(performance.now() - startedAt).toBeLessThanOrEqual(timeoutMs + 500);
        probes.push(probe);
      });
      await vi.advanceTimersByTimeAsync(INTERVAL_MS);
      await probing;
    }
    return probes;
  }
}

describe("a guest agent behind libvirt", () => {
  it("that answers is asked once a round", async () => {
    const rounds = new Rounds();
    expect(await rounds.run(3)).toEqual([answered, answered, answered]);
    expect(rounds.libvirt.commands).toBe(3);
  });

  it("that hangs is missed in every round, though libvirt takes longer than a round's time", async () => {
    const rounds = new Rounds();
    await rounds.run(1);
    rounds.libvirt.guest = "hangs";
    expect(await rounds.run(5)).toEqual([missed, missed, missed, missed, missed]);
  });

  it("that answers again has answered in that round", async () => {
    const rounds = new Rounds();
    await rounds.run(1);
    rounds.libvirt.guest = "hangs";
    await rounds.run(3);
    rounds.libvirt.guest = "answers";
    expect(await rounds.run(2)).toEqual([answered, answered]);
  });

  it("that libvirt is out of step with is missed a round later, not never", async () => {
    const rounds = new Rounds();
    rounds.libvirt.guest = "hangs";
    expect(await rounds.run(3)).toMatchObject([{ type: "unknown" }, missed, missed]);
  });

  it("that another program keeps busy is unknown for as long as that takes", async () => {
    const rounds = new Rounds();
    await rounds.run(1);
    rounds.libvirt.busyUntil = performance.now() + 65_000;
    const probes = await rounds.run(7);
    expect(probes.every(({ type }) => type === "unknown")).toBe(true);
    expect(await rounds.run(2)).toEqual([answered, answered]);
  });

  it("has one command at a time, however many rounds wait for it", async () => {
    const rounds = new Rounds();
    rounds.libvirt.busyUntil = performance.now() + 29_000;
    await rounds.run(3);
    expect(rounds.libvirt.commands).toBe(1);
  });

  it("that was missed long ago is not missed now", async () => {
    const rounds = new Rounds();
    await rounds.run(1);
    rounds.libvirt.guest = "hangs";
    await rounds.run(1);
    await vi.advanceTimersByTimeAsync(60_000);
    rounds.libvirt.busyUntil = performance.now() + 20_000;
    expect(await rounds.run(1)).toMatchObject([{ type: "unknown" }]);
  });

  it("that has hung for long is asked once a minute, until it answers", async () => {
    const rounds = new Rounds();
    await rounds.run(1);
    rounds.libvirt.guest = "hangs";
    expect(await rounds.run(6)).toEqual([missed, missed, missed, missed, missed, missed]);
    const before = rounds.libvirt.commands;
    const rarely = unknown("it has hung for long, and is asked once a minute");
    expect(await rounds.run(5)).toEqual([rarely, rarely, rarely, rarely, rarely]);
    await rounds.run(36);
    expect(rounds.libvirt.commands - before).toBeLessThanOrEqual(7);
    rounds.libvirt.guest = "answers";
    await rounds.run(8);
    expect(await rounds.run(3)).toEqual([answered, answered, answered]);
  });

  it("that waits for its turn is unknown for as long as that takes, and what it says then counts in the next round", async () => {
    const rounds = new Rounds();
    await rounds.run(1);
    rounds.occupy(15_000);
    const waiting = unknown("many guest agents are asked, and others are before it");
    expect(await rounds.run(2)).toEqual([waiting, waiting]);
    expect(rounds.libvirt.commands).toBe(2);
    rounds.occupy(15_000);
    expect(await rounds.run(2)).toEqual([answered, waiting]);
    rounds.libvirt.guest = "hangs";
    expect(await rounds.run(2)).toMatchObject([{ type: "missed" }, { type: "missed" }]);
  });

  it("keeps one place while it waits, and gives it up when it is closed, which may happen twice", async () => {
    const rounds = new Rounds();
    rounds.occupy(60_000);
    await rounds.run(3);
    rounds.pinger.close();
    rounds.pinger.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(rounds.libvirt.commands).toBe(0);
  });

  it("is waited for no longer when that is broken off, and its command runs to its end", async () => {
    const rounds = new Rounds();
    rounds.libvirt.guest = "hangs";
    const stop = new AbortController();
    const probing = rounds.pinger.ping(TIMEOUT_MS, stop.signal);
    stop.abort();
    expect(await probing).toMatchObject({ type: "unknown" });
    await vi.advanceTimersByTimeAsync(INTERVAL_MS);
    expect(await rounds.run(1)).toEqual([missed]);
  });

  it("has as many whole seconds as the time-out has, and one at least", async () => {
    const rounds = new Rounds();
    const ping = vi.spyOn(rounds.libvirt, "ping");
    for (const timeoutMs of [100, 1_999, 2_000, 7_500]) await rounds.run(1, timeoutMs);
    expect(ping.mock.calls).toEqual([[1], [1], [2], [7]]);
  });
});

it.each<[said: string, means: Probe]>([
  ["Guest agent is not responding: Guest agent not available for now", missed],
  ["Guest agent is not responding: guest agent didn't respond to synchronization within '5' seconds", missed],
  ["Guest agent is not responding: QEMU guest agent is not connected", unknown("qemu-ga does not run in the guest")],
  ["argument unsupported: QEMU guest agent is not configured", unknown("the VM has no channel for qemu-ga")],
  [
    "Guest agent is not responding: Guest agent disappeared while executing command",
    unknown("qemu-ga ended while it was asked"),
  ],
  [
    "Timed out during operation: cannot acquire state change lock (held by agent=qemuDispatchDomainAgentCommand)",
    unknown("another program asks qemu-ga something"),
  ],
  ["Requested operation is not valid: domain is not running", unknown("the VM does not run")],
  ["internal error: unable to execute QEMU agent command 'guest-ping': it has been disabled", answered],
  ["failed to get domain 'web1'", unknown("libvirt: failed to get domain 'web1'")],
  ["Guest agent is not responding: something new", unknown("libvirt: Guest agent is not responding: something new")],
])("libvirt's '%s' is read", (said, means) => {
  expect(verdictOf(`libvirt: ${said}`)).toEqual(means);
});
