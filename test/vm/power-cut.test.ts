// What was acknowledged survives the loss of power; and these tests notice when the agent does less than it must.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Guest, restoreSnapshot } from "./harness/guest.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { buildMutatedBundles } from "./support/bundles.ts";
import { type CachedEntry, readCaches } from "./support/cut-disks.ts";
import { agentAnswers, saveGuestWithAgent } from "./support/guests.ts";
import { Host } from "./support/host.ts";
import { agentSays } from "./support/programs.ts";
import { type SystemCall, traceAgent } from "./support/system-calls.ts";

const cuts = 50;
/** Guests at work at the same time. */
const guestsAtOnce = 2;
const stateDirectory = "/var/lib/vmmessage";

/** A journal that happens to be written in the same moment can save one cut, not several. */
const mutationCuts = 4;

interface Cut {
  guest: Guest;
  /** What the host had read an acknowledgement for; undefined for a deleted key. */
  acknowledged: Map<string, string | undefined>;
}

describe("the agent", () => {
  let snapshot: Snapshot;

  beforeAll(async () => {
    snapshot = await saveGuestWithAgent();
  });
  afterAll(() => snapshot.remove());

  test(`has every acknowledged key after each of ${cuts} power cuts, made in the instant of an acknowledgement`, async () => {
    await using disks = new CutDisks();
    await disks.cut(snapshot, cuts);
    const caches = await readCaches(disks.guests);
    expect(disks.lossesIn(caches)).toEqual([]);
    expect(disks.acknowledged).toBeGreaterThanOrEqual(cuts);
  });

  test("starts from the disk that a power cut left, and serves the keys", async () => {
    await using disks = new CutDisks();
    const [{ guest, acknowledged }] = await disks.cut(snapshot, 1);
    await guest.boot();
    await agentAnswers(guest);
    for (const [key, value] of acknowledged) {
      if (value !== undefined) expect(await agentSays(guest, ["-g", key])).toBe(value);
    }
    expect(await guest.shell(`ls -A ${stateDirectory}`)).toBe("cache.json");
  });

  test("writes the file, syncs it, renames it, syncs the directory, and only then answers", async () => {
    await using guest = await restoreSnapshot(snapshot);
    expect(stepsOf(await traceOneSet(guest))).toEqual(durableSteps);
  });
});

const durableSteps = ["file created", "file written", "file synced", "file renamed", "directory synced", "answered"];

describe("an agent whose build leaves out", () => {
  let bundleDir: string;

  beforeEach(async () => {
    bundleDir = await mkdtemp(join(tmpdir(), "vmm-mutant-"));
  });
  afterEach(() => rm(bundleDir, { recursive: true }));

  test("the sync of the directory loses an acknowledged key in a power cut", async () => {
    await buildMutatedBundles(bundleDir, "await sync(directory)", "await Promise.resolve()");
    await using snapshot = await saveGuestWithAgent({ bundleDir });
    await using disks = new CutDisks();
    await disks.cut(snapshot, mutationCuts);
    expect(disks.lossesIn(await readCaches(disks.guests))).not.toEqual([]);
    await using guest = await restoreSnapshot(snapshot);
    expect(stepsOf(await traceOneSet(guest))).toEqual(durableSteps.filter((step) => step !== "directory synced"));
  });

  test("the sync of the file shows it in its system calls", async () => {
    await buildMutatedBundles(bundleDir, "await sync(file)", "await Promise.resolve()");
    await using snapshot = await saveGuestWithAgent({ bundleDir });
    await using guest = await restoreSnapshot(snapshot);
    expect(stepsOf(await traceOneSet(guest))).toEqual(durableSteps.filter((step) => step !== "file synced"));
  });
});

/** Guests whose power was cut, kept for their disks. */
class CutDisks implements AsyncDisposable {
  readonly #cuts: Cut[] = [];

  get guests(): Guest[] {
    return this.#cuts.map(({ guest }) => guest);
  }

  get acknowledged(): number {
    return this.#cuts.reduce((sum, { acknowledged }) => sum + acknowledged.size, 0);
  }

