// What both daemons say to systemd through systemd-notify(1), in processes of their own, on a socket of the test's.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AgentUnderTest } from "./support/agents.ts";
import { ManagerUnderTest } from "./support/managers.ts";
import { NotifySocket } from "./support/notify-socket.ts";

const freezeThread = join(import.meta.dirname, "support", "freeze-thread.py");

/** Short enough to be waited for, long enough for a busy machine to ping in. */
const watchdogSeconds = 4;
const SOON = { timeout: 30_000, interval: 50 };

let systemd: NotifySocket;

beforeEach(async () => {
  systemd = await NotifySocket.open();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await systemd[Symbol.asyncDispose]();
});

/** What a process started from now on finds in its environment. */
function stubEnvironment(environment: Record<string, string>): void {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
}

/** No ping comes in the time in which systemd would kill the daemon. */
async function expectSilence(): Promise<void> {
  const before = systemd.count("WATCHDOG=1");
  const killed = performance.now() + watchdogSeconds * 1_000;
  await vi.waitUntil(() => performance.now() > killed, { timeout: 60_000 });
  // One may have been under way.
  expect(systemd.count("WATCHDOG=1") - before).toBeLessThanOrEqual(1);
}

describe("the agent", () => {
  test("is ready when its socket answers, with what it is at, and says when it stops", async () => {
    await using agent = await AgentUnderTest.make();
    stubEnvironment(systemd.environment());
    const starting = agent.start();
    await systemd.until("READY=1");
    expect((await agent.run("-l")).exitCode).toBe(0);
    expect(systemd.notices).toEqual([["READY=1", "STATUS=0 keys, no host attached"]]);
    await starting;
    await agent.kill("SIGTERM");
    await systemd.until("STOPPING=1");
  });

  test("pings with what it is at now, and not while it is stopped", async () => {
    stubEnvironment(systemd.environment(watchdogSeconds));
    await using agent = await AgentUnderTest.start();
    await agent.run("-p", "a=1");
    await systemd.until("WATCHDOG=1", 2);
    expect(systemd.notices.at(-1)).toEqual(["READY=1", "WATCHDOG=1", "STATUS=1 keys, no host attached"]);
    process.kill(agent.pid, "SIGSTOP");
    await expectSilence();
    process.kill(agent.pid, "SIGCONT");
    await systemd.untilAnother("WATCHDOG=1");
  });

  test("does not ping when programs cannot reach it any more, though it runs", async () => {
    stubEnvironment(systemd.environment(watchdogSeconds));
    await using agent = await AgentUnderTest.start();
    await systemd.until("WATCHDOG=1");
    await rm(join(agent.runDirectory, "agent.sock"));
    await expectSilence();
    expect(await agent.log()).toMatch(/"event":"stuck".*ENOENT|ENOENT.*"event":"stuck"/);
  });

  test("pings when programs have all the connections that it takes: it serves them", async () => {
    stubEnvironment(systemd.environment(watchdogSeconds));
    await using agent = await AgentUnderTest.start();
    const script = `const net = require("node:net");
      for (let i = 0; i < 64; i++) net.connect(${JSON.stringify(join(agent.runDirectory, "agent.sock"))});
      setTimeout(() => console.log("connected"), 100);`;
    const clients = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    await once(clients.stdout, "data");
    expect((await agent.run("-l")).exitCode).not.toBe(0);
    await systemd.untilAnother("WATCHDOG=1");
    await systemd.untilAnother("WATCHDOG=1");
    await end(clients);
  });

  test("pings for itself alone, and its checks know nothing of systemd", async () => {
    stubEnvironment({ ...systemd.environment(watchdogSeconds), WATCHDOG_PID: "1" });
    await using agent = await AgentUnderTest.start();
    await agent.run("check", "add", "env", "--", "sh", "-c", "env | sort | paste -sd ' '; exit 1");
    const reason = await vi.waitUntil(async () => {
      const { stdout } = await agent.run("check", "list");
      return /exit code 1: .*/.exec(stdout.toString())?.[0];
    }, SOON);
    expect(reason).toContain("PATH=");
    expect(reason).not.toMatch(/NOTIFY|WATCHDOG/);
    await expectSilence();
    expect(systemd.count("WATCHDOG=1")).toBe(0);
  });

  test("goes on where nobody can be notified, and its log says what comes of that", async () => {
    stubEnvironment({ NOTIFY_SOCKET: join(systemd.path, "nowhere") });
    await using agent = await AgentUnderTest.start();
    await vi.waitUntil(async () => (await agent.log()).includes("systemd-not-notified"), SOON);
    expect((await agent.run("-p", "a=1")).exitCode).toBe(0);
  });
});

