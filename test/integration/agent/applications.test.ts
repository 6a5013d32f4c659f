import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { Client } from "../../../shared/client.ts";
import { connectUnixSocket } from "../../../shared/channels/unix-socket.ts";
import type { ApplicationState } from "../../../shared/protocol/message.ts";
import { OpenerSession } from "../../../shared/protocol/session.ts";
import { AgentUnderTest, runAgentCommand, type RunResult } from "../support/agents.ts";

/** How the applications are by the answer to a host's ping. */
async function statesOf(host: Client): Promise<ApplicationState[]> {
  return (await host.read("ping", {})).applications ?? [];
}

/** Settles when the application is in this state. */
async function untilState(host: Client, name: string, state: ApplicationState["state"]): Promise<ApplicationState> {
  return vi.waitFor(
    async () => {
      const found = (await statesOf(host)).find((application) => application.name === name);
      if (found?.state !== state) throw new Error(`${name} is ${found?.state ?? "not watched"}, not ${state}`);
      return found;
    },
    { timeout: 20_000, interval: 50 },
  );
}

async function hostOf(agent: AgentUnderTest): Promise<Client> {
  const host = await agent.host();
  onTestFinished(() => host.close());
  return host;
}

function addCheck(agent: AgentUnderTest, name: string, script: string, ...options: string[]): Promise<RunResult> {
  return agent.run("check", "add", name, ...options, "--", "sh", "-c", script);
}

/** The processes whose command line has this word, which a test made up. */
async function processesWith(word: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return lines.filter((line) => line.includes(word));
}

describe("an application that beats", () => {
  test("is told of with each ping, and is failing when it stops", async () => {
    await using agent = await AgentUnderTest.start();
    const host = await hostOf(agent);
    expect(await host.read("ping", {})).not.toHaveProperty("applications");
    expect(await agent.run("heartbeat", "com.example.app", "--every", "2s")).toMatchObject({
      exitCode: 0,
      stderr: "",
      stdout: Buffer.from(""),
    });
    expect(await statesOf(host)).toMatchObject([{ name: "com.example.app", kind: "heartbeat", state: "ok" }]);
    const { reason } = await untilState(host, "com.example.app", "failing");
    expect(reason).toMatch(/^no beat for \d s, expected every 2 s$/);
    await agent.run("heartbeat", "com.example.app", "--every", "60s");
    await untilState(host, "com.example.app", "ok");
  });

  test("is expected on after a restart of the agent, and has a whole period then", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.run("heartbeat", "app", "--every", "60s");
    const { mtimeMs } = await heartbeatFile(agent);
    await agent.run("heartbeat", "app", "--every", "60s");
    expect((await heartbeatFile(agent)).mtimeMs).toBe(mtimeMs);
    await agent.kill("SIGKILL");
    await agent.start();
    expect(await statesOf(await hostOf(agent))).toMatchObject([{ name: "app", state: "pending" }]);
  });

  test("is expected on after a boot, which empties the run directory, till it is removed", async () => {
    await using agent = await AgentUnderTest.start();
    const boot = async (): Promise<void> => {
      await agent.kill("SIGKILL");
      await rm(agent.runDirectory, { recursive: true });
      await agent.start();
    };
    await agent.run("heartbeat", "app", "--every", "2s");
    await boot();
    const host = await hostOf(agent);
    await untilState(host, "app", "pending");
    expect(await untilState(host, "app", "failing")).toMatchObject({
      reason: "no beat since the agent started, expected every 2 s",
    });
    await agent.run("check", "remove", "app");
    await boot();
    expect(await statesOf(await hostOf(agent))).toEqual([]);
  });

  test("lives though that cannot be written, which its next beat tries again", async () => {
    await using agent = await AgentUnderTest.start();
    await rm(agent.stateDirectory, { recursive: true });
    const beat = () => agent.run("heartbeat", "app", "--every", "60s");
    expect([(await beat()).exitCode, (await beat()).exitCode]).toEqual([0, 0]);
    expect(await statesOf(await hostOf(agent))).toMatchObject([{ name: "app", state: "ok" }]);
    expect((await agent.log()).match(/heartbeats-not-kept/g)).toHaveLength(1);
    await mkdir(agent.stateDirectory);
    await beat();
    expect(await agent.log()).toContain("heartbeats-kept");
    expect((await heartbeatFile(agent)).text).toContain('"app"');
  });

  test("is still there when its removal cannot be written", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.run("heartbeat", "app", "--every", "60s");
    await rm(agent.stateDirectory, { recursive: true });
    expect(await agent.run("check", "remove", "app")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("nothing was changed") as string,
    });
    expect(await statesOf(await hostOf(agent))).toMatchObject([{ name: "app", state: "pending" }]);
    await mkdir(agent.stateDirectory);
    expect((await agent.run("check", "remove", "app")).exitCode).toBe(0);
  });

  test("of an unreadable file is not expected; the file is set aside, and the doctor says so", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.run("heartbeat", "app", "--every", "60s");
    await agent.kill("SIGKILL");
    await writeFile((await heartbeatFile(agent)).path, '{"format":1,"heartbeats":[{}]}');
    await agent.start();
    expect(await statesOf(await hostOf(agent))).toEqual([]);
    expect(await agent.log()).toContain("heartbeats-set-aside");
    expect((await agent.run("doctor")).stdout.toString()).toContain("unreadable heartbeats were set aside");
  });

  test("touches neither the cache nor the queue", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.run("heartbeat", "app", "--every", "60s");
    expect(await readdir(agent.stateDirectory)).toEqual(["heartbeats.json"]);
    expect(await agent.list()).toEqual([]);
  });

  test("with --json prints what was asked for", async () => {
    await using agent = await AgentUnderTest.start();
    const { stdout } = await agent.run("heartbeat", "app", "--every", "90s", "--json");
    expect(JSON.parse(stdout.toString())).toEqual({ application: "app", everyMs: 90_000 });
  });
});

