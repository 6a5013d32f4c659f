import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { QmpClient, type QmpEvent } from "../../../../manager/inventory/qmp.ts";
import { QmpDirectorySource } from "../../../../manager/inventory/qmp-directory.ts";
import { socketUuid } from "../../../../manager/inventory/uuid.ts";
import { QemuUnderTest, type QemuOptions } from "../../support/qemu.ts";
import { RunningInventory } from "./recorder.ts";

const host = "host1";
const uuid = "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c11";

let directory: string;

beforeEach(async () => {
  const parent = await mkdtemp(join(tmpdir(), "vmm-qmp-"));
  onTestFinished(() => rm(parent, { recursive: true, force: true }));
  directory = join(parent, "vms");
});

async function startQemu(name: string, options: Partial<QemuOptions> = {}): Promise<QemuUnderTest> {
  await mkdir(directory, { recursive: true });
  const qemu = await QemuUnderTest.start({ directory, name, ...options });
  onTestFinished(() => qemu.kill());
  return qemu;
}

function qmpSource(onEvent?: (event: QmpEvent) => void): QmpDirectorySource {
  return new QmpDirectorySource({ directory, host, onEvent });
}

/** A second QMP socket, with which a test does what an operator would. */
async function operator(name: string): Promise<{ args: string[]; connect: () => Promise<QmpClient> }> {
  const folder = await mkdtemp(join(tmpdir(), "vmm-op-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, name);
  const connect = async (): Promise<QmpClient> => {
    const client = await QmpClient.connect(path, { signal: AbortSignal.timeout(20_000), onEvent: () => undefined });
    onTestFinished(() => client.close());
    return client;
  };
  return { args: ["-qmp", `unix:${path},server=on,wait=off`], connect };
}

describe("a QEMU", () => {
  it("is followed from its start, in a directory that is made later, to its end", async () => {
    const events: string[] = [];
    await using running = new RunningInventory([qmpSource(({ name }) => events.push(name))]);
    await running.untilReason(/vms does not exist/);
    const { args, connect } = await operator("web1");
    const qemu = await startQemu("web1", { uuid, args: [...args, "-S"] });
    await running.until("web1", { id: uuid, status: "Paused", host, channelPath: qemu.channelPath });
    expect(running.vm(uuid)).toMatchObject({ isOpenInGuest: false, problem: undefined });
    await running.untilConnected();

    const qmp = await connect();
    await qmp.execute("cont");
    await running.until(uuid, { status: "Running", channelPath: qemu.channelPath });
    await qmp.execute("stop");
    await running.until(uuid, { status: "Paused" });
    await qmp.execute("cont");
    await running.until(uuid, { status: "Running" });
    running.changes.length = 0;
    await qmp.execute("system_reset");
    await qmp.execute("quit");
    await running.until(uuid, { status: "Stopped", channelPath: undefined });
    expect(running.history(uuid)).toEqual(["changed Stopped"]);
    expect(events).toEqual(expect.arrayContaining(["RESUME", "STOP", "RESET", "SHUTDOWN"]));

    await startQemu("web1", { uuid });
    await running.until(uuid, { status: "Running", channelPath: qemu.channelPath });
  });

  it("that is killed has crashed, and may come back", async () => {
    const qemu = await startQemu("web1", { uuid });
    await using running = new RunningInventory([qmpSource()]);
    await running.until(uuid, { status: "Running" });
    await qemu.kill("SIGKILL");
    await running.until(uuid, { status: "Crashed", channelPath: undefined });
    await running.untilConnected();
  });

  it("that is told to end has stopped", async () => {
    const qemu = await startQemu("web1", { uuid });
    await using running = new RunningInventory([qmpSource()]);
    await running.until(uuid, { status: "Running" });
    await qemu.kill("SIGTERM");
    await running.until(uuid, { status: "Stopped" });
  });

  it("without a UUID gets one that stays", async () => {
    await startQemu("anonymous");
    await using running = new RunningInventory([qmpSource()]);
    const id = socketUuid(host, join(directory, "anonymous.qmp"));
    await running.until("anonymous", { id, status: "Running" });
  });

  it("without our port is known, and says what to add", async () => {
    await startQemu("bare", { port: "org.example.other.0" });
    await using running = new RunningInventory([qmpSource()]);
    await running.until("bare", { status: "Running", channelPath: undefined });
    expect(running.vm("bare")?.problem).toMatch(
      /no port named org\.vmmessage\.agent\.0; start QEMU with -chardev socket/,
    );
  });
});

it("a QMP socket that another client holds is named, and the others are served", async () => {
  const held = await startQemu("held");
  // QEMU's socket is there a moment before it listens.
  const holder = await vi.waitFor(
    () => {
      return QmpClient.connect(held.qmpPath, { signal: AbortSignal.timeout(20_000), onEvent: () => undefined });
    },
    { timeout: 20_000 },
  );
  await startQemu("free", { uuid });
  await using running = new RunningInventory([qmpSource()]);
  await running.untilReason(/held\.qmp: no greeting within 5 s; another client has this QMP socket/);
  await running.until("free", { status: "Running" });
  expect(running.vm("held")).toBeUndefined();
  await holder.close();
  await running.until("held", { status: "Running" });
  await running.untilConnected();
});

it("of two QEMUs with one UUID one is the VM, and the other when that has ended", async () => {
  const qemus = { a: await startQemu("a", { uuid }), b: await startQemu("b", { uuid }) };
  await using running = new RunningInventory([qmpSource()]);
  await running.untilReason(/its VM '.' has the UUID 5e0d9c5c-.*, which the VM at .*\.qmp has too/);
  expect(running.inventory.vms()).toHaveLength(1);
  const [first, second] = running.vm("a") === undefined ? (["b", "a"] as const) : (["a", "b"] as const);
  await qemus[first].kill();
  await running.until(uuid, { name: second, status: "Running" });
  await running.untilConnected();
});

it("a check asks all that is there", async () => {
  await startQemu("web1", { uuid });
  const found = await qmpSource().probe(AbortSignal.timeout(20_000));
  expect(found).toMatchObject([{ id: uuid, name: "web1", status: "Running" }]);
  await rm(directory, { recursive: true });
  await expect(qmpSource().probe(AbortSignal.timeout(20_000))).rejects.toThrow("does not exist");
});
