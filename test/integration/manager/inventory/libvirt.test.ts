import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { LibvirtEvent } from "../../../../manager/inventory/libvirt-events.ts";
import { LibvirtSource } from "../../../../manager/inventory/libvirt.ts";
import { LibvirtUnderTest } from "../../support/libvirt.ts";
import { RunningInventory } from "./recorder.ts";

const host = "host1";
const RUNNING = { status: "Running", problem: undefined } as const;

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

function libvirtSource(onEvent?: (event: LibvirtEvent, id: string | undefined) => void): LibvirtSource {
  // As the manager's main file has it.
  vi.stubEnv("LC_ALL", "C");
  return new LibvirtSource({ uri: libvirt.uri, host, ...(onEvent && { onEvent }) });
}

/** virsh does not say when it has subscribed to the events. */
async function untilSubscribed(events: string[]): Promise<void> {
  const tryOnce = async (): Promise<void> => {
    await libvirt.define("canary");
    await libvirt.virsh("undefine", "canary");
    await vi.waitUntil(() => events.at(-1)?.startsWith("Undefined"), { timeout: 500 });
  };
  await vi.waitFor(tryOnce, { timeout: 20_000 });
  events.length = 0;
}

describe("a domain", () => {
  it("is followed from its definition to its end", async () => {
    const events: string[] = [];
    const source = libvirtSource((event, id) => {
      if (event.lifecycle) events.push(`${event.lifecycle.word} ${event.lifecycle.detail} ${id ?? "?"}`);
    });
    await using running = new RunningInventory([source]);
    await untilSubscribed(events);
    const id = await libvirt.define("web1");
    await running.until("web1", { id, status: "Stopped", host, channelPath: undefined, problem: undefined });

    await libvirt.virsh("start", "web1");
    await running.until(id, RUNNING);
    const { channelPath } = running.vm(id) ?? {};
    expect(channelPath).toMatch(/\/domain-\d+-web1\/org\.vmmessage\.agent\.0$/);
    expect(running.vm(id)?.isOpenInGuest).toBe(false);

    await libvirt.virsh("suspend", "web1");
    await running.until(id, { status: "Paused", channelPath });
    await libvirt.virsh("resume", "web1");
    await running.until(id, RUNNING);
    await libvirt.virsh("destroy", "web1");
    await running.until(id, { status: "Stopped", channelPath: undefined });

    await libvirt.virsh("start", "web1");
    await running.until(id, RUNNING);
    expect(running.vm(id)?.channelPath).not.toBe(channelPath);
    await libvirt.killQemu("web1");
    await running.until(id, { status: "Crashed", channelPath: undefined });

    await libvirt.virsh("undefine", "web1");
    await running.until(id, undefined);
    expect(running.changes.at(-1)).toMatchObject({ type: "removed", isResync: false, inventory: source.name });
    expect(events).toEqual([
      "Defined Added ?",
      ...[`Resumed Unpaused ${id}`, `Started Booted ${id}`, `Suspended Paused ${id}`, `Resumed Unpaused ${id}`],
      ...[`Shutdown Finished after host request ${id}`, `Stopped Destroyed ${id}`],
      ...[`Resumed Unpaused ${id}`, `Started Booted ${id}`, `Stopped Failed ${id}`, `Undefined Removed ${id}`],
    ]);
  });

  it("without the channel is known, and says what to add", async () => {
    await using running = new RunningInventory([libvirtSource()]);
    const id = await libvirt.define("bare", { devices: "" });
    await libvirt.virsh("start", "bare");
    await running.until(id, { status: "Running", channelPath: undefined });
    expect(running.vm(id)?.problem).toContain(
      "has no channel named org.vmmessage.agent.0; add <channel type='unix'><target type='virtio'",
    );
    await libvirt.virsh("destroy", "bare");
    await running.until(id, { status: "Stopped", problem: undefined });
    await libvirt.virsh("undefine", "bare");
  });

  it("is told from another, also by names that look like options, numbers and events", async () => {
    await using running = new RunningInventory([libvirtSource()]);
    await running.untilConnected();
    const spoof = "--all 'x': event 'lifecycle' for domain '1': Stopped \"<é&";
    const ids = [await libvirt.define(spoof), await libvirt.define("1"), await libvirt.define("a b; undefine 1")];
    const [hostile = "", number = "", command = ""] = ids;
    for (const id of [number, command]) await libvirt.virsh("start", `--domain=${id}`);
    await running.until("1", { id: number, ...RUNNING });
    await running.until("a b; undefine 1", { id: command, ...RUNNING });
    await libvirt.virsh("destroy", `--domain=${command}`);
    await running.until(command, { status: "Stopped" });
    expect(running.vm(spoof)).toMatchObject({ id: hostile, status: "Stopped" });
    expect(running.vm(number)?.status).toBe("Running");
    await libvirt.virsh("destroy", `--domain=${number}`);
    for (const id of ids) await libvirt.virsh("undefine", `--domain=${id}`);
    await running.until(hostile, undefined);
  });

  it("keeps its id when it is renamed", async () => {
    await using running = new RunningInventory([libvirtSource()]);
    await running.untilConnected();
    const id = await libvirt.define("before");
    await running.until("before", { id });
    await libvirt.virsh("domrename", "before", "after");
    await running.until("after", { id });
    expect(running.vm("before")).toBeUndefined();
    await libvirt.virsh("undefine", "after");
  });

  it("whose description holds another's XML is not taken for that", async () => {
    await using running = new RunningInventory([libvirtSource()]);
    const other = "<domain><name>other</name><uuid>0</uuid></domain>";
    const id = await libvirt.define("quoter", { more: `<description>${other.replaceAll("<", "&lt;")}</description>` });
    await running.until(id, { name: "quoter", status: "Stopped" });
    await libvirt.virsh("undefine", "quoter");
  });
});