async function heartbeatFile(agent: AgentUnderTest) {
  const path = join(agent.stateDirectory, "heartbeats.json");
  const { mtimeMs } = await stat(path);
  return { path, mtimeMs, text: await readFile(path, "utf8") };
}

describe("a check", () => {
  test("is run at once, and is as its command exits", async () => {
    await using agent = await AgentUnderTest.start();
    const host = await hostOf(agent);
    await addCheck(agent, "well", "exit 0");
    await addCheck(agent, "web", "echo connecting; echo connection refused >&2; exit 7");
    await untilState(host, "well", "ok");
    expect(await untilState(host, "web", "failing")).toMatchObject({ reason: "exit code 7: connection refused" });
    expect((await agent.run("check", "list")).stdout.toString()).toBe(
      "web (check every 30 s): failing since 0 seconds ago, exit code 7: connection refused\n" +
        "well (check every 30 s): ok since 0 seconds ago\n",
    );
    const { applications } = JSON.parse((await agent.run("check", "list", "--json")).stdout.toString()) as {
      applications: object[];
    };
    expect(applications[1]).toMatchObject({
      name: "well",
      everyMs: 30_000,
      timeoutMs: 10_000,
      command: ["sh", "-c", "exit 0"],
    });
    expect((await agent.run("doctor")).stdout.toString()).toContain(
      "applications: 2 watched, failing: web (exit code 7: connection refused)",
    );
  });

  test("is run again, and recovers", async () => {
    await using agent = await AgentUnderTest.start();
    const host = await hostOf(agent);
    const file = join(agent.directory, "ready");
    await addCheck(agent, "web", `test -e ${file}`, "--every", "1s");
    await untilState(host, "web", "failing");
    await writeFile(file, "");
    await untilState(host, "web", "ok");
  });

  test("that hangs is failing, and its processes are gone", async () => {
    await using agent = await AgentUnderTest.start();
    const host = await hostOf(agent);
    const word = `99${process.pid}`;
    await addCheck(agent, "hang", `sleep ${word}1 & trap '' TERM; sleep ${word}2; sleep ${word}3`, "--timeout", "1s");
    await vi.waitUntil(async () => (await processesWith(word)).length > 0);
    expect(await untilState(host, "hang", "failing")).toMatchObject({ reason: "it did not end within 1 s" });
    await vi.waitUntil(async () => (await processesWith(word)).length === 0, { timeout: 5_000 });
  });

  test("that floods its output keeps neither the agent from answering nor its memory", async () => {
    await using agent = await AgentUnderTest.start();
    const host = await hostOf(agent);
    const started = ["a", "b", "c", "d"].map((name) => addCheck(agent, name, "yes", "--timeout", "3s"));
    await Promise.all(started);
    expect(await untilState(host, "a", "failing")).toMatchObject({ reason: "it did not end within 3 s: y" });
    const [, peakKb] = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${agent.pid}/status`, "utf8")) ?? [];

    expect(Number(peakKb)).toBeLessThan(250_000);
  });

  test("survives kill -9, and one that is removed is not there any more", async () => {
    await using agent = await AgentUnderTest.start();
    await addCheck(agent, "kept", "exit 1");
    await addCheck(agent, "removed", "exit 0");
    expect(await agent.run("check", "remove", "removed")).toMatchObject({ exitCode: 0, stderr: "" });
    await agent.kill("SIGKILL");
    await agent.start();
    const host = await hostOf(agent);
    await untilState(host, "kept", "failing");
    expect(await statesOf(host)).toHaveLength(1);
  });

  test("is removed by its name, and so is what beats; what is not there is said", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.run("heartbeat", "app", "--every", "60s");
    expect((await agent.run("check", "remove", "app")).exitCode).toBe(0);
    expect((await agent.run("check", "list")).stdout.toString()).toBe("");
    expect(await agent.run("check", "remove", "app")).toMatchObject({
      exitCode: 2,
      stderr: "agent: no application 'app' is watched; see agent check list\n",
    });
    await agent.kill("SIGKILL");
    await agent.start();
    expect(await statesOf(await hostOf(agent))).toEqual([]);
  });

  test("is refused where a name is taken or the list is full, and nothing is kept of it", async () => {
    await using agent = await AgentUnderTest.start();
    const client = await localClient(agent);
    for (let index = 0; index < 32; index += 1) {
      await client.read("beat", { application: `app${index}`, everyMs: 60_000 });
    }
    expect(await addCheck(agent, "app3", "exit 0")).toMatchObject({ exitCode: 5 });
    expect(await addCheck(agent, "more", "exit 0")).toMatchObject({ exitCode: 4 });
    const check = { application: "app1", command: ["true"], everyMs: 1_000, timeoutMs: 2_000 };
    await expect(client.read("addCheck", check)).rejects.toMatchObject({ code: "invalid-params" });
    expect(await readdir(agent.stateDirectory)).toEqual(["heartbeats.json"]);
  });

  test("that would not fit the list of all is refused", async () => {
    await using agent = await AgentUnderTest.start();
    const client = await localClient(agent);
    const command = ["true", "\u0001".repeat(4_000)];
    const add = (name: string) => {
      return client.read("addCheck", { application: name, command, everyMs: 86_400_000, timeoutMs: 1_000 });
    };
    const results = await Promise.allSettled(Array.from({ length: 12 }, (_, index) => add(`check${index}`)));
    const refused = results.filter((result) => result.status === "rejected").map(({ reason }) => reason as unknown);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]).toMatchObject({ code: "over-limit" });
    const { applications } = await client.read("applications", {});
    expect(applications).toHaveLength(12 - refused.length);
  });

  test("of an unreadable file is not run; the file is set aside, and the doctor says so", async () => {
    await using agent = await AgentUnderTest.start();
    await addCheck(agent, "web", "exit 1");
    await agent.kill("SIGKILL");
    await writeFile(join(agent.stateDirectory, "checks.json"), '{"format":1,"checks":[{"command":["true"]}]}');
    await agent.start();
    expect(await statesOf(await hostOf(agent))).toEqual([]);
    expect(await agent.log()).toContain("checks-set-aside");
    expect((await agent.run("doctor")).stdout.toString()).toContain("unreadable checks were set aside");
  });
});

async function localClient(agent: AgentUnderTest, socket?: string): Promise<Client> {
  const channel = await connectUnixSocket(socket ?? join(agent.runDirectory, "agent.sock"));
  const client = new Client(channel, { role: "local" });
  onTestFinished(() => client.close());
  return client;
}

describe("who may do what", () => {
  const sockets = (directory: string): object => ({
    sockets: [
      { path: join(directory, "app.sock"), prefixes: ["app."], operations: ["beat", "read"] },
      { path: join(directory, "mute.sock"), prefixes: ["app."], operations: ["read"] },
    ],
  });

  test("a restricted socket beats for its own names, and sees no others", async () => {
    await using agent = await AgentUnderTest.start(sockets);
    const app = (...args: string[]) => runAgentCommand(["--socket", join(agent.directory, "app.sock"), ...args]);
    await agent.run("heartbeat", "other", "--every", "60s");
    expect((await app("heartbeat", "app.one", "--every", "60s")).exitCode).toBe(0);
    expect(await app("heartbeat", "other", "--every", "60s")).toMatchObject({
      exitCode: 6,
      stderr: expect.stringContaining("'other' does not begin with one of this socket's prefixes") as string,
    });
    expect((await app("check", "list")).stdout.toString()).toMatch(/^app\.one \(heartbeat every 60 s\): ok[^\n]*\n$/);
    expect((await app("check", "add", "app.two", "--", "true")).exitCode).toBe(6);
    const mute = ["--socket", join(agent.directory, "mute.sock"), "heartbeat", "app.one", "--every", "60s"];
    expect((await runAgentCommand(mute)).exitCode).toBe(6);
  });

  test("a restricted socket ends its own heartbeats, and neither others nor checks", async () => {
    await using agent = await AgentUnderTest.start(sockets);
    const app = (...args: string[]) => runAgentCommand(["--socket", join(agent.directory, "app.sock"), ...args]);
    await agent.run("heartbeat", "other", "--every", "60s");
    await addCheck(agent, "app.check", "exit 0");
    await app("heartbeat", "app.one", "--every", "60s");
    expect(await app("check", "remove", "app.one")).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await app("check", "remove", "app.one")).toMatchObject({ exitCode: 2 });
    expect(await app("check", "remove", "other")).toMatchObject({ exitCode: 6 });
    expect(await app("check", "remove", "app.check")).toMatchObject({
      exitCode: 6,
      stderr: "agent: 'app.check' is a check, which root alone can remove\n",
    });
    const mute = ["--socket", join(agent.directory, "mute.sock"), "check", "remove", "app.one"];
    expect((await runAgentCommand(mute)).exitCode).toBe(6);
    expect((await statesOf(await hostOf(agent))).map(({ name }) => name).sort()).toEqual(["app.check", "other"]);
  });

  test("a restricted socket has its share of the applications, also after a restart", async () => {
    await using agent = await AgentUnderTest.start(sockets);
    const app = await localClient(agent, join(agent.directory, "app.sock"));
    const beat = (client: Client, name: string) => client.read("beat", { application: name, everyMs: 60_000 });
    for (let index = 0; index < 8; index += 1) await beat(app, `app.${index}`);
    await expect(beat(app, "app.more")).rejects.toMatchObject({ code: "over-limit" });
    await agent.kill("SIGKILL");
    await agent.start();
    const again = await localClient(agent, join(agent.directory, "app.sock"));
    await expect(beat(again, "app.more")).rejects.toMatchObject({ code: "over-limit" });
    await beat(await localClient(agent), "app.more");
  });

  test("a restricted socket keeps root's check from no name, and has it back when that cannot be written", async () => {
    await using agent = await AgentUnderTest.start(sockets);
    const app = (...args: string[]) => runAgentCommand(["--socket", join(agent.directory, "app.sock"), ...args]);
    await app("heartbeat", "app.web", "--every", "60s");
    await rm(agent.stateDirectory, { recursive: true });
    expect((await addCheck(agent, "app.web", "exit 0")).exitCode).toBe(2);
    const host = await hostOf(agent);
    expect(await statesOf(host)).toMatchObject([{ name: "app.web", kind: "heartbeat" }]);
    await mkdir(agent.stateDirectory);
    expect((await addCheck(agent, "app.web", "exit 0")).exitCode).toBe(0);
    expect(await statesOf(host)).toMatchObject([{ name: "app.web", kind: "check" }]);
    expect((await app("heartbeat", "app.web", "--every", "60s")).exitCode).toBe(5);
    expect((await heartbeatFile(agent)).text).not.toContain("app.web");
  });

  test("a host asks how applications are with its ping, and for nothing else of them", async () => {
    await using agent = await AgentUnderTest.start();
    const host = await hostOf(agent);
    const check = {
      application: "web",
      command: ["touch", join(agent.directory, "x")],
      everyMs: 60_000,
      timeoutMs: 1_000,
    };
    const refused = { code: "unknown-method" };
    await expect(host.read("addCheck", check)).rejects.toMatchObject(refused);
    await expect(host.read("beat", { application: "web", everyMs: 60_000 })).rejects.toMatchObject(refused);
    await expect(host.read("dismiss", { application: "web" })).rejects.toMatchObject(refused);
    await expect(host.read("applications", {})).rejects.toMatchObject(refused);
    expect(await readdir(agent.directory)).not.toContain("x");
  });
});

describe("stats", () => {
  test("tell of this machine's processors, memory and disks", async () => {
    await using agent = await AgentUnderTest.start();
    const host = await hostOf(agent);
    const [before, after] = [await host.read("stats", {}), await host.read("stats", {})];
    expect(after.cpus).toBeGreaterThan(0);
    expect(after.cpuBusyMs + after.cpuIdleMs).toBeGreaterThanOrEqual(before.cpuBusyMs + before.cpuIdleMs);
    expect(after.disks[0]).toMatchObject({ path: "/" });
    expect(after.disks[0]?.totalBytes).toBeGreaterThan(after.disks[0]?.availableBytes ?? Infinity);
  });
});

describe("an agent that is told to end", () => {
  test("says so to the host that is there, and ends what its checks run", async () => {
    await using agent = await AgentUnderTest.start();
    const said: string[] = [];
    const host = await agent.host({ notified: ({ method }) => said.push(method) });
    onTestFinished(() => host.close());
    await host.hello();
    const word = `98${process.pid}`;
    await addCheck(agent, "slow", `trap '' TERM; sleep ${word}`);
    await vi.waitUntil(async () => (await processesWith(word)).length > 0);
    const startedAt = performance.now();
    await agent.kill("SIGTERM");
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    await host.ended;
    expect(said.at(-1)).toBe("stopping");
    expect(await processesWith(word)).toEqual([]);
  });

  test("is not held up by a host that does not read", async () => {
    await using agent = await AgentUnderTest.start({ limitBytes: 1024 * 1024 });
    for (const key of ["a", "b", "c", "d"]) {
      await agent.runWithInput("x".repeat(32_000), "--value-stdin", key);
    }
    const host = await deafHost(agent.channelPath);
    onTestFinished(() => {
      host.destroy();
    });
    // By the time that it has answered somebody else, it has written to the host what it can.
    await agent.list();
    const startedAt = performance.now();
    await agent.kill("SIGTERM");
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });

  test("says nothing to one that never greeted", async () => {
    await using agent = await AgentUnderTest.start();
    const host = connect(agent.channelPath);
    await once(host, "data");
    const heard: Buffer[] = [];
    host.on("data", (piece: Buffer) => heard.push(piece));
    const closed = once(host, "close");
    await agent.kill("SIGTERM");
    await closed;
    expect(Buffer.concat(heard).toString()).not.toContain("stopping");
  });
});

/** Greets, asks for more than a socket holds, and reads nothing of it. */
async function deafHost(path: string): Promise<Socket> {
  const session = new OpenerSession({ role: "host", software: "test", makeNonce: () => "1".repeat(16) });
  const host = connect(path);
  await once(host, "connect");
  host.write(session.hello().bytes);
  const opened = Promise.withResolvers<undefined>();
  host.on("data", (piece: Buffer) => {
    if (session.receive(piece).some(({ type }) => type === "opened")) opened.resolve(undefined);
  });
  await opened.promise;
  host.pause();
  const requests = Array.from({ length: 60 }, () => session.request("list", {}).bytes);
  host.write(Buffer.concat(requests));
  return host;
}
