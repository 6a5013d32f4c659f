/** A guest's configuration through a real manager: `vmmessage bootstrap`, also of a VM that is away, and the events of it. */
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { EventPage, ShownEvent } from "../../../../shared/api/event-schemas.ts";
import type { BootstrapMessage, BootstrapMessageName } from "../../../../shared/bootstrap.ts";
import { connectUnixSocket } from "../../../../shared/channels/unix-socket.ts";
import { Client } from "../../../../shared/client.ts";
import { GuestBootstrap } from "../../host-cli/guest-bootstrap.ts";
import { type Running, startVmmessage, until, vmmessage } from "../../host-cli/programs.ts";
import { AgentUnderTest } from "../../support/agents.ts";
import { MailServerUnderTest } from "../../support/mail.ts";
import { ManagerUnderTest } from "../../support/managers.ts";

const SOON = { timeout: 30_000, interval: 50 };

let agent: AgentUnderTest;
let manager: ManagerUnderTest;
let guest: GuestBootstrap;

beforeEach(async () => {
  agent = await AgentUnderTest.start();
  onTestFinished(() => agent[Symbol.asyncDispose]());
  guest = new GuestBootstrap((...args) => agent.run(...args));
});

async function startManager(config: object = {}): Promise<void> {
  manager = await ManagerUnderTest.start([{ name: "web1", socket: agent.channelPath }], config);
  onTestFinished(() => manager[Symbol.asyncDispose]());
}

const environment = () => ({ env: { VMMESSAGE_MANAGER: manager.socketPath } });

/** `vmmessage bootstrap -v web1 ...`, under way. */
function start(...args: string[]): Running {
  return startVmmessage(["bootstrap", "-v", "web1", ...args], environment());
}

const HOSTNAME = { name: "hostname", state: "ok", durationMs: 200 } as const;
const SITE = { name: "web-site", state: "ok", durationMs: 3_700 } as const;

