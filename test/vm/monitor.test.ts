// The monitor and a real guest: what fails in it is told, to Masakari too, and what only looks like a failure is not.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { EventPage, ShownEvent } from "../../shared/api/event-schemas.ts";
import type { VmHealth } from "../../shared/api/monitor-schemas.ts";
import { ManagerUnderTest } from "../integration/support/managers.ts";
import { HOSTNAME, MasakariUnderTest } from "../integration/support/masakari.ts";
import { type Guest, restoreSnapshot } from "./harness/guest.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { waitFor } from "./harness/wait-for.ts";
import { saveGuestWithAgent } from "./support/guests.ts";
import { Host } from "./support/host.ts";
import { agent } from "./support/programs.ts";

const uuid = "172dd6f8-0000-4000-8000-0000000000d4";
const minutes = { timeoutMs: 120_000 };

/** As fast as an emulated guest on a busy machine answers without fail. */
const monitor = { interval: "2s", timeout: "1500ms", threshold: 3 };

let qmpDirectory: string;
let snapshot: Snapshot;
let guest: Guest;
let masakari: MasakariUnderTest;

beforeAll(async () => {
  qmpDirectory = await mkdtemp(join(tmpdir(), "vmm-qmp-"));
  const qmp = `unix:${join(qmpDirectory, "web1.sock")},server=on,wait=off`;
  // A kernel that panics stays where it is: what becomes of the machine is QEMU's to say.
  const kernelArgs = ["panic=0"];
  const qemuArgs = ["-qmp", qmp, "-device", "pvpanic-pci"];
  snapshot = await saveGuestWithAgent({ uuid, kernelArgs, qemuArgs });
});
afterAll(async () => {
  await snapshot.remove();
  await rm(qmpDirectory, { recursive: true });
});

beforeEach(async () => {
  masakari = await MasakariUnderTest.listen();
  masakari.auth = "noauth";
  guest = await restoreSnapshot(snapshot);
  return async () => {
    await guest.stop();
    await masakari[Symbol.asyncDispose]();
  };
});

/** A manager that follows the guest through QMP and has found it well. */
async function watch(): Promise<ManagerUnderTest> {
  const sink = { type: "masakari", name: "ha", url: masakari.url, auth: { method: "none" }, hostname: HOSTNAME };
  const manager = await ManagerUnderTest.start([], {
    inventory: { qmp: [qmpDirectory] },
    events: { sinks: [sink] },
    monitor,
  });
  onTestFinished(() => manager[Symbol.asyncDispose]());
  await untilHealth(manager, "the guest to be well", ({ state }) => state === "healthy");
  return manager;
}

function health(manager: ManagerUnderTest): Promise<VmHealth> {
  return manager.get<VmHealth>(`/v1/vms/${uuid}/monitor`).then(({ body }) => body);
}

async function untilHealth(manager: ManagerUnderTest, what: string, isSo: (health: VmHealth) => boolean) {
  await waitFor(what, async () => isSo(await health(manager)), minutes);
}

async function eventsOf(manager: ManagerUnderTest, ...types: string[]): Promise<ShownEvent[]> {
  const query = types.map((type) => `type=${type}`).join("&");
  const { body } = await manager.get<EventPage>(`/v1/events?vm=${uuid}&${query}`);
  return body.events;
}

async function untilEvent(manager: ManagerUnderTest, type: string, count = 1): Promise<ShownEvent> {
  await waitFor(`${count} of ${type}`, async () => (await eventsOf(manager, type)).length >= count, minutes);
  const last = (await eventsOf(manager, type)).at(-1);
  if (last === undefined) throw new Error(`no ${type}`);
  return last;
}

async function untilNotified(payload: object): Promise<void> {
  await waitFor("a notification", () => masakari.stored.length > 0, minutes);
  expect(masakari.stored).toHaveLength(1);
  expect(masakari.stored[0]).toMatchObject({ type: "VM", hostname: HOSTNAME, payload });
}

/** The guest's state at each of so many further pings. */
async function statesOfPings(manager: ManagerUnderTest, count: number): Promise<Set<string>> {
  const seen = new Map<string, string>();
  await waitFor(
    `${count} pings`,
    async () => {
      const { state, agent: evidence } = await health(manager);
      if (evidence !== undefined) seen.set(evidence.at, state);
      return seen.size > count;
    },
    minutes,
  );
  return new Set(seen.values());
}

const alarms = ["VM.HUNG", "VM.AGENT-MISSING", "VM.APPLICATION-FAILED", "VM.PANIC"];

