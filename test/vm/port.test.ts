// The port and the lines that lead to the host, the doctor who examines them, and the limits of the cache behind them.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { newMessageId } from "../../shared/random.ts";
import { type Guest, restoreSnapshot } from "./harness/guest.ts";
import { agentPort } from "./harness/qemu-args.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { waitFor } from "./harness/wait-for.ts";
import { agentAnswers, saveGuestWithAgent } from "./support/guests.ts";
import { Host } from "./support/host.ts";
import { agent, agentSays, vmmessage } from "./support/programs.ts";

const cacheLimit = 8192;

let snapshot: Snapshot;
let guest: Guest;

beforeAll(async () => {
  snapshot = await saveGuestWithAgent({ hasSerial: true, hasVirtconsole: true });
});
afterAll(() => snapshot.remove());

beforeEach(async () => {
  guest = await restoreSnapshot(snapshot);
  return () => guest.stop();
});

describe("a port that is pulled out and put back", () => {
  test("while no host is there is served again, and the guest's programs notice nothing", async () => {
    await agentSays(guest, ["-p", "before=kept"]);
    const pid = await guest.agentPid();
    await guest.unplugAgentPort();
    await logSays("port-gone");
    await agentSays(guest, ["-p", "meanwhile=set"]);
    await guest.plugAgentPort();
    await using host = await Host.connect(guest.channelPath);
    expect(await host.keys()).toEqual({ before: "kept", meanwhile: "set" });
    expect(await guest.agentPid()).toBe(pid);
  });

  test("while a host is attached is served again, to that host or the next, several times over", async () => {
    const pid = await guest.agentPid();
    for (let count = 1; count <= 3; count++) {
      await using host = await Host.connect(guest.channelPath);
      await host.set("count", String(count));
      await guest.unplugAgentPort();
      await waitFor("the port's end", async () => (await guest.findPort(agentPort)) === undefined);
      await guest.plugAgentPort();
      expect((await host.get("count")).value).toBe(String(count));
    }
    expect(await vmmessage(guest, ["-q", "count", "--quiet"])).toMatchObject({ stdout: "3\n" });
    expect(await guest.agentPid()).toBe(pid);
  });
});

describe("agent doctor", () => {
  test("finds nothing wrong while a host is attached, and misses one that is not", async () => {
    const alone = await doctor();
    expect(alone).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("agent: host: no host has") as string });
    expect(alone.problems).toEqual(["host: no host has the channel open at the moment"]);
    await using host = await Host.connect(guest.channelPath);
    await host.hello();
    expect(await doctor()).toMatchObject({ exitCode: 0, problems: [], stderr: "" });
  });

  test("names the port that is not there, and those that are", async () => {
    await guest.unplugAgentPort();
    await logSays("port-gone");
    const { exitCode, problems } = await doctor();
    expect(exitCode).toBe(2);
    expect(problems[0]).toMatch(
      /^port: there is no virtio port org\.vmmessage\.agent\.0; the machine's ports are .*org\.qemu.*; is the channel in the VM's definition\?$/,
    );
  });

  test("names the port that the configuration misspells, with a daemon and without", async () => {
    await guest.stopAgent();
    await guest.writeFile("/tmp/agent.json", '{ "channel": "virtio:org.vmmessage.agnet.0" }');
    const problem = expect.stringMatching(
      /^port: there is no virtio port org\.vmmessage\.agnet\.0; the machine's ports are .*org\.vmmessage\.agent\.0.*; is the name right\?$/,
    ) as string;
    expect((await doctor("--config", "/tmp/agent.json")).problems).toContainEqual(problem);
    await guest.startAgent(["--channel", "virtio:org.vmmessage.agnet.0"]);
    await logSays("port-absent");
    expect((await doctor("--config", "/tmp/agent.json")).problems).toContainEqual(problem);
  });

  test("names the program that holds the port and its pid, and the agent takes over when it is gone", async () => {
    await guest.stopAgent();
    expect((await doctor()).problems).toContainEqual("port opened: by no program; is 'agent run' running?");
    const holder = await guest.qga.spawn(["port-echo", (await guest.findPort(agentPort)) ?? "missing"]);
    await guest.startAgent();
    await logSays("port-busy");
    expect((await doctor()).problems).toContainEqual(
      expect.stringMatching(new RegExp(`^port opened: by pid ${holder} \\(port-echo /dev/vport\\w+\\)$`)),
    );
    await guest.shell(`kill ${holder}`);
    await using host = await Host.connect(guest.channelPath);
    await host.set("port", "taken over");
  });

  test("says that no daemon runs", async () => {
    await guest.stopAgent();
    const { exitCode, problems } = await doctor();
    expect(exitCode).toBe(2);
    expect(problems).toContainEqual(expect.stringContaining("daemon: no agent answers at /run/vmmessage/agent.sock"));
  });

  async function doctor(...args: string[]) {
    const result = await agent(guest, ["doctor", ...args]);
    const [, ...problems] = result.stdout.split(/^PROBLEM {2}/m).map((part) => part.replace(/\n[^]*$/, ""));
    return { ...result, problems };
  }
});