describe("vmmessage bootstrap", () => {
  it("of a VM that answers is told as without a manager", async () => {
    await startManager();
    await manager.untilLink("web1", "up");
    const following = start("--set", "a=1", "--secret-file", `p=${join(agent.directory, "agent.json")}`);
    const commit = await guest.commit();
    await guest.report({ commit, state: "running", modules: [HOSTNAME, { name: "web-site", state: "running" }] });
    await until(() => following.stderr.includes("hostname  ok"));
    await guest.report({ commit, state: "ok", durationMs: 4_100, modules: [HOSTNAME, SITE] });
    const outcome = await following.outcome();
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stdout).toMatch(
      /^vmmessage .*\nConnected\.\nVM : 'web1' .*\nSending message\.\nMessage sent successfully\.\nBootstrap of 'web1' succeeded: 2 modules in 4\.1 s\.\n$/,
    );
    expect(outcome.stderr).toContain("vmmessage: hostname  ok  0.2 s\nvmmessage: web-site  ok  3.7 s\n");
    expect((await agent.list()).sort()).toEqual(
      expect.arrayContaining(['{"a":"1"}', '{"p":null}', `{"org.vmmessage.commit":"${commit}"}`]),
    );
  });

  it("of a VM that is away waits in the manager, and follows the run when it comes", async () => {
    await agent.kill("SIGTERM");
    await startManager();
    const following = start("--set", "a=1");
    await until(() => following.stdout.endsWith("Message queued; it is delivered when the VM answers.\n"));
    await until(() => following.stderr.startsWith("vmmessage: 'web1' is away: "));
    await agent.start();
    const commit = await guest.commit();
    await guest.report({ commit, state: "ok", durationMs: 4_100, modules: [HOSTNAME, SITE] });
    const { code, stdout, stderr } = await following.outcome();
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringContaining("vmmessage: 'web1' answers again\nvmmessage: hostname  ok  0.2 s\n") as string,
    });
    expect(stdout).toContain("Bootstrap of 'web1' succeeded: 2 modules in 4.1 s.\n");
  });

  it("passes over the run that the manager remembers of a VM that is away", async () => {
    await startManager();
    await manager.untilLink("web1", "up");
    await guest.report({ commit: "again", messageId: "e".repeat(32), state: "error", modules: [{ ...SITE, state: "error" }] }); // prettier-ignore
    await vi.waitFor(async () => {
      const { status } = await manager.get("/v1/vms/web1/keys/org.vmmessage.bootstrap");
      expect(status).toBe(200);
    }, SOON);
    await agent.kill("SIGTERM");
    await vi.waitFor(async () => {
      expect((await manager.vm("web1")).link.state).not.toBe("up");
    }, SOON);
    const following = start("--set", "a=1", "--commit", "again", "--timeout", "40");
    await until(() => following.stderr.includes("is away"));
    await agent.start();
    await guest.commit("again");
    await guest.report({ commit: "again", state: "ok", durationMs: 1_000, modules: [HOSTNAME] });
    expect(await following.outcome()).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("Bootstrap of 'web1' succeeded: 1 module in 1.0 s.\n") as string,
    });
  });

  it("of a VM that refuses the keys when it comes ends with its refusal", async () => {
    await agent.kill("SIGTERM");
    await startManager();
    const following = start("--set", `a=${"x".repeat(9_000)}`, "--json");
    await until(() => following.stderr.includes("is away"));
    await agent.start();
    const { code, stdout } = await following.outcome();
    expect(code).toBe(4);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "over-limit", vm: "web1", state: "refused" } });
  });

  it("of a VM that does not come in time is not confirmed, and the message still waits", async () => {
    await agent.kill("SIGTERM");
    await startManager();
    const { code, stderr } = await start("--set", "a=1", "--timeout", "2").outcome();
    expect(code).toBe(11);
    expect(stderr).toContain(
      "vmmessage: the bootstrap of 'web1' is not confirmed: the time is up; it never got the message, which waits in the manager till it answers\n",
    );
    expect((await manager.vm("web1")).pending).toBe(1);
  });

  it("of somebody who may not set the report's key is refused at once, and --no-wait does without it", async () => {
    await startManager();
    await manager.untilLink("web1", "up");
    const rights = ["--role", "write", "--vms", "*", "--keys", "com.example.", "--keys", "org.vmmessage.commit"];
    const added = ["user", "add", "alice", ...rights, "--new-password", "-"];
    expect(await vmmessage(added, { ...environment(), stdin: "correct horse\n" })).toMatchObject({ code: 0 });
    const asAlice = ["-u", "alice", "-p", "correct horse", "--set", "com.example.a=1"];
    const { code, stderr } = await start(...asAlice).outcome();
    expect({ code, stderr }).toEqual({
      code: 6,
      stderr: expect.stringMatching(
        /'org\.vmmessage\.bootstrap' is none of those; to follow the run takes this key too, with --no-wait it is left alone\n$/,
      ) as string,
    });
    expect(await agent.list()).toEqual([]);
    expect(await start(...asAlice, "--set", "other=1").outcome()).toMatchObject({
      code: 6,
      stderr: expect.not.stringContaining("--no-wait") as string,
    });
    expect(await start(...asAlice, "--no-wait").outcome()).toMatchObject({ code: 0 });
  });

  it("--no-wait ends when the message is with the manager", async () => {
    await agent.kill("SIGTERM");
    await startManager();
    const { code, stdout, stderr } = await start("--set", "a=1", "--no-wait", "--commit", "c1").outcome();
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/Message queued; it is delivered when the VM answers\.\nCommit: c1\n$/);
  });

  it("goes on over the manager's restart", async () => {
    await startManager();
    await manager.untilLink("web1", "up");
    const following = start("--set", "a=1");
    const commit = await guest.commit();
    await guest.report({ commit, state: "running", modules: [HOSTNAME] });
    await until(() => following.stderr.includes("hostname  ok"));
    await manager.kill("SIGKILL");
    await guest.report({ commit, state: "running", modules: [HOSTNAME, { name: "web-site", state: "running" }] });
    await manager.start();
    await guest.report({ commit, state: "ok", modules: [HOSTNAME, SITE] });
    const { code, stderr } = await following.outcome();
    expect(code).toBe(0);
    expect(stderr.match(/hostname {2}ok|web-site {2}ok/g)).toEqual(["hostname  ok", "web-site  ok"]);
  });
});

