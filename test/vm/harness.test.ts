import { spawn } from "node:child_process";
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Guest, restoreSnapshot, startGuest } from "./harness/guest.ts";
import { agentPort, floorPort } from "./harness/qemu-args.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { waitFor } from "./harness/wait-for.ts";

const uuid = "172dd6f8-0000-4000-8000-00000000cafe";
/** Stands in for the agent: says how it was started, and stays. */
const stubAgent = 'console.log("stub", ...process.argv.slice(2)); setInterval(() => {}, 1000);\n';

let bundleDir: string;
let snapshot: Snapshot;

beforeAll(async () => {
  bundleDir = await mkdtemp(join(tmpdir(), "vmm-stub-"));
  await writeFile(join(bundleDir, "agent.js"), stubAgent);
  const guest = await startGuest({ bundleDir, uuid, hasVirtconsole: true, hasSerial: true, agent: ["--at", "boot"] });
  await waitForStub(guest, "stub run --at boot");
  await guest.stopAgent();
  snapshot = await guest.saveSnapshot();
});

afterAll(async () => {
  await snapshot.remove();
  await rm(bundleDir, { recursive: true });
});

describe("a guest", () => {
  test("runs programs with input, and tells their output and exit code", async () => {
    await using guest = await restoreSnapshot(snapshot);
    const script = "cat; echo oops >&2; exit 3";
    expect(await guest.exec(["sh", "-c", script], { input: "grüezi\n" })).toEqual({
      exitCode: 3,
      stdout: "grüezi\n",
      stderr: "oops\n",
    });
    expect((await guest.exec(["sh", "-c", "kill -9 $$"])).exitCode).toBe(137);
    expect(await guest.shell("node -p process.version")).toMatch(/^v24\./);
  });

  test("has its state on a disk, its run-time files in memory, and the DMI UUID it was given", async () => {
    await using guest = await restoreSnapshot(snapshot);
    const fileSystem = (path: string) => guest.shell(`stat -f -c %T ${path}`);
    expect(await fileSystem("/var/lib/vmmessage")).toBe("ext2/ext3");
    expect(await fileSystem("/usr/lib/vmmessage")).toBe("ext2/ext3");
    expect(await fileSystem("/run")).toBe("tmpfs");
    expect(await fileSystem("/mnt/tmpfs")).toBe("tmpfs");
    expect(await guest.readText("/sys/class/dmi/id/product_uuid")).toBe(`${uuid}\n`);
  });

  test("gives and takes files byte for byte", async () => {
    await using guest = await restoreSnapshot(snapshot);
    const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 256));
    await guest.writeFile("/tmp/bytes", content);
    expect((await guest.readFile("/tmp/bytes")).equals(content)).toBe(true);
  });

  test("echoes through a port, a virtconsole and a serial line", async () => {
    await using guest = await restoreSnapshot(snapshot);
    const port = await guest.findPort(floorPort);
    await guest.qga.spawn(["port-echo", port ?? "missing"]);
    for (const tty of ["hvc0", "ttyS1"]) {
      await guest.qga.spawn(["sh", "-c", `exec <>/dev/${tty}; stty raw -echo; exec cat >&0`]);
    }
    for (const path of [guest.floorPath, guest.hvc0Path, guest.ttyS1Path]) await expectEcho(path, "hello");
  });

  test("keeps the agent running, and gives the host its log", async () => {
    await using guest = await restoreSnapshot(snapshot);
    await guest.startAgent(["--once", "more"]);
    await waitForStub(guest, "stub run --once more");
    const pid = await guest.agentPid();
    await guest.shell(`kill -9 ${String(pid)}`);
    await waitFor("another agent", async () => ![undefined, pid].includes(await guest.agentPid()));
    await guest.stopAgent();
    expect(await guest.agentPid()).toBeUndefined();
    expect(await guest.agentLog()).toContain("agent exited with 137");
  });

  test("shows in sysfs when its port is taken out and put back", async () => {
    await using guest = await restoreSnapshot(snapshot);
    expect(await guest.findPort(agentPort)).toMatch(/^\/dev\/vport\d+p\d+$/);
    await guest.unplugAgentPort();
    await waitFor("no port", async () => (await guest.findPort(agentPort)) === undefined);
    await guest.plugAgentPort();
    const port = await waitFor("the port again", () => guest.findPort(agentPort));
    await guest.qga.spawn(["port-echo", port]);
    await expectEcho(guest.channelPath, "again");
  });
});