describe("the cache", () => {
  /** The line of this entry is 8 bytes longer than its value: {"k":""}. */
  const valueOf = (lineBytes: number) => "v".repeat(lineBytes - 8);
  const overLimit = "over the limit of the cache: 8193 bytes needed, 8192 free, limit 8192";

  test("takes exactly 8192 bytes, as -l prints them, and refuses 8193, changing nothing", async () => {
    await vmmessage(guest, ["-k", "k", "-V", valueOf(cacheLimit)]);
    expect(await guest.shell("agent -l | tr -d '\\n' | wc -c")).toBe("8192");
    const revision = await guest.readText("/run/vmmessage/keys/.revision");
    const fromGuest = await agent(guest, ["-p", `k=${valueOf(cacheLimit + 1)}`]);
    expect(fromGuest).toEqual({ exitCode: 4, stdout: "", stderr: `agent: ${overLimit}\n` });
    const fromHost = await vmmessage(guest, ["-k", "k", "-V", valueOf(cacheLimit + 1)]);
    expect(fromHost).toMatchObject({ exitCode: 4, stderr: `vmmessage: ${overLimit}\n` });
    const another = await vmmessage(guest, ["-k", "a", "-V", ""]);
    expect(another).toMatchObject({
      exitCode: 4,
      stderr: "vmmessage: over the limit of the cache: 8 bytes needed, 0 free, limit 8192\n",
    });
    expect(await guest.readText("/run/vmmessage/keys/.revision")).toBe(revision);
    expect(await guest.shell("wc -c </run/vmmessage/keys/k")).toBe(String(valueOf(cacheLimit).length));
    expect(await vmmessage(guest, ["-k", "k", "-V", "small"])).toMatchObject({ exitCode: 0 });
  });

  test("that is full of the shortest keys is listed whole, in the guest and on the host, and is as many files", async () => {
    const keys = shortestKeys();
    await using host = await Host.connect(guest.channelPath);
    await host.client.change("set", { messageId: newMessageId(), entries: keys.map((key) => ({ key, value: "" })) });
    const { usedBytes } = await host.client.read("info", {});
    expect(cacheLimit - usedBytes).toBeLessThan(9);
    await host.client.close();

    const lines = (await agentSays(guest, ["-l"])).split("\n");
    expect(lines.sort()).toEqual(keys.map((key) => `{"${key}":""}`).sort());
    const listed = JSON.parse((await vmmessage(guest, ["list", "--json"])).stdout) as { entries: { key: string }[] };
    expect(listed.entries.map(({ key }) => key).sort()).toEqual([...keys].sort());
    expect(await guest.shell("ls /run/vmmessage/keys | wc -l")).toBe(String(keys.length));
  });

  /** As many as there is room for: one character each and, when those are used up, two. */
  function shortestKeys(): string[] {
    const characters = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index));
    const plain = characters.filter((character) => !'"\\='.includes(character));
    const pairs = plain.flatMap((first) => plain.map((second) => first + second));
    const room = cacheLimit - plain.length * '{"k":""}'.length;
    return [...plain, ...pairs.slice(0, Math.floor(room / '{"kk":""}'.length))];
  }
});

