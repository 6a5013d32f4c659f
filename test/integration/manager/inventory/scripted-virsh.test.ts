/** What a real libvirt does not do on demand. */
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { LibvirtSource } from "../../../../manager/inventory/libvirt.ts";
import { RunningInventory } from "./recorder.ts";

const id = "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c11";
const XML = `<domain><name>web1</name><uuid>${id}</uuid><devices></devices></domain>`;

/** Of a VM whose agent's port is `connected`, or `disconnected`. */
function withPort(name: string, uuid: string, state: string): string {
  const target = `<target type='virtio' name='org.vmmessage.agent.0' state='${state}'/>`;
  const channel = `<channel type='unix'><source mode='bind' path='/run/${name}.sock'/>${target}</channel>`;
  return `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><devices>${channel}</devices></domain>`;
}

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-virsh-"));
  vi.stubEnv("PATH", `${directory}${delimiter}${process.env["PATH"] ?? ""}`);
  await write("state", "running");
  await write("events", "");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(directory, { recursive: true });
});

function write(name: string, text: string): Promise<void> {
  return writeFile(join(directory, name), text);
}

/**
 * A `virsh` that knows one VM, prints as events what is appended to a file, and writes down each call: when it has read
 * all that it prints, so that what is written after a call that was seen is what the next call reads.
 */
async function installVirsh(describe = `echo "${XML}"`): Promise<void> {
  const script = [
    "#!/bin/sh",
    `cd ${directory}; separator=$(echo "$*" | sed -n 's/.*; echo \\([0-9a-f]*\\)$/\\1/p')`,
    'case "$*" in',
    '*--loop*) echo "$*" >> calls; exec tail -n +1 -f events;;',
    `*list*) echo "${id} web1";;`,
    `*dumpxml*) ${describe}; echo $separator; cat state; echo; echo $separator;;`,
    "esac",
    'echo "$*" >> calls',
  ];
  await write("virsh", script.join("\n"));
  await chmod(join(directory, "virsh"), 0o755);
}

/** A `virsh` that knows many VMs, whose agents' ports are all as a file says. */
async function installHypervisor(ids: readonly string[]): Promise<void> {
  const script = `#!${process.execPath}
    const { appendFileSync, readFileSync } = require("node:fs");
    const said = process.argv.slice(2).join(" ");
    const port = readFileSync("${join(directory, "port")}", "utf8");
    appendFileSync("${join(directory, "calls")}", said + "\\n");
    if (said.includes("--loop")) setInterval(() => {}, 1000);
    else if (said.includes(" list ")) console.log(${JSON.stringify(ids.map((one) => `${one} vm${one.slice(-3)}`).join("\n"))});
    else for (const command of said.split(" ").slice(1).join(" ").split("; ")) {
      const [word, domain = ""] = command.split(" ");
      const one = domain.slice("--domain=".length);
      const name = "vm" + one.slice(-3);
      if (word === "dumpxml") console.log(${JSON.stringify(withPort("NAME", "UUID", "STATE"))}
        .replaceAll("NAME", name).replace("UUID", one).replace("STATE", port));
      else console.log(word === "domstate" ? "running (booted)" : domain);
    }`;
  await write("port", "connected");
  await write("virsh", script);
  await chmod(join(directory, "virsh"), 0o755);
}

async function callsWith(word: string): Promise<number> {
  const calls = await readFile(join(directory, "calls"), "utf8");
  return calls.split("\n").filter((call) => call.includes(word)).length;
}

function source(): LibvirtSource {
  return new LibvirtSource({ uri: "test:///default", host: "host1" });
}

it("many events of a domain are few looks at it", async () => {
  await installVirsh();
  await using running = new RunningInventory([source()]);
  await running.until(id, { status: "Running" });
  const event = "2026-11-20 23:51:34.030+0000: event 'lifecycle' for domain 'web1': Suspended Paused\n";
  await write("state", "paused");
  await write("events", event.repeat(1_000));
  await running.until(id, { status: "Paused" });
  expect(await callsWith("dumpxml")).toBeLessThan(20);
});

it("a VM that is doubted is read again long before all are, however nothing was announced", async () => {
  await installVirsh("cat domain");
  await write("domain", withPort("web1", id, "connected"));
  await using running = new RunningInventory([source()]);
  await running.until(id, { status: "Running", isOpenInGuest: true });
  // The second look at all, which is made in any case.
  await vi.waitUntil(async () => (await callsWith("dumpxml")) === 2, { timeout: 10_000 });
  await write("domain", withPort("web1", id, "disconnected"));
  for (let time = 0; time < 100; time += 1) running.inventory.look(id);
  running.inventory.look("00000000-0000-4000-8000-000000000000");
  await running.until(id, { isOpenInGuest: false });
  expect(running.changes.at(-1)).toMatchObject({ type: "changed", isResync: false, previous: { isOpenInGuest: true } });
  expect(await callsWith("dumpxml")).toBe(3);
});

it("a hundred VMs that are doubted at once are read in a few calls", async () => {
  const ids = Array.from({ length: 100 }, (_, index) => `5e0d9c5c-6f4e-4d0b-9a39-${String(index).padStart(12, "0")}`);
  await installHypervisor(ids);
  await using running = new RunningInventory([source()]);
  await running.untilConnected();
  const readAll = ids.length / 20;
  await vi.waitUntil(async () => (await callsWith("dumpxml")) === 2 * readAll, { timeout: 20_000 });
  await write("port", "disconnected");
  for (const one of ids) running.inventory.look(one);
  await vi.waitUntil(() => running.inventory.vms().every(({ vm }) => vm.isOpenInGuest === false), { timeout: 10_000 });
  expect(await callsWith("dumpxml")).toBe(3 * readAll);
});

it("an event that is not understood makes all be read", async () => {
  await installVirsh();
  await using running = new RunningInventory([source()]);
  await running.until(id, { status: "Running" });
  // The second look at all, which is made in any case.
  await vi.waitUntil(async () => (await callsWith("list")) === 2, { timeout: 10_000 });
  await write("state", "paused");
  await write("events", "today: event 'lifecycle' of a new kind\n");
  await running.until(id, { status: "Paused" });
  expect(running.changes.at(-1)?.isResync).toBe(true);
});

it("a domain that cannot be read is known, and says so", async () => {
  await installVirsh("echo");
  await using running = new RunningInventory([source()]);
  await running.until(id, { name: "web1", status: "Unknown" });
  expect(running.vm(id)?.problem).toContain("libvirt lists the VM 'web1' and cannot describe it");
});

it("when virsh's events end, it is started again", async () => {
  await installVirsh();
  const virsh = await readFile(join(directory, "virsh"), "utf8");
  await write("virsh", virsh.replace(/exec tail .*;;/, "sleep 0.5;;"));
  await using running = new RunningInventory([source()]);
  await running.until(id, { status: "Running" });
  await running.untilReason(/^libvirt: 'virsh event' ended$/);
  await write("state", "paused");
  await running.until(id, { status: "Paused" });
  expect(await callsWith("--loop")).toBeGreaterThan(1);
});
