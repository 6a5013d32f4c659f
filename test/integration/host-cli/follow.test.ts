import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { chardev } from "./chardev.ts";
import { RealAgent, type Running, startVmmessage, temporaryDirectory, until, vmmessage } from "./programs.ts";

let directory: string;
let agent: RealAgent;

beforeEach(async () => {
  directory = await temporaryDirectory();
  const agentSocket = join(directory, "agent-port.sock");
  agent = new RealAgent(directory, agentSocket);
  await agent.start();
  await chardev(join(directory, "web1.sock"), agentSocket);
});

/** `vmmessage ... -v web1`, under way. */
function start(...args: string[]): Running {
  return startVmmessage([...args, "-v", "web1", "--socket-dir", directory]);
}

async function set(...pairs: string[]): Promise<void> {
  expect(await agent.run(...pairs.flatMap((pair) => ["-p", pair]))).toMatchObject({ code: 0 });
}

function jsonLines({ stdout }: { stdout: string }): object[] {
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as object);
}

describe("watch", () => {
  it("prints the keys, then every change, and says that it holds the channel", async () => {
    await set("a.x=1", "b=1");
    const watching = start("watch", "a.");
    await until(() => watching.stdout === "1 set by guest: a.x = '1'\n");
    expect(watching.stderr).toBe(
      "vmmessage: watching 'web1'; nobody else can use its channel meanwhile, till Ctrl-C\n",
    );
    await set("a.x=2");
    await set("b=2");
    await agent.run("-r", "a.x");
    await until(() => watching.stdout.endsWith("2 set by guest: a.x = '2'\n4 deleted: a.x\n"));
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s ends it, and the channel is free", async (signal, code) => {
    await set("a=1");
    const watching = start("watch");
    await until(() => watching.stdout !== "");
    await watching.kill(signal);
    expect(await watching.outcome()).toMatchObject({ code });
    expect(await vmmessage(["ping", "-v", "web1", "--socket-dir", directory])).toMatchObject({ code: 0 });
  });

  it("goes on after the agent was killed and started again, which its socket does not show", async () => {
    const watching = start("watch", "--json");
    await until(() => jsonLines(watching).length === 1);
    await set("a=1");
    await agent.kill();
    await agent.start();
    await set("b=2");
    await until(() => watching.stdout.includes('"key":"b"'));
    // A new start is a new epoch: the watcher is told to forget, and gets all keys.
    const changes = jsonLines(watching);
    expect(changes.filter((change) => "resync" in change)).toHaveLength(2);
    expect(changes.at(-1)).toMatchObject({ key: "b", value: "2", setBy: "guest", revision: 2 });
  });

  it("--since goes on where another watch was", async () => {
    await set("a=1");
    await set("b=2");
    const watching = start("watch", "--since", "1");
    await until(() => watching.stdout === "2 set by guest: b = '2'\n");
  });

  it("a reader that had enough ends it without a word", async () => {
    await set("a=1");
    const watching = start("watch", "--quiet");
    await until(() => watching.stdout !== "");
    watching.child.stdout?.destroy();
    await set("b=1");
    expect(await watching.outcome()).toMatchObject({ code: 0, stderr: "" });
  });
});

describe("wait", () => {
  it("prints the value at once when the key is set", async () => {
    await set("ready=yes");
    expect(await start("wait", "ready").outcome()).toMatchObject({ code: 0, stdout: "yes\n" });
  });

  it("waits for the key, also over a restart of the agent", async () => {
    const waiting = start("wait", "ready", "--json");
    await set("ready.not=yes");
    await agent.kill();
    await agent.start();
    await set("ready=yes");
    const outcome = await waiting.outcome();
    expect(outcome).toMatchObject({ code: 0 });
    expect(jsonLines(outcome)).toMatchObject([{ vm: "web1", key: "ready", value: "yes" }]);
  });

  it("waits for a secret, whose value no watch shows", async () => {
    const waiting = start("wait", "password", "--quiet");
    await agent.run("-p", "password=hunter2", "--secret");
    expect(await waiting.outcome()).toMatchObject({ code: 0, stdout: "hunter2\n" });
  });

  it("is bounded", async () => {
    expect(await start("wait", "never", "--timeout", "300ms").outcome()).toMatchObject({
      code: 10,
      stdout: "",
      stderr: "vmmessage: the key 'never' was not set in 'web1': the time is up\n",
    });
  });
});
