import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { AgentUnderTest, runAgentCommand } from "../support/agents.ts";

const path = (agent: AgentUnderTest): string => join(agent.directory, "app.sock");

function startWithAppSocket(): Promise<AgentUnderTest> {
  return AgentUnderTest.start((directory) => ({
    sockets: [
      {
        path: join(directory, "app.sock"),
        mode: "0666",
        prefixes: ["app."],
        operations: ["read", "write"],
        quotaBytes: 64,
      },
    ],
  }));
}

describe("a restricted socket", () => {
  test("gives a program exactly its own keys", async () => {
    await using agent = await startWithAppSocket();
    await agent.run("-p", "app.a=1", "-p", "root=2");
    const app = (...args: string[]) => runAgentCommand(["--socket", path(agent), ...args]);
    expect((await app("-l")).stdout.toString()).toBe('{"app.a":"1"}\n');
    expect((await app("-p", "app.b=3")).exitCode).toBe(0);
    for (const args of [
      ["-g", "root"],
      ["-p", "root=x"],
      ["-r", "root"],
      ["-e", "X"],
    ]) {
      expect(await app(...args)).toMatchObject({ exitCode: 6 });
    }
    expect((await app("-p", `app.c=${"x".repeat(64)}`)).exitCode).toBe(4);
    expect((await app("-x")).exitCode).toBe(0);
    expect(await agent.list()).toEqual(['{"root":"2"}']);
  });

  test("has the mode of its configuration, and root's has none for others", async () => {
    await using agent = await startWithAppSocket();
    expect((await stat(path(agent))).mode & 0o777).toBe(0o666);
    expect((await stat(join(agent.runDirectory, "agent.sock"))).mode & 0o777).toBe(0o600);
  });
});

describe("keys as files", () => {
  test("hold the bytes of the value, and nothing outside their directory", async () => {
    await using agent = await AgentUnderTest.start({ keyFiles: [{ prefix: "com.", mode: "0644" }] });
    await agent.run("-p", "com.example=v", "-p", "../../escape=x", "-p", ".revision=y", "-p", "100%=z");
    const directory = join(agent.runDirectory, "keys");
    expect((await readdir(directory)).sort()).toEqual(
      ["%2E.%2F..%2Fescape", "%2Erevision", ".revision", "100%25", "com.example"].sort(),
    );
    expect(await readFile(join(directory, "com.example"), "utf8")).toBe("v");
    expect((await stat(join(directory, "com.example"))).mode & 0o777).toBe(0o644);
    expect((await stat(join(directory, "100%25"))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(directory, ".revision"), "utf8")).toBe("1");
    await agent.run("-x");
    expect(await readdir(directory)).toEqual([".revision"]);
  });

  test("are there by the time a change is answered, a secret's for its owner alone", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.run("-p", "password=s", "--secret");
    const file = join(agent.runDirectory, "keys", "password");
    expect(await readFile(file, "utf8")).toBe("s");
    expect((await stat(file)).mode & 0o777).toBe(0o400);
  });

  test("a key too long for a file's name has none, and the doctor says so", async () => {
    await using agent = await AgentUnderTest.start();
    const key = "%".repeat(100);
    await agent.run("-p", `${key}=v`);
    expect((await agent.run("-g", key)).exitCode).toBe(0);
    expect((await agent.run("doctor")).stdout.toString()).toContain(`key files: none for ${key}`);
  });
});

describe("what the host set read-only", () => {
  test("cannot be changed in the guest, and stays when the guest deletes all", async () => {
    await using agent = await AgentUnderTest.start();
    const host = await agent.host();
    await host.change("set", { messageId: "m1", entries: [{ key: "role", value: "db", readOnly: true }] });
    expect((await agent.run("-p", "role=web")).stderr).toContain("was set read-only by the host");
    expect((await agent.run("-r", "role")).exitCode).toBe(6);
    await agent.run("-x");
    expect(await agent.list()).toEqual(['{"role":"db"}']);
    await host.close();
  });
});