describe("what a guest reports of its run", () => {
  const run = { run: "0123456789abcdef", target: "configure", instance: "i-1", commit: "c1", messageId: "m1" } as const;
  const failed: BootstrapMessage<"bootstrap.module"> = {
    ...run,
    module: "web-site",
    outcome: "error",
    durationMs: 1_200,
    reason: "check 'nginx -t' failed: exit code 1",
    lines: ["nginx: [emerg] unknown directive \u001b[2J"],
  };
  const ended: BootstrapMessage<"bootstrap.ended"> = {
    ...run,
    outcome: "error",
    durationMs: 4_100,
    modules: [{ name: "web-site", outcome: "error" }],
  };

  /** As the agent's bootstrap does, by a request on the agent's own socket. */
  async function report(name: string, data: Record<string, unknown>): Promise<void> {
    const client = new Client(await connectUnixSocket(join(agent.runDirectory, "agent.sock")), { role: "local" });
    try {
      await client.change("report", { messageId: `${name}-${Math.random()}`, name, data });
    } finally {
      await client.close();
    }
  }

  function tell<N extends BootstrapMessageName>(name: N, data: BootstrapMessage<N>): Promise<void> {
    return report(name, { ...data });
  }

  async function events(): Promise<ShownEvent[]> {
    const { body } = await manager.get<EventPage>("/v1/events?limit=1000&type=BOOTSTRAP.*");
    return body.events;
  }

  it("are events, also what it said while the manager was away; what is no such report is none, and blocks nothing", async () => {
    await tell("bootstrap.started", { ...run, modules: ["web-site"] });
    await report("bootstrap.started", { ...run, modules: "web-site" });
    await report("bootstrap.started", { a: { b: [] } });
    await report("something.else", { ...run });
    await tell("bootstrap.module", failed);
    await startManager();
    await tell("bootstrap.ended", ended);
    await vi.waitFor(async () => {
      expect(await events()).toHaveLength(3);
    }, SOON);
    expect(
      (await events()).map(({ type, source, resourceName, newState, data }) => [
        type,
        source,
        resourceName,
        newState,
        data,
      ]),
    ).toEqual([
      ["BOOTSTRAP.STARTED", "guest", "web1", undefined, { ...run, modules: ["web-site"] }],
      ["BOOTSTRAP.MODULE", "guest", "web1", undefined, failed],
      ["BOOTSTRAP.FAILED", "guest", "web1", "error", ended],
    ]);
  });

  it("is told by vmmessage events as it happens", async () => {
    await startManager();
    const words = ["events", "-v", "web1", "--type", "BOOTSTRAP.*", "--follow"];
    const following = startVmmessage(words, environment());
    // What was before comes first, so that it does not matter when the listening begins.
    await manager.untilLink("web1", "up");
    await until(async () => {
      await tell("bootstrap.module", failed);
      return following.stdout !== "";
    });
    expect(following.stdout).toMatch(
      /^.*: event 'BOOTSTRAP\.MODULE' for domain 'web1': module=web-site outcome=error durationMs=1200 reason="check 'nginx -t' failed: exit code 1" lines=.*target=configure commit=c1 run=0123456789abcdef \.\.\.\n/,
    );
  });

  it("is a mail, in which nothing is obeyed by a terminal", async () => {
    await using server = await MailServerUnderTest.start();
    await startManager({ events: { mail: server.config } });
    const endpoint = ["--endpoint", "mailto:ops@example.com"];
    const added = await vmmessage(["subscription", "add", "ops", "--type", "BOOTSTRAP.*", ...endpoint], environment());
    expect(added).toMatchObject({ code: 0 });
    await tell("bootstrap.module", failed);
    await tell("bootstrap.ended", { ...ended, reason: "one module failed" });
    const mails = await vi.waitFor(async () => {
      const taken = await server.messages();
      expect(taken).toHaveLength(2);
      return taken;
    }, SOON);
    expect(mails.map(({ headers }) => headers.get("subject"))).toEqual([
      "[vmmessage] BOOTSTRAP.MODULE web1",
      "[vmmessage] BOOTSTRAP.FAILED web1: error",
    ]);
    const [module, end] = mails.map(({ text }) => text);
    expect(module).toContain("module:      web-site\n");
    expect(module).not.toContain("\u001b");
    expect(end).toContain("Source:      guest\n");
    expect(end).toContain("reason:      one module failed\n");
  });
});