describe("a full disk", () => {
  test("makes a change fail and leaves the state as it was, till there is room again", async () => {
    await guest.stopAgent();
    await guest.shell("mkdir /tmp/small; mount -t tmpfs -o size=64k none /tmp/small");
    await guest.startAgent(["--state-dir", "/tmp/small/state"]);
    await agentAnswers(guest);
    await agentSays(guest, ["-p", "kept=old"]);
    await guest.shell("cat /dev/zero >/tmp/small/fill 2>&- || :");

    const fromGuest = await agent(guest, ["-p", "kept=new"]);
    expect(fromGuest).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/ENOSPC.*nothing was changed/) as string,
    });
    const fromHost = await vmmessage(guest, ["-k", "kept", "-V", "new"]);
    expect(fromHost).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("ENOSPC") as string });
    expect(await agent(guest, ["-e", "TOO.MUCH"])).toMatchObject({ exitCode: 2 });
    expect(await guest.readText("/run/vmmessage/keys/kept")).toBe("old");

    await guest.shell("rm /tmp/small/fill");
    expect(await vmmessage(guest, ["-k", "kept", "-V", "new"])).toMatchObject({ exitCode: 0 });
    await guest.shell("kill -9 $(cat /run/agent.pid)");
    await using host = await Host.connect(guest.channelPath);
    expect(await host.keys()).toEqual({ kept: "new" });
    expect(await guest.shell("ls -A /tmp/small/state")).toBe("cache.json");
  });
});

describe("a terminal line instead of a port", () => {
  const lines = [
    { name: "an ISA serial line", device: "/dev/ttyS1", hostEnd: () => guest.ttyS1Path },
    { name: "a virtconsole", device: "/dev/hvc0", hostEnd: () => guest.hvc0Path },
  ];
  for (const { name, device, hostEnd } of lines) {
    test(`such as ${name} carries messages both ways, over a restart of the agent too`, async () => {
      const places = ["--run-dir", "/run/tty", "--state-dir", "/tmp/tty"];
      const start = () => guest.qga.spawn(["agent", "run", "--channel", `tty:${device}`, ...places]);
      const pid = await start();
      const socketPath = hostEnd();
      const large = "large ".repeat(600);
      expect(await vmmessage(guest, ["-k", "large", "-V", large, "--timeout", "60"], { socketPath })).toMatchObject({
        exitCode: 0,
        stderr: "",
      });
      expect(await agentSays(guest, ["-g", "large", "--run-dir", "/run/tty"])).toBe(large);
      await agentSays(guest, ["--run-dir", "/run/tty", "--value-stdin", "raw"], { input: Buffer.of(0xff, 3, 17, 19) });
      const raw = await vmmessage(guest, ["-q", "raw", "--quiet", "--timeout", "60"], { socketPath });
      expect(raw.bytes).toEqual(Buffer.of(0xff, 3, 17, 19, 10));

      let restarts = 0;
      await using host = await Host.connect(socketPath, { restarted: () => (restarts += 1) });
      await host.hello();
      await guest.shell(`kill ${pid}`);
      expect((await guest.qga.waitForExit(pid)).exitCode).toBe(143);
      await start();
      await waitFor("the agent's ready", () => restarts > 0, { timeoutMs: 60_000 });
      expect(await host.keys()).toMatchObject({ large });
    });
  }
});

async function logSays(event: string): Promise<void> {
  await waitFor(`'${event}' in the agent's log`, async () => (await guest.agentLog()).includes(event));
}
