import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { LibvirtSource } from "../../../../manager/inventory/libvirt.ts";
import { QmpDirectorySource } from "../../../../manager/inventory/qmp-directory.ts";
import { GuestAgentProber } from "../../../../manager/monitor/guest-agent/guest-agent-prober.ts";
import { type Probe, unknown } from "../../../../manager/monitor/probe.ts";
import type { GuestAgent, Vm } from "../../../../manager/vms/vm.ts";
import { CHANNEL_XML, LibvirtUnderTest } from "../../support/libvirt.ts";
import { QemuUnderTest } from "../../support/qemu.ts";
import { RunningInventory } from "../inventory/recorder.ts";

const NEVER = new AbortController().signal;
const id = "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c12";
const answered: Probe = { type: "answered" };
const missed: Probe = { type: "missed" };

let directory: string;
let prober: GuestAgentProber;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-qga-"));
  prober = new GuestAgentProber({ intervalMs: () => 10_000 });
});

afterEach(async () => {
  await prober.close();
  vi.unstubAllEnvs();
  await rm(directory, { recursive: true, force: true });
});

function vm(guestAgent: GuestAgent): Vm {
  return { id, name: "web1", status: "Running", host: "host1", channelPath: undefined, guestAgent };
}

/** A probe, and whether it ended in time. */
async function probe(described: Vm, timeoutMs: number): Promise<Probe> {
  const startedAt = performance.now();
  const found = await prober.probe(described, timeoutMs, NEVER);
  // Half a second is the prober's own, the rest is for a busy machine.
  expect(performance.now() - startedAt).toBeLessThan(timeoutMs + 1_500);
  return found;
}

function write(name: string, text: string): Promise<void> {
  return writeFile(join(directory, name), text);
}

/** Settles when it has said its first word. */
async function start(command: string, ...args: string[]): Promise<ChildProcess> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout, "data");
  return child;
}

