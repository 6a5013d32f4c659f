/** Running the manager: starting, checking, reloading, stopping, and what is wrong with a configuration. */
import { execFile } from "node:child_process";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { Health } from "../../../shared/api/schemas.ts";
import { AgentUnderTest } from "../support/agents.ts";
import { freePort } from "../support/ports.ts";
import { ManagerUnderTest } from "../support/managers.ts";
import { selfSigned } from "./cli/certificates.ts";

const program = join(import.meta.dirname, "..", "..", "..", "dist", "vmmessaged.js");
const SOON = { timeout: 30_000, interval: 50 };

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

function vmmessaged(args: string[], env: Record<string, string> = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "vmm-ops-"));
  onTestFinished(() => rm(path, { recursive: true }));
  return path;
}

async function manage(...args: Parameters<typeof ManagerUnderTest.start>): Promise<ManagerUnderTest> {
  const manager = await ManagerUnderTest.start(...args);
  onTestFinished(() => manager[Symbol.asyncDispose]());
  return manager;
}

describe("a manager that starts", () => {
  test("without any configuration looks for libvirt's VMs, and says when it cannot", async () => {
    const manager = await manage([]);
    await manager.kill("SIGTERM");
    await rm(manager.configPath);
    await writeFile(manager.configPath, "{}");
    await manager.spawn();
    const health = await vi.waitFor(async () => (await manager.get<Health>("/health")).body, SOON);
    expect(health.inventory).toMatchObject([{ name: "libvirt qemu:///system" }]);
  });

  test("listens on its own socket alone, which only its user may open", async () => {
    const manager = await manage([]);
    expect(((await stat(manager.socketPath)).mode & 0o777).toString(8)).toBe("600");
    expect((await manager.logged("door-opened")).map(({ door }) => door)).toEqual([`unix:${manager.socketPath}`]);
  });

  test("while another one has its state says so and changes nothing", async () => {
    const manager = await manage([]);
    const second = await vmmessaged([...manager.runArguments, `--run-dir=${await directory()}`]);
    expect(second.code).not.toBe(0);
    expect(second.stderr).toMatch(/another vmmessaged has it open/);
    expect((await manager.get("/health")).status).toBe(200);
  });

  test.each([
    ['{"inventry":{}}', /inventry.*known: inventory, sockets/],
    ['{"sockets":[{"path":"relative"}]}', /must be an absolute path/],
    ['{"messages":{"expireAfter":"soon"}}', /must be a duration/],
    ["{", /not JSON/],
  ])("with the configuration %s says what is wrong with it", async (text, problem) => {
    const file = join(await directory(), "manager.json");
    await writeFile(file, text);
    const outcome = await vmmessaged([`--config=${file}`]);
    expect(outcome.code).toBe(3);
    expect(outcome.stderr).toMatch(problem);
    expect(outcome.stderr).toContain(file);
  });
});