describe("a snapshot", () => {
  test("can be restored again and again, each time as it was saved", async () => {
    for (const name of ["first", "second"]) {
      await using guest = await restoreSnapshot(snapshot);
      expect(await guest.shell("ls /var/lib/vmmessage")).toBe("");
      await guest.shell(`echo ${name} >/var/lib/vmmessage/${name}; sync`);
      expect(await guest.shell("ls /var/lib/vmmessage")).toBe(name);
    }
  });
});

describe("a power cut", () => {
  test("loses what was not synced, and only that", async () => {
    await using guest = await restoreSnapshot(snapshot);
    await guest.shell("cd /var/lib/vmmessage; echo safe >kept; sync kept; echo hasty >lost");
    await guest.kill();
    await guest.boot();
    expect(await guest.readText("/var/lib/vmmessage/kept")).toBe("safe\n");
    expect(await guest.shell("cat /var/lib/vmmessage/lost 2>&1 || :")).not.toContain("hasty");
  });
});

describe("a restart", () => {
  for (const how of ["reset", "reboot"] as const) {
    test(`by ${how} makes a new boot, and the agent starts with it`, async () => {
      await using guest = await restoreSnapshot(snapshot);
      const bootId = () => guest.readText("/proc/sys/kernel/random/boot_id");
      const before = await bootId();
      await guest.shell("echo here >/var/lib/vmmessage/stays; sync");
      await guest[how]();
      expect(await bootId()).not.toBe(before);
      expect(await guest.readText("/var/lib/vmmessage/stays")).toBe("here\n");
      await waitForStub(guest, "stub run --at boot");
    });
  }

  test("after an orderly power off finds everything on the disk", async () => {
    await using guest = await restoreSnapshot(snapshot);
    await guest.shell("echo here >/var/lib/vmmessage/stays");
    await guest.powerOff();
    expect(guest.isOn).toBe(false);
    await guest.boot();
    expect(await guest.readText("/var/lib/vmmessage/stays")).toBe("here\n");
  });
});

describe("trouble", () => {
  test("that keeps a guest from starting is told with QEMU's own words, after a second try", async () => {
    const lines: string[] = [];
    const start = startGuest({ bundleDir, qemuArgs: ["-no-such-option"], log: (line) => lines.push(line) });
    await expect(start).rejects.toThrow(/QEMU ended with exit code 1\nQEMU said: .*no-such-option/);
    expect(lines.filter((line) => line.includes("trying again"))).toHaveLength(1);
  });

  test("in the test process takes its QEMU along, even when that process is killed", async () => {
    const script = `
      const { restoreSnapshot } = await import(${JSON.stringify(import.meta.resolve("./harness/guest.ts"))});
      console.log((await restoreSnapshot(JSON.parse(process.argv[1]))).pid);`;
    const { image, hardware, memory, disk } = snapshot;
    const args = ["--input-type=module", "-e", script, JSON.stringify({ image, hardware, memory, disk })];
    const env = { ...process.env, TMPDIR: bundleDir };
    const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit"] });
    const pid = await firstLine(child.stdout);
    await access(`/proc/${pid}`);
    child.kill("SIGKILL");
    await waitFor("the end of QEMU", () =>
      access(`/proc/${pid}`).then(
        () => false,
        () => true,
      ),
    );
  });
});

async function waitForStub(guest: Guest, line: string): Promise<void> {
  await waitFor(`"${line}" in the agent's log`, async () => (await guest.agentLog()).includes(`${line}\n`));
}

/** Sends the line until it comes back whole: a tty drops what arrives before its reader has opened it. */
async function expectEcho(path: string, line: string): Promise<void> {
  const socket = connect(path).setEncoding("utf8");
  let received = "";
  socket.on("data", (text: string) => (received += text));
  const comesBack = () => {
    socket.write(`${line}\n`);
    return received.split("\n").includes(line);
  };
  await waitFor(`the echo of "${line}"`, comesBack, { intervalMs: 100 }).finally(() => socket.destroy());
}

async function firstLine(input: Readable): Promise<string> {
  for await (const line of createInterface({ input })) return line;
  throw new Error("the stream ended without a line");
}