/** Another program that has a connection to the socket. */
function client(path: string): Promise<ChildProcess> {
  const script = "require('net').connect(process.argv[1]).on('connect', () => console.log('here')).resume()";
  return start(process.execPath, "-e", script, path);
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

describe("a guest agent on its socket", () => {
  const TIMEOUT_MS = 800;
  const script = join(import.meta.dirname, "scripted-qemu-ga.py");
  let path: string;

  beforeEach(async () => {
    path = join(directory, "qga.sock");
    await write("mode", "answers");
  });

  async function listen(): Promise<void> {
    await start("/usr/bin/python3", script, path, join(directory, "mode"));
  }

  async function probeWhile(mode: string): Promise<Probe> {
    await write("mode", mode);
    return probe(vm({ via: "socket", path, isOpenInGuest: true }), TIMEOUT_MS);
  }

  it.each(["answers", "answers in pieces", "answers after old words"])("%s", async (mode) => {
    await listen();
    expect(await probeWhile(mode)).toEqual(answered);
    expect(await probeWhile(mode)).toEqual(answered);
  });

  it.each(["hangs", "answers somebody else"])(
    "%s: missed, when it answered before, until it answers again",
    async (mode) => {
      await listen();
      expect(await probeWhile(mode)).toEqual(unknown("it has never answered"));
      expect(await probeWhile("answers")).toEqual(answered);
      expect(await probeWhile(mode)).toEqual(missed);
      expect(await probeWhile(mode)).toEqual(missed);
      expect(await probeWhile("answers")).toEqual(answered);
    },
  );

  it.each([
    ["closes", "QEMU closed its socket"],
    ["speaks for ever", "what speaks on its socket is not qemu-ga"],
  ])("%s: nothing is known", async (mode, reason) => {
    await listen();
    await probeWhile("answers");
    expect(await probeWhile(mode)).toEqual(unknown(reason));
    expect(await probeWhile("answers")).toEqual(answered);
  });

  it("is left to the others: whoever has it keeps it, and it is free between two pings", async () => {
    await listen();
    expect(await probeWhile("answers")).toEqual(answered);
    const holder = await client(path);
    const held = await probeWhile("answers");
    expect(held).toMatchObject({ type: "unknown", reason: expect.stringMatching(/has its socket$/) as string });
    await end(holder);
    expect(await probeWhile("answers")).toEqual(answered);
  });

  it("is asked with others in the line behind us", async () => {
    await listen();
    await probeWhile("answers");
    await write("mode", "hangs");
    const probing = probe(vm({ via: "socket", path, isOpenInGuest: true }), 2 * TIMEOUT_MS);
    await client(path);
    expect(await probing).toEqual(missed);
  });

  it("is unknown when nobody listens, or nobody does any more", async () => {
    const gone = unknown("QEMU does not listen on its socket");
    expect(await probeWhile("answers")).toEqual(gone);
    const server = createServer().listen(path);
    await once(server, "listening");
    const left = join(directory, "left.sock");
    await start(
      "/usr/bin/python3",
      "-c",
      `import socket; s = socket.socket(1); s.bind(${JSON.stringify(left)}); print()`,
    );
    expect(await probe(vm({ via: "socket", path: left, isOpenInGuest: true }), TIMEOUT_MS)).toEqual(gone);
    server.close();
  });
});

describe("a guest agent behind a scripted libvirt", () => {
  const TIMEOUT_MS = 1_000;
  const SILENT = "Guest agent is not responding: Guest agent not available for now";

  beforeEach(() => {
    vi.stubEnv("PATH", `${directory}${delimiter}${process.env["PATH"] ?? ""}`);
  });

  /** A `virsh` that does as the script says, and writes down how it was called. */
  async function virsh(script: string): Promise<void> {
    await write("virsh", `#!/bin/sh\necho "$*" >> ${directory}/calls; echo $$ >> ${directory}/pids\n${script}\n`);
    await chmod(join(directory, "virsh"), 0o755);
  }

  function says(error: string): string {
    return `echo "error: ${error}" >&2; echo >&2; exit 1`;
  }

  const ping = () => probe(vm({ via: "libvirt", uri: "qemu:///system", isOpenInGuest: true }), TIMEOUT_MS);

  it("answers, and is asked by its VM's UUID", async () => {
    await virsh("echo '{\"return\":{}}'");
    expect(await ping()).toEqual(answered);
    expect(await readFile(join(directory, "calls"), "utf8")).toBe(
      `--connect=qemu:///system qemu-agent-command --domain=${id} --timeout=1 {"execute":"guest-ping"}\n`,
    );
  });

  it("that hangs is missed in each round, though libvirt takes its five seconds from the second on", async () => {
    const answers = "echo '{\"return\":{}}'";
    const silent = says(SILENT);
    // An answer, the first miss, what is begun at once after it, the next round's, and answers again.
    await virsh(
      `case $(wc -l < ${directory}/calls) in 2) sleep 1; ${silent};; [34]) sleep 5; ${silent};; *) ${answers};; esac`,
    );
    expect(await ping()).toEqual(answered);
    expect(await ping()).toEqual(missed);
    await vi.waitUntil(async () => (await callsEnded()) === 3, { timeout: 20_000 });
    expect(await ping()).toEqual(missed);
    await vi.waitUntil(async () => (await callsEnded()) === 4, { timeout: 20_000 });
    expect(await ping()).toEqual(answered);
  });

  it("for which libvirt has no answer in time is unknown, no second command is begun meanwhile, and closing ends it", async () => {
    await virsh("exec sleep 1000");
    const late = unknown("libvirt has not answered yet; it may be asked something else");
    expect(await ping()).toEqual(late);
    expect(await ping()).toEqual(late);
    const pids = await virshPids();
    expect(pids).toHaveLength(1);
    await prober.close();
    await vi.waitUntil(() => !pids.some(isRunning));
  });

  it("is unknown when there is no virsh", async () => {
    vi.stubEnv("PATH", directory);
    expect(await ping()).toMatchObject({
      type: "unknown",
      reason: expect.stringMatching(/^virsh is not installed/) as string,
    });
  });

  async function virshPids(): Promise<number[]> {
    return (await readFile(join(directory, "pids"), "utf8")).trim().split("\n").map(Number);
  }

  /** How many have been called, when all of them have ended. */
  async function callsEnded(): Promise<number | undefined> {
    const pids = await virshPids();
    return pids.some(isRunning) ? undefined : pids.length;
  }

  function isRunning(pid: number): boolean {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  }
});

describe("a real libvirt", () => {
  const GUEST_AGENT_XML = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
  const TIMEOUT_MS = 5_000;

  it("says what is missing in guests without qemu-ga, and none of it is a miss", async () => {
    await using libvirt = await LibvirtUnderTest.start();
    vi.stubEnv("LC_ALL", "C");
    await using running = new RunningInventory([new LibvirtSource({ uri: libvirt.uri, host: "host1" })]);
    const spice = "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>";
    const devices = `<graphics type='spice' autoport='yes'/>${spice}${CHANNEL_XML}${GUEST_AGENT_XML}`;
    const empty = await libvirt.define("empty", { devices });
    const bare = await libvirt.define("bare");
    await running.until(empty, { status: "Stopped", guestAgent: undefined });
    const asked = (of: string) => {
      return probe({ ...vm({ via: "libvirt", uri: libvirt.uri, isOpenInGuest: true }), id: of }, TIMEOUT_MS);
    };
    expect(await asked(empty)).toEqual(unknown("the VM does not run"));

    for (const name of ["empty", "bare"]) await libvirt.virsh("start", name);
    for (const name of ["empty", "bare"]) await running.until(name, { status: "Running" });
    const found = running.vm(empty);
    expect(found?.guestAgent).toEqual({ via: "libvirt", uri: libvirt.uri, isOpenInGuest: false });
    expect(found && (await probe(found, TIMEOUT_MS))).toEqual(unknown("qemu-ga does not run in the guest"));
    expect(running.vm(bare)?.guestAgent).toBeUndefined();
    expect(await asked(empty)).toEqual(unknown("qemu-ga does not run in the guest"));
    expect(await asked(bare)).toEqual(unknown("the VM has no channel for qemu-ga"));

    await libvirt.virsh("suspend", "empty");
    expect(await asked(empty)).toEqual(unknown("the VM does not run"));
    await libvirt.virsh("destroy", "empty");
    await running.until(empty, { status: "Stopped", guestAgent: undefined });
    for (const name of ["empty", "bare"]) await libvirt.virsh("undefine", name);
    expect(await asked(empty)).toMatchObject({
      type: "unknown",
      reason: expect.stringMatching(/failed to get domain/) as string,
    });
  });
});

it("a real QEMU's guest agent is found through QMP, with nothing behind it that could be missed", async () => {
  const path = join(directory, "qga.sock");
  const chardev = `socket,id=qga,path=${path},server=on,wait=off`;
  const device = "virtserialport,chardev=qga,name=org.qemu.guest_agent.0,id=qga0";
  const options = { directory, name: "web1", uuid: id, args: ["-chardev", chardev, "-device", device] };
  await using qemu = await QemuUnderTest.start(options);
  await using running = new RunningInventory([new QmpDirectorySource({ directory, host: "host1" })]);
  await running.until(id, { status: "Running", channelPath: qemu.channelPath });
  const found = running.vm(id);
  expect(found?.guestAgent).toEqual({ via: "socket", path, isOpenInGuest: false });
  expect(found && (await probe(found, 800))).toEqual(unknown("qemu-ga does not run in the guest"));
  // As if it were open, with another program on the socket.
  const asked = () => probe(vm({ via: "socket", path, isOpenInGuest: true }), 800);
  expect(await asked()).toEqual(unknown("it has never answered"));
  await client(path);
  expect(await asked()).toMatchObject({ type: "unknown", reason: expect.stringMatching(/has its socket$/) as string });
  await qemu.kill();
  await running.until(id, { status: "Crashed", guestAgent: undefined });
  expect(await asked()).toEqual(unknown("QEMU does not listen on its socket"));
});