describe("vmmessaged check", () => {
  test("tells what a configuration would do, and does not do it", async () => {
    const place = await directory();
    const inventory = { files: [join(place, "vms.json")] };
    await writeFile(join(place, "vms.json"), JSON.stringify({ vms: [{ name: "web1", socket: join(place, "web1") }] }));
    await writeFile(join(place, "manager.json"), JSON.stringify({ inventory, console: {} }));
    const args = [`--config=${join(place, "manager.json")}`, `--state-dir=${place}/s`, `--run-dir=${place}/r`];
    const outcome = await vmmessaged(["check", ...args]);
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(outcome.stdout).toMatch(/^ok +file .*vms\.json: 1 VMs, 0 with a channel$/m);
    expect(outcome.stdout).toMatch(/console: would listen on 127\.0\.0\.1:10000/);
    await expect(stat(join(place, "s"))).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("fails, and says where, when something would not work", async () => {
    const place = await directory();
    const listen = [{ address: "127.0.0.1", certificate: join(place, "none.pem"), key: join(place, "none.key") }];
    const inventory = { files: [join(place, "none.json")] };
    await writeFile(join(place, "manager.json"), JSON.stringify({ inventory, listen }));
    const args = [
      `--config=${join(place, "manager.json")}`,
      `--state-dir=${place}/s`,
      `--run-dir=${place}/r`,
      "--json",
    ];
    const outcome = await vmmessaged(["check", ...args]);
    expect(outcome.code).toBe(2);
    const { ok, checks } = JSON.parse(outcome.stdout) as { ok: boolean; checks: { ok: boolean; found: string }[] };
    expect(ok).toBe(false);
    const failed = checks.filter((finding) => !finding.ok).map(({ found }) => found);
    expect(failed).toHaveLength(2);
    expect(failed.join("\n")).toMatch(/none\.json[^]*none\.pem/);
  });

  test("says which sinks cannot be delivered to, and why, without a password", async () => {
    const place = await directory();
    const closed = await freePort();
    const sinks = [
      { name: "bus", type: "amqp", url: `amqp://guest:sEcret@127.0.0.1:${closed}` },
      { name: "ops", type: "mail", to: ["ops@example.com"] },
      { name: "pager", type: "command", command: "page" },
      { name: "hook", type: "webhook", url: "https://example.com/", secretFiles: [join(place, "none.secret")] },
    ];
    const mail = { host: "127.0.0.1", port: closed, from: "vms@example.com" };
    const events = { sinks, mail, commands: { page: { run: [join(place, "none")] } } };
    await writeFile(join(place, "manager.json"), JSON.stringify({ inventory: {}, events }));
    const args = [`--config=${join(place, "manager.json")}`, `--state-dir=${place}/s`, `--run-dir=${place}/r`];
    const outcome = await vmmessaged(["check", ...args]);
    expect(outcome.code).toBe(2);
    expect(outcome.stdout).toMatch(/^FAIL +sink bus: .*refused/m);
    expect(outcome.stdout).toMatch(/^FAIL +sink ops: .*refused/m);
    expect(outcome.stdout).toMatch(/^FAIL +sink pager: cannot run .*none/m);
    expect(outcome.stdout).toMatch(/^FAIL +sink hook: .*none\.secret/m);
    expect(outcome.stdout + outcome.stderr).not.toContain("sEcret");
  });
});

describe("SIGHUP", () => {
  test("opens and closes what the new configuration adds and drops; links go on", async () => {
    await using agent = await AgentUnderTest.start();
    const manager = await manage([{ name: "web1", socket: agent.channelPath }]);
    const before = await manager.untilLink("web1", "up");
    const extra = join(manager.directory, "extra.sock");
    await manager.configure({ sockets: [{ path: extra, mode: "0666", role: "read" }] });
    manager.signal("SIGHUP");
    await vi.waitFor(async () => {
      expect((await stat(extra)).mode & 0o777).toBe(0o666);
    }, SOON);
    await manager.configure({});
    manager.signal("SIGHUP");
    await vi.waitFor(() => expect(stat(extra)).rejects.toMatchObject({ code: "ENOENT" }), SOON);
    expect((await manager.vm("web1")).link).toEqual(before.link);
  });

  test("with a certificate that cannot be read leaves the door with the old one open, and applies the rest", async () => {
    const manager = await manage([]);
    const { certPath: certificate } = await selfSigned(manager.directory, "web", "IP:127.0.0.1");
    const door = { address: "127.0.0.1", port: 0, certificate, key: join(manager.directory, "web.key") };
    await manager.configure({ listen: [door] });
    manager.signal("SIGHUP");
    const name = await vi.waitFor(async () => {
      const [, opened] = await manager.logged("door-opened");
      return /^https:.*$/.exec(String(opened?.["door"]))?.[0] ?? Promise.reject(new Error("not open"));
    }, SOON);
    await manager.configure({ listen: [{ ...door, certificate: "/none.pem" }], console: { port: 0 } });
    manager.signal("SIGHUP");
    await vi.waitFor(async () => {
      const [failed] = await manager.logged("reload-failed");
      expect(failed?.["reason"]).toContain("/none.pem");
    }, SOON);
    expect(await manager.logged("console.listening")).toHaveLength(1);
    const answer = await promisify(execFile)("curl", [
      "-s",
      "--cacert",
      certificate,
      `${name.replace("https:", "https://")}/health`,
    ]);
    expect(JSON.parse(answer.stdout)).toMatchObject({ status: 401 });
  });

  test("right before SIGTERM opens nothing that is then left", async () => {
    const manager = await manage([]);
    const extra = Array.from({ length: 20 }, (_, index) => join(manager.directory, `extra${index}.sock`));
    await manager.configure({ sockets: extra.map((path) => ({ path })) });
    manager.signal("SIGHUP");
    expect(await manager.kill("SIGTERM")).toBe(0);
    for (const path of extra) await expect(stat(path)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("with a configuration that cannot be meant changes nothing", async () => {
    const manager = await manage([]);
    await writeFile(manager.configPath, '{"inventory":5}');
    manager.signal("SIGHUP");
    await vi.waitFor(async () => {
      expect(await manager.logged("reload-failed")).toHaveLength(1);
    }, SOON);
    expect((await manager.get("/health")).status).toBe(200);
  });
});

describe("SIGTERM", () => {
  test("ends it with the message under way delivered, and its socket gone", async () => {
    await using agent = await AgentUnderTest.start();
    const manager = await manage([{ name: "web1", socket: agent.channelPath }]);
    await manager.untilLink("web1", "up");
    const sending = manager.set("web1", "last", "word", { waitFor: "delivered" });
    await vi.waitFor(async () => {
      expect(await agent.list()).toHaveLength(1);
    }, SOON);
    expect(await manager.kill("SIGTERM")).toBe(0);
    expect((await sending).state).toBe("delivered");
    await expect(stat(manager.socketPath)).rejects.toMatchObject({ code: "ENOENT" });
    expect(await manager.logged("stopped")).toHaveLength(1);
  });

  test("ends the streams of whoever watches", async () => {
    await using agent = await AgentUnderTest.start();
    const manager = await manage([{ name: "web1", socket: agent.channelPath }]);
    await manager.untilLink("web1", "up");
    const watching = new Promise<string>((resolve) => {
      const url = "http://manager/v1/vms/web1/watch";
      execFile("curl", ["-sN", "--unix-socket", manager.socketPath, url], (_error, stdout) => {
        resolve(stdout);
      });
    });
    await vi.waitFor(async () => {
      const { body } = await manager.get<{ records: { action: string }[] }>("/v1/audit");
      expect(body.records.map(({ action }) => action)).toContain("watch");
    }, SOON);
    expect(await manager.kill("SIGTERM")).toBe(0);
    expect(await watching).toMatch(/^event: changed$/m);
  });
});

describe("a manager that cannot go on", () => {
  test("because its disk is full ends by itself, and says why", async () => {
    await using agent = await AgentUnderTest.start();
    const manager = await manage([{ name: "web1", socket: agent.channelPath }]);
    await manager.untilLink("web1", "up");
    const ended = manager.untilEnd();
    await limitFiles(manager.pid, (await stat(join(manager.stateDirectory, "store.db-wal"))).size);
    await agent.run("-p", "some=thing");
    expect(await ended).toBe(2);
    expect(await manager.log()).toMatch(/^vmmessaged: the manager's disk refused it/m);
    expect((await manager.logged("stop-failed")).map(({ part }) => part)).toEqual(["mirrors"]);
    expect(await manager.logged("stopped")).toHaveLength(1);
    await expect(stat(manager.socketPath)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("from its start, because of what is in its store, ends and says so", async () => {
    const manager = await manage([{ name: "web1", socket: "/nowhere" }]);
    await manager.kill("SIGTERM");
    const database = new DatabaseSync(join(manager.stateDirectory, "store.db"));
    database.exec("UPDATE vms SET vm = 'no JSON'");
    database.close();
    await manager.spawn();
    expect(await manager.untilEnd()).toBe(2);
    expect(await manager.log()).toMatch(/^vmmessaged: .*"no JSON" is not valid JSON$/m);
  });
});

/** As on a disk that has no more room: no file of this process grows beyond so many bytes. */
async function limitFiles(pid: number, bytes: number): Promise<void> {
  await promisify(execFile)("prlimit", [`--pid=${pid}`, `--fsize=${bytes}`]);
}
