// The agent's state over everything that ends an agent, a boot or a machine, and over time that jumps.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Request } from "../../shared/protocol/session.ts";
import { type Guest, restoreSnapshot } from "./harness/guest.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { waitFor } from "./harness/wait-for.ts";
import { agentAnswers, saveGuestWithAgent } from "./support/guests.ts";
import { Host } from "./support/host.ts";
import { agent } from "./support/programs.ts";

const uuid = "172dd6f8-0000-4000-8000-0000000000a1";
const cloneUuid = "172dd6f8-0000-4000-8000-0000000000b2";
const dayMs = 86_400_000;

let snapshot: Snapshot;
let guest: Guest;

beforeAll(async () => {
  snapshot = await saveGuestWithAgent({ uuid });
});
afterAll(() => snapshot.remove());

beforeEach(async () => {
  guest = await restoreSnapshot(snapshot);
  return () => guest.stop();
});

describe("a restart of the guest", () => {
  for (const how of ["reset", "reboot"] as const) {
    test(`by ${how} keeps the keys but the secrets, which an event reports as lost`, async () => {
      await using before = await Host.connect(guest.channelPath);
      const old = await before.hello();
      await before.setAll({ role: "frontend", port: "443" });
      await before.setSecret("password", "hush");
      await before.client.close();
      await guest[how]();

      const events: Request[] = [];
      await using host = await Host.connect(guest.channelPath, takingEvents(events));
      const fresh = await host.hello();
      expect(fresh.bootId).not.toBe(old.bootId);
      expect(fresh.epoch).not.toBe(old.epoch);
      expect(fresh).toMatchObject({ uuid, revision: 2 });
      expect(await host.keys()).toMatchObject({ role: "frontend", port: "443" });
      await expect(host.get("password")).rejects.toMatchObject({ code: "no-such-key", details: { gone: true } });
      await waitFor("the report of the lost secret", () => events.length > 0);
      expect(events).toMatchObject([{ params: { event: "SECRETS.LOST", data: { keys: ["password"] } } }]);
    });
  }
});

describe("kill -9 of the agent", () => {
  test("under load loses no acknowledged key, counts no change twice, and is noticed by the host", async () => {
    let restarts = 0;
    await using host = await Host.connect(guest.channelPath, { restarted: () => (restarts += 1) });
    const { revision } = await host.hello();
    const load = new Load(host);
    for (let kills = 1; kills <= 4; kills++) {
      const goal = load.acknowledged + 40;
      await waitFor("more acknowledged changes", () => load.acknowledged >= goal, { timeoutMs: 60_000, intervalMs: 1 });
      await guest.shell("kill -9 $(cat /run/agent.pid)");
      const atLeast = load.newest();
      await waitFor("the restart", () => restarts >= kills, { timeoutMs: 60_000 });
      for (const [key, value] of Object.entries(await host.keys())) {
        expect(Number(value)).toBeGreaterThanOrEqual(atLeast.get(key) ?? 0);
      }
    }
    await load.stop();
    expect(await host.keys()).toEqual(Object.fromEntries([...load.newest()].map(([key, n]) => [key, String(n)])));
    expect((await host.client.read("info", {})).revision).toBe(revision + load.acknowledged);
  });

  test("keeps the secrets, which only a boot ends", async () => {
    await using host = await Host.connect(guest.channelPath);
    await host.setSecret("password", "hush");
    await guest.shell("kill -9 $(cat /run/agent.pid)");
    expect(await host.get("password")).toMatchObject({ value: "hush", secret: true });
  });

  test("leaves a socket and a pid file that the next agent replaces, whoever has that pid by then", async () => {
    await guest.shell(`
      rm /run/agent-service.enabled; kill -9 $(cat /run/agent.pid)
      while [ -e /run/agent-service.pid ]; do sleep 0.05; done
      [ -S /run/vmmessage/agent.sock ]; [ -e /run/vmmessage/agent.pid ]`);
    expect(await agent(guest, ["-l"])).toMatchObject({ exitCode: 10 });
    await guest.shell("echo 1 >/run/vmmessage/agent.pid");
    await guest.startAgent();
    await agentAnswers(guest);
    expect(Number(await guest.readText("/run/vmmessage/agent.pid"))).toBe(await guest.agentPid());
  });
});

describe("a change", () => {
  test("whose answer was lost has one effect when it is sent again, also to the next agent", async () => {
    const messageId = "retry-1";
    await using first = await Host.connect(guest.channelPath);
    await first.hello();
    void first.set("job", "42", messageId).catch(() => undefined);
    await waitFor("the effect", () => guest.readText("/run/vmmessage/keys/job").catch(() => undefined));
    await first.client.close();

    await using second = await Host.connect(guest.channelPath);
    const answer = await second.set("job", "42", messageId);
    await second.set("job", "43");
    expect(await second.set("job", "42", messageId)).toEqual(answer);
    await guest.shell("kill -9 $(cat /run/agent.pid)");
    expect(await second.set("job", "42", messageId)).toEqual(answer);
    expect(await second.get("job")).toMatchObject({ value: "43", revision: answer.revision + 1 });
    expect((await second.client.read("info", {})).revision).toBe(answer.revision + 1);
  });
});

describe("SIGTERM", () => {
  test("ends the agent within a second while no host is there, though its write waits in the kernel", async () => {
    expect(await secondsToEnd()).toBeLessThan(1);
    expect(await guest.agentLog()).toContain("agent exited with 143");
  });

  test("ends the agent within a second while a host is attached", async () => {
    await using host = await Host.connect(guest.channelPath);
    await host.hello();
    expect(await secondsToEnd()).toBeLessThan(1);
    expect(await guest.shell("ls -A /run/vmmessage")).not.toContain("agent.pid");
  });

  async function secondsToEnd(): Promise<number> {
    const times = await guest.shell(`
      pid=$(cat /run/agent.pid); rm /run/agent-service.enabled
      read begin rest </proc/uptime; kill $pid
      while kill -0 $pid 2>&-; do sleep 0.02; done
      read end rest </proc/uptime; echo $begin $end`);
    const [begin = 0, end = Infinity] = times.split(" ").map(Number);
    return end - begin;
  }
});

