import { execFile } from "node:child_process";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test, vi } from "vitest";
import { newMessageId } from "../../../shared/random.ts";
import { agentProgram, AgentUnderTest, runAgentCommand } from "../support/agents.ts";

const run = promisify(execFile);

describe("a change", () => {
  test("is answered only after its data, the rename and the directory are synced", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.kill("SIGKILL");
    const trace = join(agent.directory, "trace");
    const calls = "trace=openat,fsync,fdatasync,rename,renameat,renameat2,write,writev,sendto,sendmsg,close";
    await agent.start(["strace", "-f", "-y", "-s", "256", "-o", trace, "-e", calls]);
    expect((await agent.run("-p", "durable=yes")).exitCode).toBe(0);
    const steps = ["write temporary", "fsync temporary", "rename", "fsync directory", "answer"];
    await expect.poll(() => syncStepsOf(trace), { timeout: 10_000 }).toEqual(steps);
  });

  test("that the disk refuses is refused, and the old state stays", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.run("-p", "k=old");
    // A limit on the size of files refuses the write as a full disk does; the VM tests fill a real one.
    await run("prlimit", [`--pid=${agent.pid}`, "--fsize=0:unlimited"]);
    const refused = await agent.run("-p", "k=new");
    expect(refused.stderr).toContain("nothing was changed");
    expect(refused.exitCode).toBe(2);
    expect((await agent.run("-g", "k")).stdout.toString()).toBe("old\n");
    await run("prlimit", [`--pid=${agent.pid}`, "--fsize=unlimited"]);
    expect((await agent.run("-p", "k=newer")).exitCode).toBe(0);
    expect(await readdir(agent.stateDirectory)).toEqual(["cache.json"]);
  });

  test("survives kill -9, every one that was acknowledged under load", async () => {
    await using agent = await AgentUnderTest.start({ limitBytes: 65536 });
    const acknowledged = new Set<string>();
    for (let round = 0; round < 5; round += 1) {
      const host = await agent.host();
      const enough = acknowledged.size + 40;
      const load = Array.from({ length: 16 }, async (_, sender) => {
        for (let index = 0; ; index += 1) {
          const key = `r${round}.s${sender}.${index}`;
          await host.change("set", { messageId: newMessageId(), entries: [{ key, value: "x" }] });
          acknowledged.add(key);
        }
      });
      const ended = Promise.allSettled(load);
      await vi.waitUntil(() => acknowledged.size >= enough, { timeout: 20_000, interval: 1 });
      await agent.kill("SIGKILL");
      await ended;
      await host.close();
      await agent.start();
    }
    const kept = new Set((await agent.list()).map((line) => Object.keys(JSON.parse(line) as object)[0]));
    expect(acknowledged.size).toBeGreaterThanOrEqual(200);
    expect([...acknowledged].filter((key) => !kept.has(key))).toEqual([]);
  });

  test("repeated after its answer was lost has one effect and the first answer", async () => {
    await using agent = await AgentUnderTest.start();
    const messageId = newMessageId();
    const send = async () => {
      const host = await agent.host();
      const answer = await host.change("set", { messageId, entries: [{ key: "k", value: "v" }] });
      await host.close();
      return answer;
    };
    const first = await send();
    await agent.run("-r", "k");
    expect(await send()).toEqual(first);
    await agent.kill("SIGKILL");
    await agent.start();
    expect(await send()).toEqual(first);
    expect(await agent.list()).toEqual([]);
  });
});

describe("an agent that starts", () => {
  test("takes over from one that was killed, stale socket and pid file and all", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.run("-p", "k=v");
    await agent.kill("SIGKILL");
    expect((await stat(join(agent.runDirectory, "agent.sock"))).isSocket()).toBe(true);
    await agent.start();
    expect(await agent.list()).toEqual(['{"k":"v"}']);
    expect(await readFile(join(agent.runDirectory, "agent.pid"), "utf8")).toBe(`${agent.pid}\n`);
  });

  test("refuses to run beside another one and leaves it in peace", async () => {
    await using agent = await AgentUnderTest.start();
    const second = await runAgentCommand(agent.runArguments);
    expect(second.stderr).toContain(`another agent is running, pid ${agent.pid}`);
    expect(second.exitCode).toBe(12);
    expect((await agent.run("-p", "k=v")).exitCode).toBe(0);
  });

  test("refuses to run beside one that has another name, and leaves its pid file", async () => {
    await using agent = await AgentUnderTest.start();
    const words = [process.execPath, agentProgram, ...agent.runArguments];
    const ovmd = run("bash", ["-c", 'exec -a ovmd "$@"', "bash", ...words]);
    await expect(ovmd).rejects.toMatchObject({
      code: 12,
      stderr: expect.stringContaining("another agent listens there") as string,
    });
    expect(await readFile(join(agent.runDirectory, "agent.pid"), "utf8")).toBe(`${agent.pid}\n`);
    expect((await agent.run("-p", "k=v")).exitCode).toBe(0);
  });

  test("sets an unreadable cache aside, starts empty and says so", async () => {
    await using agent = await AgentUnderTest.start();
    await agent.kill("SIGKILL");
    await writeFile(join(agent.stateDirectory, "cache.json"), "not a cache");
    await agent.start();
    expect(await agent.list()).toEqual([]);
    const aside = (await readdir(agent.stateDirectory)).filter((name) => name.startsWith("cache.json.unreadable-"));
    expect(aside).toHaveLength(1);
    expect((await agent.run("doctor")).stdout.toString()).toContain("set aside");
  });

  test("names every mistake in its configuration at once", async () => {
    await using agent = await AgentUnderTest.start();
    await writeFile(join(agent.directory, "agent.json"), '{"limitBytes": 1, "sokets": []}');
    const { stderr, exitCode } = await runAgentCommand(agent.runArguments);
    expect(stderr).toMatch(/limitBytes: .*sokets.*known: channel, limitBytes/);
    expect(exitCode).toBe(3);
  });

  test("stops on SIGTERM, and takes its socket and pid file with it", async () => {
    await using agent = await AgentUnderTest.start();
    expect(await agent.kill("SIGTERM")).toBe("SIGTERM");
    expect(await readdir(agent.runDirectory)).toEqual(["keys", "secrets"]);
  });
});

/** What the trace shows of the agent's last change, in order. */
async function syncStepsOf(path: string): Promise<string[]> {
  const lines = (await readFile(path, "utf8")).split("\n");
  const start = lines.findLastIndex((line) => /write\(.*\.cache\.json\.new-.*"\{/.test(line));
  const steps = lines.slice(Math.max(start, 0)).flatMap((line) => {
    if (/ write\(.*\.cache\.json\.new-/.test(line)) return ["write temporary"];
    if (/ fsync\(.*\.cache\.json\.new-/.test(line)) return ["fsync temporary"];
    if (/ rename.*\.cache\.json\.new-/.test(line)) return ["rename"];
    if (/ fsync\(\d+<[^>]*\/state>/.test(line)) return ["fsync directory"];
    if (/ write.*jsonrpc.*replaced/.test(line)) return ["answer"];
    return [];
  });
  return steps;
}