describe("the manager", () => {
  async function start(seconds?: number): Promise<ManagerUnderTest> {
    stubEnvironment(systemd.environment(seconds));
    return ManagerUnderTest.start([]);
  }

  test("is ready when its socket answers, says when it reads its configuration again, and when it stops", async () => {
    await using manager = await ManagerUnderTest.start([]);
    await manager.kill("SIGTERM");
    stubEnvironment(systemd.environment());
    await manager.spawn();
    await systemd.until("READY=1");
    expect((await manager.get("/health")).status).toBe(200);
    manager.signal("SIGHUP");
    await systemd.until("READY=1", 2);
    await manager.configure({ quotas: "many" });
    manager.signal("SIGHUP");
    await systemd.until("READY=1", 3);
    await manager.kill("SIGTERM");
    await systemd.until("STOPPING=1");
    const ready = ["READY=1", "STATUS=0 VMs, 0 links up"];
    const reloading = ["RELOADING=1"];
    expect(systemd.notices).toEqual([ready, reloading, ready, reloading, ready, ["STOPPING=1", "STATUS="]]);
  });

  test("pings, and not while its store's thread hangs, though it answers from memory", async () => {
    await using manager = await start(watchdogSeconds);
    await systemd.until("WATCHDOG=1");
    const hang = await hangStoreThread(manager.pid);
    try {
      await expectSilence();
      expect((await manager.get("/v1/vms")).status).toBe(200);
      expect(await manager.logged("stuck")).toContainEqual(
        expect.objectContaining({ reason: "no answer within 500 ms" }),
      );
    } finally {
      await end(hang);
    }
    await systemd.untilAnother("WATCHDOG=1");
    await vi.waitUntil(async () => (await manager.logged("stuck-no-more")).length > 0, SOON);
  });

  test("keeps what systemd told it from virsh", async () => {
    const bin = await mkdtemp(join(tmpdir(), "vmm-bin-"));
    await writeFile(join(bin, "virsh"), '#!/bin/sh\nenv >>"${0%/*}/environment"\nexit 1\n', { mode: 0o755 });
    vi.stubEnv("PATH", [bin, process.env["PATH"]].join(delimiter));
    stubEnvironment(systemd.environment(watchdogSeconds));
    await using manager = await ManagerUnderTest.start([], { inventory: { libvirt: ["test:///default"] } });
    const environment = await vi.waitUntil(async () => {
      const seen = await readFile(join(bin, "environment"), "utf8").catch(() => "");
      return seen.includes("LC_ALL=C") && seen;
    }, SOON);
    expect(await manager.log()).toContain("inventory-disconnected");
    expect(environment).not.toMatch(/NOTIFY|WATCHDOG/);
    await rm(bin, { recursive: true });
  });
});

/** Holds the store's thread, and no other, until the process that is answered is ended. */
async function hangStoreThread(pid: number): Promise<ChildProcess> {
  const thread = await threadNamed(pid, "store");
  const holder = spawn("/usr/bin/python3", [freezeThread, String(thread)], { stdio: ["ignore", "pipe", "inherit"] });
  await once(holder.stdout, "data");
  return holder;
}

async function threadNamed(pid: number, name: string): Promise<number> {
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    const found = await readFile(`/proc/${pid}/task/${thread}/comm`, "utf8");
    if (found.trim() === name) return Number(thread);
  }
  throw new Error(`the process ${pid} has no thread '${name}'`);
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}