describe("a second agent", () => {
  test("is refused and told which one is there, and the first goes on", async () => {
    const pid = await guest.agentPid();
    const { exitCode, stderr } = await agent(guest, ["run"]);
    expect(exitCode).toBe(12);
    expect(stderr).toBe(`agent: /run/vmmessage/agent.pid: another agent is running, pid ${String(pid)}\n`);
    expect(await agent(guest, ["run", "--pid-file", "/tmp/other.pid"])).toMatchObject({
      exitCode: 12,
      stderr: expect.stringContaining("/run/vmmessage/agent.sock: another agent listens there") as string,
    });
    await using host = await Host.connect(guest.channelPath);
    await host.set("still", "here");
    expect(await guest.agentPid()).toBe(pid);
  });
});

describe("a step of the clock", () => {
  test("by a day, to and fro, changes no age, expires nothing, and keeps nothing from expiring", async () => {
    await using host = await Host.connect(guest.channelPath);
    await host.client.change("set", {
      messageId: "ttl-1",
      entries: [{ key: "hour", value: "long", ttlMs: 3_600_000 }],
    });
    for (const days of [1, -2]) {
      await guest.shell(`date -s @$(($(date +%s) + ${days} * 86400))`);
      await expectYoung();
      await guest.shell("kill -9 $(cat /run/agent.pid)");
      await expectYoung();
    }
    expect(Math.abs((await hostClockStepMs()) + dayMs)).toBeLessThan(dayMs / 24);
    await host.client.change("set", { messageId: "ttl-2", entries: [{ key: "short", value: "s", ttlMs: 500 }] });
    await waitFor("the expiry", async () => !("short" in (await host.keys())));

    async function expectYoung(): Promise<void> {
      const { ageMs, ttlMs = 0 } = await host.get("hour");
      expect(ageMs).toBeLessThan(60_000);
      expect(ttlMs).toBeGreaterThan(3_540_000);
    }
  });

  /** How far the guest's clock is from ours. */
  async function hostClockStepMs(): Promise<number> {
    return Number(await guest.shell("date +%s")) * 1000 - Date.now();
  }
});

describe("a machine", () => {
  test("that goes back to a snapshot has its keys, and a host that sees the lower revision gets a new epoch", async () => {
    await set(guest, "state", "saved");
    await using saved = await guest.saveSnapshot();
    const known = await changeAfter(saved);

    await using reverted = await restoreSnapshot(saved);
    await using host = await Host.connect(reverted.channelPath);
    const seen = await host.hello();
    expect(seen.epoch).toBe(known.epoch);
    expect(seen.revision).toBeLessThan(known.revision);
    await host.client.close();

    await using again = await Host.connect(reverted.channelPath, { hello: { newEpoch: true } });
    expect((await again.hello()).epoch).not.toBe(known.epoch);
    expect(await again.keys()).toEqual({ state: "saved" });
    const { resync } = await again.client.read("watch", { since: { epoch: known.epoch, revision: known.revision } });
    expect(resync).toBe(true);
  });

  async function changeAfter(saved: Snapshot): Promise<{ epoch: string; revision: number }> {
    await using later = await restoreSnapshot(saved);
    await using host = await Host.connect(later.channelPath);
    await host.set("state", "changed");
    return await host.set("another", "key");
  }

  test("that was cloned starts with no keys and says of which machine it is a clone", async () => {
    await set(guest, "mine", "alone");
    await guest.powerOff();
    await using clone = await guest.clone(cloneUuid);
    await agentAnswers(clone);
    await using host = await Host.connect(clone.channelPath);
    expect(await host.hello()).toMatchObject({ uuid: cloneUuid, clonedFrom: uuid, revision: 0 });
    expect(await host.keys()).toEqual({});
    expect((await agent(clone, ["doctor"])).stdout).toContain(`clone: this machine was cloned from ${uuid}`);
    const files = await clone.shell("ls /var/lib/vmmessage");
    expect(files).toMatch(/^cache\.json\.cloned-\w+$/m);
    expect(await clone.shell("cat /var/lib/vmmessage/cache.json.cloned-*")).toContain("alone");
  });
});

async function set(on: Guest, key: string, value: string): Promise<void> {
  await using host = await Host.connect(on.channelPath);
  await host.set(key, value);
}

function takingEvents(events: Request[]) {
  return {
    hello: { accepts: ["event" as const] },
    answer: (request: Request) => {
      events.push(request);
      return Promise.resolve({});
    },
  };
}

/** Several programs on the host that each set a key of their own to 1, 2, 3... as fast as they are answered. */
class Load {
  acknowledged = 0;
  readonly #host: Host;
  readonly #newest = new Map<string, number>();
  readonly #programs: Promise<unknown>;
  #isStopped = false;

  constructor(host: Host) {
    this.#host = host;
    this.#programs = Promise.all(Array.from({ length: 8 }, (_, index) => this.#run(`load.${index}`)));
    this.#programs.catch(() => undefined); // told by stop()
  }

  /** The acknowledged values as they are now. */
  newest(): Map<string, number> {
    return new Map(this.#newest);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#programs;
  }

  async #run(key: string): Promise<void> {
    for (let count = 1; !this.#isStopped; count++) {
      await this.#host.set(key, String(count));
      this.#newest.set(key, count);
      this.acknowledged += 1;
    }
  }
}
