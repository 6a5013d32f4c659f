// Pings of a real qemu-ga in a real guest, on its socket and through a real libvirt: well, hung, held by others, and gone.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { LibvirtSource } from "../../manager/inventory/libvirt.ts";
import { GuestAgentProber } from "../../manager/monitor/guest-agent/guest-agent-prober.ts";
import { type Probe, unknown } from "../../manager/monitor/probe.ts";
import type { Vm } from "../../manager/vms/vm.ts";
import { pause } from "../../shared/abort.ts";
import { RunningInventory } from "../integration/manager/inventory/recorder.ts";
import { LibvirtUnderTest } from "../integration/support/libvirt.ts";
import { type Guest, startGuest } from "./harness/guest.ts";
import { guestImage } from "./harness/image/guest-image.ts";
import { waitFor } from "./harness/wait-for.ts";
import { defineGuest } from "./support/libvirt-guest.ts";

const never = new AbortController().signal;
const uuid = "172dd6f8-0000-4000-8000-0000000000c4";
const answered: Probe = { type: "answered" };
const missed: Probe = { type: "missed" };
const minutes = { timeoutMs: 120_000 };

/** Long enough for an emulated guest, and shorter than what libvirt gives an agent that hangs. */
const timeoutMs = 2_000;
const intervalMs = 7_000;

let bundleDir: string;
let prober: GuestAgentProber;

beforeAll(async () => {
  bundleDir = await mkdtemp(join(tmpdir(), "vmm-stub-"));
  await writeFile(join(bundleDir, "agent.js"), "");
});
afterAll(() => rm(bundleDir, { recursive: true }));

beforeEach(() => {
  prober = new GuestAgentProber({ intervalMs: () => intervalMs });
  return () => prober.close();
});

/** Whether it was found, and how long that took: never much longer than its time. */
async function probe(vm: Vm): Promise<Probe> {
  const startedAt = performance.now();
  const found = await prober.probe(vm, timeoutMs, never);
  expect(performance.now() - startedAt).toBeLessThan(timeoutMs + 1_500);
  return found;
}

async function untilAnswered(vm: Vm): Promise<void> {
  await waitFor("an answer from qemu-ga", async () => (await probe(vm)).type === "answered", minutes);
}

describe("a guest agent on its socket", () => {
  // The harness has its own on the first port; a second one is asked here.
  const port = "org.vmmessage.qemu-ga.0";
  let guest: Guest;
  let pid: number;
  let vm: Vm;

  beforeAll(async () => {
    const path = join(bundleDir, "qga.sock");
    const chardev = `socket,id=qga2,path=${path},server=on,wait=off`;
    const qemuArgs = ["-chardev", chardev, "-device", `virtserialport,chardev=qga2,name=${port},id=p_qga2`];
    guest = await startGuest({ bundleDir, uuid, qemuArgs });
    await guest.shell("mkdir /run/second");
    const device = (await guest.findPort(port)) ?? "missing";
    pid = await guest.qga.spawn(["qemu-ga", "-m", "virtio-serial", "-p", device, "-t", "/run/second"]);
    const guestAgent = { via: "socket", path, isOpenInGuest: true } as const;
    vm = { id: uuid, name: "web1", status: "Running", host: "host1", channelPath: undefined, guestAgent };
  });
  afterAll(() => guest.stop());

  test("answers, is missed while it hangs, and answers again", async () => {
    await untilAnswered(vm);
    await guest.shell(`kill -STOP ${pid}`);
    expect([await probe(vm), await probe(vm), await probe(vm)]).toEqual([missed, missed, missed]);
    await guest.shell(`kill -CONT ${pid}`);
    await untilAnswered(vm);
    expect(await probe(vm)).toEqual(answered);
  });

  test("is unknown while another program has it, and found well behind what that one left half said", async () => {
    await untilAnswered(vm);
    const script = `require("net").connect(process.argv[1], function () { this.write('{"exec', () => console.log()) }).resume()`;
    const other = spawn(process.execPath, ["-e", script, join(bundleDir, "qga.sock")], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void other.kill("SIGKILL"));
    await once(other.stdout, "data");
    expect(await probe(vm)).toMatchObject({
      type: "unknown",
      reason: expect.stringMatching(/has its socket$/) as string,
    });
    const ended = once(other, "exit");
    other.kill();
    await ended;
    await untilAnswered(vm);
  });
});