describe("the monitor tells Masakari", () => {
  test("of an agent that stands still, and of its recovery nobody", async () => {
    const manager = await watch();
    await guest.shell("kill -STOP $(cat /run/agent.pid)");
    const { data } = await untilEvent(manager, "VM.HUNG");
    expect(data).toMatchObject({ misses: 3, channels: { agent: "missed" } });
    const payload = { event: "QEMU_GUEST_AGENT_ERROR", instance_uuid: uuid, vir_domain_event: "STOPPED_FAILED" };
    await untilNotified(payload);
    await guest.shell("kill -CONT $(cat /run/agent.pid)");
    await untilEvent(manager, "VM.RECOVERED");
    expect(masakari.stored).toHaveLength(1);
    await guest.shell("kill -STOP $(cat /run/agent.pid)");
    await untilEvent(manager, "VM.HUNG", 2);
  });

  test("of a kernel that panicked, at once", async () => {
    const manager = await watch();
    await guest.qmp.execute("set-action", { panic: "pause" });
    await guest.qga.spawn(["sh", "-c", "echo c > /proc/sysrq-trigger"]).catch(() => undefined);
    await untilEvent(manager, "VM.PANIC");
    await untilNotified({ event: "LIFECYCLE", instance_uuid: uuid, vir_domain_event: "STOPPED_FAILED" });
  });

  test("of a kernel that panicked where QEMU goes on as if nothing had happened", async () => {
    const manager = await watch();
    await guest.qmp.execute("set-action", { panic: "none" });
    await guest.qga.spawn(["sh", "-c", "echo c > /proc/sysrq-trigger"]).catch(() => undefined);
    await untilEvent(manager, "VM.HUNG");
    await untilNotified({ event: "QEMU_GUEST_AGENT_ERROR", instance_uuid: uuid, vir_domain_event: "STOPPED_FAILED" });
  });

  test("of a QEMU that was killed", async () => {
    await watch();
    await guest.kill();
    await untilNotified({ event: "LIFECYCLE", instance_uuid: uuid, vir_domain_event: "STOPPED_FAILED" });
  });

  test("of an application whose check fails, while its guest is well", async () => {
    const manager = await watch();
    await guest.shell("touch /tmp/well");
    await agent(guest, ["check", "add", "shop", "--every", "1s", "--timeout", "1s", "--", "test", "-e", "/tmp/well"]);
    await untilHealth(manager, "the application to be well", ({ applications }) => {
      return applications.some(({ name, state }) => name === "shop" && state === "healthy");
    });
    await guest.shell("rm /tmp/well");
    const { data } = await untilEvent(manager, "VM.APPLICATION-FAILED");
    expect(data).toMatchObject({ application: "shop", kind: "check" });
    expect(await health(manager)).toMatchObject({
      state: "healthy",
      applications: [{ name: "shop", state: "reported" }],
    });
    await untilNotified({ event: "QEMU_GUEST_AGENT_ERROR", instance_uuid: uuid, vir_domain_event: "STOPPED_FAILED" });
    await guest.shell("touch /tmp/well");
    await untilEvent(manager, "VM.APPLICATION-RECOVERED");
  });

  test("of an application that beats no more", async () => {
    const manager = await watch();
    await agent(guest, ["heartbeat", "worker", "--every", "30s"]);
    await untilHealth(manager, "the application to be well", ({ applications }) => {
      return applications.some(({ name, state }) => name === "worker" && state === "healthy");
    });
    await agent(guest, ["heartbeat", "worker", "--every", "1s"]);
    const { data } = await untilEvent(manager, "VM.APPLICATION-FAILED");
    expect(data).toMatchObject({ application: "worker", kind: "heartbeat" });
  });
});

describe("the monitor takes for no failure", () => {
  test("a machine that is paused and goes on", async () => {
    const manager = await watch();
    await guest.qmp.execute("stop");
    await waitFor("the pause", async () => (await manager.vm(uuid)).status === "Paused", minutes);
    const pausedAt = performance.now();
    await waitFor("longer than it takes to call a guest hung", () => performance.now() - pausedAt > 10_000);
    await guest.qmp.execute("cont");
    expect(await statesOfPings(manager, 4)).not.toContain("reported");
    expect(await eventsOf(manager, ...alarms)).toEqual([]);
  });

  test("a host that is busy with other things", async () => {
    const manager = await watch();
    // The guest is emulated: programs of the same priority would show no more than that it is slow.
    const others = cpus().map(() => spawn("nice", ["-n", "19", process.execPath, "-e", "for (;;);"]));
    onTestFinished(() => {
      for (const other of others) other.kill("SIGKILL");
    });
    expect(await statesOfPings(manager, 6)).not.toContain("reported");
    expect(await eventsOf(manager, ...alarms)).toEqual([]);
  });

  test.each(["reboot", "reset"] as const)("a %s, however long it takes", async (how) => {
    const manager = await watch();
    await guest[how]();
    await untilHealth(manager, "the guest to be well again", ({ state, agent: evidence }) => {
      return state === "healthy" && evidence?.result === "answered";
    });
    expect(await eventsOf(manager, ...alarms)).toEqual([]);
  });

  test("a shutdown from inside", async () => {
    const manager = await watch();
    await guest.powerOff();
    await untilEvent(manager, "VM.STOPPED");
    expect(await eventsOf(manager, ...alarms, "VM.CRASHED")).toEqual([]);
    expect(masakari.stored).toEqual([]);
  });

  test("a channel that somebody else holds, also after a restart of the manager", async () => {
    const manager = await watch();
    await manager.kill("SIGKILL");
    const host = await Host.connect(guest.channelPath);
    await host.hello();
    await manager.start();
    const isHeld = ({ agent: evidence }: VmHealth): boolean => evidence?.reason?.includes("held") === true;
    await untilHealth(manager, "the channel to be known as held", isHeld);
    expect(await statesOfPings(manager, 6)).toEqual(new Set(["healthy"]));
    await host.client.close();
    await untilHealth(manager, "an answer", ({ agent: evidence }) => evidence?.result === "answered");
    expect(await eventsOf(manager, ...alarms)).toEqual([]);
    expect(masakari.stored).toEqual([]);
  });

  test("its own restart, in whose time a guest that hangs stays reported, and recovers", async () => {
    const manager = await watch();
    await guest.shell("kill -STOP $(cat /run/agent.pid)");
    await untilEvent(manager, "VM.HUNG");
    await manager.kill("SIGKILL");
    await manager.start();
    expect(await statesOfPings(manager, 4)).toEqual(new Set(["reported"]));
    await guest.shell("kill -CONT $(cat /run/agent.pid)");
    await untilEvent(manager, "VM.RECOVERED");
    expect(await eventsOf(manager, "VM.HUNG")).toHaveLength(1);
    await waitFor("the notification", () => masakari.stored.length > 0, minutes);
    expect(masakari.stored).toHaveLength(1);
  });
});
