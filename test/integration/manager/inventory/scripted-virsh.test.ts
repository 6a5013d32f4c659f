/** What a real libvirt does not do on demand. */
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { LibvirtSource } from "../../../../manager/inventory/libvirt.ts";
import { RunningInventory } from "./recorder.ts";

const id = "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c11";
const XML = `<domain><name>web1</name><uuid>${id}</uuid><devices></devices></domain>`;

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

/** A `virsh` that knows one VM, writes down how it was called, and prints as events what is appended to a file. */
async function installVirsh(describe = `echo "${XML}"`): Promise<void> {
  const script = [
    "#!/bin/sh",
    `cd ${directory}; echo "$*" >> calls; separator=$(echo "$*" | sed -n 's/.*; echo \\([0-9a-f]*\\)$/\\1/p')`,
    'case "$*" in',
    "*--loop*) exec tail -n +1 -f events;;",
    `*list*) echo "${id} web1";;`,
    `*dumpxml*) ${describe}; echo $separator; cat state; echo; echo $separator;;`,
    "esac",
  ];
  await write("virsh", script.join("\n"));
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