describe("a guest agent through libvirt", () => {
  const ports = ["org.vmmessage.agent.0", "org.qemu.guest_agent.0"];
  let libvirt: LibvirtUnderTest;
  let inventory: RunningInventory;

  beforeAll(async () => {
    libvirt = await LibvirtUnderTest.start();
    const channels = ports.map((name) => `<channel type='unix'><target type='virtio' name='${name}'/></channel>`);
    await defineGuest(libvirt, await guestImage(console.error, bundleDir), {
      name: "real guest",
      uuid,
      channels: channels.join(""),
    });
    // As the manager's main file has it.
    vi.stubEnv("LC_ALL", "C");
    inventory = new RunningInventory([new LibvirtSource({ uri: libvirt.uri, host: "host1" })]);
    await libvirt.virsh("start", uuid);
  });
  afterAll(async () => {
    await inventory[Symbol.asyncDispose]();
    await libvirt[Symbol.asyncDispose]();
    vi.unstubAllEnvs();
  });

  const isOpen = (): boolean | undefined => inventory.vm(uuid)?.guestAgent?.isOpenInGuest;

  /** As the inventory has it at this moment. */
  function described(): Vm {
    const vm = inventory.vm(uuid);
    if (vm === undefined) throw new Error("the inventory has lost the VM");
    return vm;
  }

  /** A shell script in the guest, which is not waited for: what it does may keep qemu-ga from answering. */
  async function runInGuest(script: string): Promise<void> {
    const command = { execute: "guest-exec", arguments: { path: "/bin/sh", arg: ["-c", script] } };
    await libvirt.virsh("qemu-agent-command", `--domain=${uuid}`, JSON.stringify(command));
  }

  /** The next rounds as the monitor has them, an interval apart. */
  async function rounds(count: number): Promise<Probe[]> {
    const probes: Probe[] = [];
    let dueAt = performance.now();
    for (let round = 0; round < count; round += 1) {
      dueAt += intervalMs;
      await vi.waitUntil(() => performance.now() >= dueAt, { timeout: 2 * intervalMs });
      probes.push(await probe(described()));
    }
    return probes;
  }

  /** Another program's command that the guest does not answer now. */
  async function commandUnderWay(): Promise<{ command: Promise<unknown> }> {
    for (;;) {
      const command = libvirt.virsh("domtime", uuid);
      const isSlow = await Promise.race([command.then(() => false), pause(1_000, never).then(() => true)]);
      if (isSlow) return { command };
    }
  }

  test("is known to run soon after the guest has opened its port, and answers", async () => {
    await waitFor("qemu-ga's port to be open", () => Promise.resolve(isOpen()), minutes);
    await untilAnswered(described());
    expect(inventory.changes.at(-1)).toMatchObject({
      isResync: false,
      previous: { guestAgent: { isOpenInGuest: false } },
    });
  });

  test("is missed in each round while it hangs, and found well in the first after that", async () => {
    await untilAnswered(described());
    await runInGuest("p=$(pidof qemu-ga); sleep 1; kill -STOP $p; sleep 35; kill -CONT $p");
    await waitFor("the guest agent to hang", async () => (await probe(described())).type === "missed", minutes);
    expect(await rounds(3)).toEqual([missed, missed, missed]);
    await untilAnswered(described());
  });

  test("is unknown while another program's command is under way", async () => {
    await untilAnswered(described());
    await runInGuest("p=$(pidof qemu-ga); sleep 1; kill -STOP $p; sleep 15; kill -CONT $p");
    const { command } = await commandUnderWay();
    const busy = unknown("libvirt has not answered yet; it may be asked something else");
    expect([await probe(described()), ...(await rounds(1))]).toEqual([busy, busy]);
    await command;
    await untilAnswered(described());
  });

  test("that ends is no failure: nothing has its port open", async () => {
    await untilAnswered(described());
    await runInGuest("p=$(pidof qemu-ga); sleep 1; kill $p");
    await waitFor("qemu-ga's port to be closed", () => Promise.resolve(isOpen() === false), minutes);
    expect(await probe(described())).toEqual(unknown("qemu-ga does not run in the guest"));
  });
});