  /** Cuts the power of that many guests, all restored from the snapshot. */
  async cut(snapshot: Snapshot, count: number): Promise<[Cut, ...Cut[]]> {
    const work = Array.from({ length: count }, (_, index) => index).values();
    const worker = async () => {
      for (const index of work) this.#cuts.push(await cutPower(snapshot, index));
    };
    await Promise.all(Array.from({ length: guestsAtOnce }, worker));
    return this.#cuts as [Cut, ...Cut[]];
  }

  /** Acknowledged changes that the disks do not show. */
  lossesIn(caches: readonly CachedEntry[][]): string[] {
    return this.#cuts.flatMap(({ acknowledged }, index) => {
      const onDisk = new Map(caches[index]?.map(({ key, value }) => [key, value]));
      const lost = [...acknowledged].filter(([key, value]) => onDisk.get(key) !== value);
      return lost.map(
        ([key, value]) => `disk ${index}: '${key}' is '${onDisk.get(key) ?? "absent"}', not '${value ?? "absent"}'`,
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { guest } of this.#cuts) await guest.stop();
  }
}

/**
 * The host sends changes, one behind the other or many at once, and QEMU is killed when it reads the acknowledgement of
 * one of them. What it reads after that had been on its way and counts as well.
 */
async function cutPower(snapshot: Snapshot, index: number): Promise<Cut> {
  const guest = await restoreSnapshot(snapshot);
  const acknowledged: Cut["acknowledged"] = new Map();
  const last = 1 + (index % 6);
  const note = (key: string, value: string | undefined): void => {
    acknowledged.set(key, value);
    if (acknowledged.size === last) process.kill(guest.pid, "SIGKILL");
  };
  await using host = await Host.connect(guest.channelPath);
  await host.hello();
  const changes = index % 2 === 0 ? oneByOne(host, note) : allAtOnce(host, note);
  await changes.catch(() => undefined);
  await guest.kill();
  expect(acknowledged.size).toBeGreaterThanOrEqual(last);
  return { guest, acknowledged };
}

type Note = (key: string, value: string | undefined) => void;

/** Each change waits for the one before; every third deletes again what was set. */
async function oneByOne(host: Host, note: Note): Promise<void> {
  for (let count = 0; ; count++) {
    const [key, value] = [`one.${count}`, `value ${count}`];
    await host.set(key, value);
    if (count % 3 === 2) await host.delete(key);
    note(key, count % 3 === 2 ? undefined : value);
  }
}

/** The agent puts several changes in one round. */
async function allAtOnce(host: Host, note: Note): Promise<void> {
  const sets = Array.from({ length: 40 }, async (_, count) => {
    const [key, value] = [`many.${count}`, `value ${count}`];
    await host.set(key, value);
    note(key, value);
  });
  await Promise.all(sets);
}

/** The agent's calls for a `set` that the host sends. */
async function traceOneSet(guest: Guest): Promise<SystemCall[]> {
  await using host = await Host.connect(guest.channelPath);
  await host.hello();
  return await traceAgent(guest, () => host.set("traced", "value"));
}

/** What the calls did for the change, in the order in which each was over before the next began. */
function stepsOf(calls: SystemCall[]): string[] {
  const steps = calls.map((call) => ({ ...call, step: stepOf(call) })).filter(({ step }) => step !== undefined);
  for (const [index, { begin, args }] of steps.entries()) {
    const before = steps[index - 1];
    if (before && before.end >= begin) throw new Error(`${before.name}(${before.args} had not ended before ${args}`);
  }
  return steps.map(({ step }) => step ?? "");
}

function stepOf({ name, args }: SystemCall): string | undefined {
  const temporary = `${stateDirectory}/.cache.json.new-`;
  const ofTemporary = new RegExp(`^\\d+<${temporary}`).test(args);
  if (name === "openat" && args.includes(`"${temporary}`)) return "file created";
  if (name.includes("write") && ofTemporary) return "file written";
  if (name === "fsync" && ofTemporary) return "file synced";
  if (name.startsWith("rename") && args.includes(`"${temporary}`)) return "file renamed";
  if (name === "fsync" && args.startsWith(`${/^\d+/.exec(args)?.[0] ?? ""}<${stateDirectory}>`))
    return "directory synced";
  // Notifications, such as the heartbeat, have no id.
  if (name.includes("write") && /^\d+<\/dev\/vport.*\\"id\\":/.test(args)) return "answered";
  return undefined;
}