it("what changed while libvirtd was away is found when it is back", async () => {
  const ids = {
    killed: await libvirt.define("killed"),
    paused: await libvirt.define("paused"),
    gone: await libvirt.define("gone"),
  };
  await libvirt.virsh("start", "killed");
  await libvirt.virsh("start", "paused");
  await using running = new RunningInventory([libvirtSource()]);
  await running.until(ids.killed, RUNNING);
  await running.until(ids.paused, RUNNING);

  await libvirt.kill();
  await running.untilReason(/^libvirt: /);
  expect(running.vm(ids.killed)?.status).toBe("Running");
  await libvirt.killQemu("killed");
  await rm(join(libvirt.directory, "c", "libvirt", "qemu", "gone.xml"));
  running.changes.length = 0;
  await libvirt.start();

  await running.until(ids.killed, { channelPath: undefined });
  await running.until(ids.gone, undefined);
  await running.untilConnected();
  expect(running.changes.length).toBeGreaterThanOrEqual(2);
  expect(running.changes.every(({ isResync }) => isResync)).toBe(true);
  expect(running.history(ids.paused)).toEqual([]);

  await libvirt.virsh("suspend", "paused");
  await running.until(ids.paused, { status: "Paused" });
  const told = running.log.filter(([event]) => event === "inventory-connected");
  expect(told).toHaveLength(2);

  await libvirt.virsh("destroy", "paused");
  for (const name of ["killed", "paused"]) await libvirt.virsh("undefine", name);
});

it("a check asks once, and says when libvirt cannot be asked", async () => {
  const id = await libvirt.define("probed");
  expect(await libvirtSource().probe(new AbortController().signal)).toMatchObject([{ id, name: "probed" }]);
  await libvirt.virsh("undefine", "probed");
  vi.stubEnv("LC_ALL", "C");
  const nowhere = new LibvirtSource({ uri: "qemu:///session?socket=/nonexistent", host });
  await expect(nowhere.probe(new AbortController().signal)).rejects.toMatchObject({
    code: "unreachable",
    message: expect.stringMatching(/^libvirt: Failed to connect socket/) as string,
  });
});

it("without virsh the source says so, and looks again", async () => {
  const bin = await mkdtemp(join(tmpdir(), "vmm-bin-"));
  try {
    const virsh = "/usr/bin/virsh";
    vi.stubEnv("PATH", bin);
    await using running = new RunningInventory([libvirtSource()]);
    await running.untilReason(/^virsh is not installed/);
    await symlink(virsh, join(bin, "virsh"));
    await running.untilConnected();
  } finally {
    await rm(bin, { recursive: true });
  }
});
