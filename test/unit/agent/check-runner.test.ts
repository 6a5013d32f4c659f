import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Check, CheckOutcome, Checks } from "../../../agent/applications/applications.ts";
import { CheckRunner } from "../../../agent/applications/check-runner.ts";

const check: Check = { command: ["true"], everyMs: 30_000, timeoutMs: 10_000 };

function checksOf(...names: string[]): Checks {
  return new Map(names.map((name): [string, Check] => [name, { ...check, command: [name] }]));
}

interface Started {
  name: string;
  atMs: number;
  stop: AbortSignal;
  tell: (outcome: CheckOutcome) => void;
  end: () => void;
}

/** A runner whose commands end when a test says so. */
function scripted() {
  const startedAt = performance.now();
  const runs: Started[] = [];
  const outcomes: string[] = [];
  const runner = new CheckRunner({
    onOutcome: (name, outcome) => outcomes.push(`${name} ${outcome.isOk ? "ok" : `failing: ${outcome.reason}`}`),
    start: ({ command: [name = ""] }, stop) => {
      const outcome = Promise.withResolvers<CheckOutcome>();
      const ended = Promise.withResolvers<undefined>();
      const atMs = performance.now() - startedAt;
      const end = (): void => {
        ended.resolve(undefined);
      };
      runs.push({ name, atMs, stop, tell: outcome.resolve, end });
      return { outcome: outcome.promise, ended: ended.promise };
    },
  });
  /** The newest run of that name goes like this. */
  const finish = async (name: string, outcome: CheckOutcome = { isOk: true }): Promise<void> => {
    const run = runs.findLast((started) => started.name === name);
    run?.tell(outcome);
    run?.end();
    await vi.advanceTimersByTimeAsync(0);
  };
  const keep = async (checks: Checks): Promise<void> => {
    runner.keep(checks);
    await vi.advanceTimersByTimeAsync(0);
  };
  return { runner, runs, outcomes, finish, keep };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a check", () => {
  test("runs at once, and again a period after each start, however long it took", async () => {
    const { runs, outcomes, finish, keep } = scripted();
    await keep(checksOf("web"));
    await vi.advanceTimersByTimeAsync(9_000);
    await finish("web");
    await vi.advanceTimersByTimeAsync(21_000);
    await finish("web", { isOk: false, reason: "exit code 1" });
    await vi.advanceTimersByTimeAsync(30_000);
    expect(runs.map(({ atMs }) => atMs)).toEqual([0, 30_000, 60_000]);
    expect(outcomes).toEqual(["web ok", "web failing: exit code 1"]);
  });

  test("that cannot be ended is told of, and is not started a second time before it has", async () => {
    const { runs, outcomes, finish, keep } = scripted();
    await keep(checksOf("stuck"));
    runs[0]?.tell({ isOk: false, reason: "it did not end" });
    await vi.advanceTimersByTimeAsync(120_000);
    expect(outcomes).toEqual(["stuck failing: it did not end"]);
    expect(runs).toHaveLength(1);
    await finish("stuck");
    await vi.advanceTimersByTimeAsync(1);
    expect(runs).toHaveLength(2);
  });

  test("that cannot be ended keeps no other from its turn", async () => {
    const { runs, keep } = scripted();
    await keep(checksOf("a", "b", "c", "d", "waits"));
    runs[0]?.tell({ isOk: false, reason: "it did not end" });
    await vi.advanceTimersByTimeAsync(0);
    expect(runs.at(-1)).toMatchObject({ name: "waits" });
  });

  test("that is removed is stopped, and what becomes of it is told to nobody", async () => {
    const { runs, outcomes, finish, keep } = scripted();
    await keep(checksOf("web"));
    await keep(checksOf());
    expect(runs[0]?.stop.aborted).toBe(true);
    await finish("web");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(outcomes).toEqual([]);
    expect(runs).toHaveLength(1);
  });

  test("that becomes another one is first ended as what it was", async () => {
    const { runs, finish, keep } = scripted();
    await keep(new Map([["web", { ...check, command: ["old"] }]]));
    await keep(new Map([["web", { ...check, command: ["new"] }]]));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(runs.map(({ name }) => name)).toEqual(["old"]);
    await finish("old");
    expect(runs.map(({ name }) => name)).toEqual(["old", "new"]);
  });

  test("that waits for what it was longer than for itself is failing, till that has ended", async () => {
    const { runs, outcomes, finish, keep } = scripted();
    await keep(new Map([["web", { ...check, command: ["old"] }]]));
    await keep(checksOf());
    await keep(checksOf("web"));
    await vi.advanceTimersByTimeAsync(9_999);
    expect(outcomes).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(outcomes).toEqual(["web failing: an earlier run has not ended"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(outcomes).toHaveLength(3);
    expect(runs.map(({ name }) => name)).toEqual(["old"]);
    await finish("old");
    expect(runs.map(({ name }) => name)).toEqual(["old", "web"]);
    await finish("web");
    expect(outcomes.slice(3)).toEqual(["web ok"]);
  });

  test("that is removed while it waits for what it was is told of no more", async () => {
    const { runs, outcomes, finish, keep } = scripted();
    await keep(new Map([["web", { ...check, command: ["old"] }]]));
    await keep(checksOf("web"));
    await keep(checksOf());
    await vi.advanceTimersByTimeAsync(60_000);
    await finish("old");
    await keep(new Map([["web", { ...check, command: ["newest"] }]]));
    expect(outcomes).toEqual([]);
    expect(runs.map(({ name }) => name)).toEqual(["old", "newest"]);
  });

  test("that is kept as it was goes on undisturbed", async () => {
    const { runs, keep } = scripted();
    await keep(checksOf("web"));
    await keep(checksOf("web", "other"));
    expect(runs.map(({ name, stop }) => `${name} ${stop.aborted}`)).toEqual(["web false", "other false"]);
  });
});

describe("many checks", () => {
  test("run four at a time, and whoever waits longest is next", async () => {
    const { runs, finish, keep } = scripted();
    await keep(checksOf("a", "b", "c", "d", "e", "f"));
    expect(runs.map(({ name }) => name)).toEqual(["a", "b", "c", "d"]);
    await finish("c");
    await finish("a");
    expect(runs.map(({ name }) => name)).toEqual(["a", "b", "c", "d", "e", "f"]);
  });
});

describe("a runner that is closed", () => {
  test("stops all commands, and starts none of those that waited", async () => {
    const { runner, runs, finish, keep } = scripted();
    await keep(checksOf("a", "b", "c", "d", "e"));
    const closed = runner.close();
    for (const name of ["a", "b", "c", "d"]) await finish(name);
    await closed;
    expect(runs.map(({ stop }) => stop.aborted)).toEqual([true, true, true, true]);
    await keep(checksOf("f"));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(runs).toHaveLength(4);
  });

  test("does not wait for one that no signal ends, also when it is closed twice", async () => {
    const { runner, keep } = scripted();
    await keep(checksOf("stuck"));
    const closed = Promise.all([runner.close(), runner.close()]);
    await vi.advanceTimersByTimeAsync(500);
    await closed;
  });
});
