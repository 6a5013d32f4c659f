import { describe, expect, it } from "vitest";
import { judge, judgeHealth, judgeRoundTrip } from "../../../../host-cli/check/judge.ts";
import type { CheckRequest } from "../../../../host-cli/check/thresholds.ts";
import type { Verdict } from "../../../../host-cli/check/verdict.ts";
import type { VmHealth } from "../../../../shared/api/monitor-schemas.ts";
import type { ApplicationState, Result } from "../../../../shared/protocol/message.ts";

type Stats = Result<"stats">;

const nothing: CheckRequest = {
  cpu: undefined,
  memory: undefined,
  disks: [],
  load: undefined,
  applications: false,
};

const idle: Stats = {
  uptimeMs: 1_000,
  loadAverage: [0, 0, 0],
  cpus: 2,
  cpuBusyMs: 1_000,
  cpuIdleMs: 9_000,
  memoryTotalBytes: 1_000,
  memoryAvailableBytes: 1_000,
  disks: [],
};

const at8090 = { warning: 80, critical: 90 };

function judged(request: Partial<CheckRequest>, last: Partial<Stats>, first: Partial<Stats> = {}): Verdict[] {
  const stats = { first: { ...idle, ...first }, last: { ...idle, ...last } };
  return judge({ ...nothing, ...request }, { stats, applications: undefined });
}

describe("processors", () => {
  const cpu = (busyMs: number, idleMs: number, thresholds = at8090) => {
    const last = { cpuBusyMs: idle.cpuBusyMs + busyMs, cpuIdleMs: idle.cpuIdleMs + idleMs };
    return judged({ cpu: thresholds }, last)[0];
  };

  it.each([
    [0, 2_000, "OK", 0],
    [1_599, 401, "OK", 79.95],
    [1_600, 400, "WARNING", 80],
    [1_799, 201, "WARNING", 89.95],
    [1_800, 200, "CRITICAL", 90],
    [2_000, 0, "CRITICAL", 100],
    // Some of the wait for disks was taken back.
    [1_010, -10, "CRITICAL", 100],
  ])("busy for %i ms and idle for %i ms are %s", (busyMs, idleMs, state, value) => {
    expect(cpu(busyMs, idleMs)).toMatchObject({ name: "cpu", state, text: `cpu ${value} % busy`, measured: { value } });
  });

  it("whose time stands still, or went back over a reboot, are unknown", () => {
    expect(cpu(0, 0)).toEqual({
      name: "cpu",
      state: "UNKNOWN",
      text: "cpu: the time of its processors stands still",
    });
    expect(cpu(-1_000, -9_000)).toMatchObject({
      state: "UNKNOWN",
      text: expect.stringContaining("went back") as string,
    });
    expect(cpu(100, -11)).toMatchObject({ state: "UNKNOWN" });
    expect(cpu(0, -1)).toMatchObject({ state: "UNKNOWN" });
  });

  it("are not asked for what the guest counted before", () => {
    const sinceBoot = { cpuBusyMs: Number.MAX_SAFE_INTEGER - 1_000, cpuIdleMs: 0 };
    const last = { cpuBusyMs: Number.MAX_SAFE_INTEGER, cpuIdleMs: 9_000 };
    expect(judged({ cpu: at8090 }, last, sinceBoot)[0]).toMatchObject({ state: "OK", measured: { value: 10 } });
  });
});

describe("memory", () => {
  const memory = (totalBytes: number, availableBytes: number) => {
    return judged({ memory: at8090 }, { memoryTotalBytes: totalBytes, memoryAvailableBytes: availableBytes })[0];
  };

  it.each([
    [1_000, 1_000, "OK", 0],
    [1_000, 200, "WARNING", 80],
    [1_000, 0, "CRITICAL", 100],
    [Number.MAX_SAFE_INTEGER, 1, "CRITICAL", 100],
  ])("%i of which %i are available is %s", (total, available, state, value) => {
    expect(memory(total, available)).toEqual({
      name: "memory",
      state,
      text: `memory ${value} % used`,
      measured: { label: "memory", value, unit: "%", ...at8090, min: 0, max: 100 },
    });
  });

  it("that cannot be is unknown", () => {
    expect(memory(0, 0)).toMatchObject({ state: "UNKNOWN", text: "memory: the guest says that it has 0 bytes" });
    expect(memory(10, 11)).toMatchObject({
      state: "UNKNOWN",
      text: "memory: the guest says that 11 of 10 bytes are available",
    });
  });

  it("is shown as it is judged", () => {
    expect(memory(1_000_000, 100_001)).toMatchObject({ state: "CRITICAL", measured: { value: 90 } });
  });
});

describe("disks", () => {
  const root = { path: "/", totalBytes: 100, availableBytes: 50 };
  const full = { path: "/var", totalBytes: 100, availableBytes: 15 };
  const states = (verdicts: Verdict[]) => verdicts.map(({ name, state }) => `${name} ${state}`);

  it("are all judged by the general thresholds, but those with their own", () => {
    const disks = [root, full];
    expect(states(judged({ disks: [{ path: undefined, ...at8090 }] }, { disks }))).toEqual([
      "disk / OK",
      "disk /var WARNING",
    ]);
    const own = { path: "/var", warning: 70, critical: 85 };
    expect(states(judged({ disks: [{ path: undefined, ...at8090 }, own] }, { disks }))).toEqual([
      "disk / OK",
      "disk /var CRITICAL",
    ]);
    expect(states(judged({ disks: [own] }, { disks }))).toEqual(["disk /var CRITICAL"]);
  });

  it("that are not there are unknown, and so is a guest without any", () => {
    const wanted = [{ path: "/srv", ...at8090 }];
    expect(judged({ disks: wanted }, { disks: [root] })).toEqual([
      { name: "disk /srv", state: "UNKNOWN", text: "disk /srv: it is not among those that the guest tells of" },
    ]);
    expect(states(judged({ disks: [{ path: undefined, ...at8090 }] }, { disks: [] }))).toEqual(["disk UNKNOWN"]);
  });

  it("of no size, or with more free than there is, are unknown", () => {
    const disks = [
      { path: "/a", totalBytes: 0, availableBytes: 0 },
      { path: "/b", totalBytes: 1, availableBytes: 2 },
    ];
    expect(states(judged({ disks: [{ path: undefined, ...at8090 }] }, { disks }))).toEqual([
      "disk /a UNKNOWN",
      "disk /b UNKNOWN",
    ]);
  });
});

describe("load", () => {
  const load = (average: number) =>
    judged({ load: { warning: 4, critical: 8 } }, { loadAverage: [99, average, 99] })[0];

  it.each([
    [3.99, "OK"],
    [4, "WARNING"],
    [8, "CRITICAL"],
  ])("of %d over 5 minutes is %s", (average, state) => {
    const measured = { label: "load5", value: average, unit: "", warning: 4, critical: 8, min: 0 };
    expect(load(average)).toEqual({ name: "load", state, text: `load ${average}`, measured });
  });

  it.each([-1, 1e300, Number.NaN, Number.POSITIVE_INFINITY])("of %d cannot be", (average) => {
    expect(load(average)).toMatchObject({ state: "UNKNOWN", text: `load: a load of ${average} cannot be` });
  });
});

describe("applications", () => {
  const application = (name: string, state: ApplicationState["state"], reason?: string): ApplicationState => {
    return { name, kind: "check", state, forMs: 120_000, ...(reason !== undefined && { reason }) };
  };
  const applications = (...all: ApplicationState[]) =>
    judge({ ...nothing, applications: true }, { stats: undefined, applications: all });

  it("are well, also while one is pending", () => {
    expect(applications(application("db", "ok"), application("queue", "pending"))).toEqual([
      {
        name: "applications",
        state: "OK",
        text: "0 of 2 applications failing, 1 pending",
        measured: { label: "failing_applications", value: 0, unit: "", critical: 1, min: 0, max: 2 },
      },
    ]);
  });

  it("are critical when one is failing, which is named with its reason", () => {
    const verdicts = applications(application("db", "ok"), application("queue", "failing", "exit code 1: no space"));
    expect(verdicts.map(({ state }) => state)).toEqual(["CRITICAL", "CRITICAL"]);
    expect(verdicts[1]).toMatchObject({
      name: "application queue",
      text: "queue failing for 2 minutes: exit code 1: no space",
    });
  });

  it("of an agent that watches none are unknown: nothing was looked at", () => {
    const verdicts = judge({ ...nothing, applications: true }, { stats: undefined, applications: undefined });
    expect(verdicts).toEqual([
      { name: "applications", state: "UNKNOWN", text: "applications: its agent watches none" },
    ]);
  });
});

describe("a guest's health in the manager", () => {
  const health: VmHealth = {
    vm: { id: "u1", name: "web1" },
    isMonitored: true,
    state: "healthy",
    since: new Date(Date.now() - 300_500).toISOString(),
    misses: 0,
    applications: [],
    recovery: [],
  };

  it.each([
    ["discovery", 0, "OK", "the manager has it in state discovery"],
    ["healthy", 0, "OK", "the manager has it in state healthy"],
    ["error", 2, "WARNING", "the manager misses its answers (2 in a row)"],
    ["reported", 3, "CRITICAL", "the manager reported it as hung 5 minutes ago"],
  ] as const)("%s with %i missed is %s", (state, misses, expected, text) => {
    expect(judgeHealth({ ...health, state, misses })).toEqual([{ name: "monitor", state: expected, text }]);
  });

  it("is nothing where it is not monitored", () => {
    expect(judgeHealth({ ...health, isMonitored: false, state: "reported" })).toEqual([]);
  });

  it("is critical without the agent that is expected", () => {
    const expectedAgent = { state: "reported", since: health.since } as const;
    expect(judgeHealth({ ...health, expectedAgent })[1]).toEqual({
      name: "agent",
      state: "CRITICAL",
      text: "the manager reported its agent as missing 5 minutes ago",
    });
  });
});

it("an answer is well, however long it took", () => {
  expect(judgeRoundTrip(0.51234)).toEqual({
    name: "ping",
    state: "OK",
    text: "it answers in 0.512 ms",
    measured: { label: "rtt", value: 0.512, unit: "ms", min: 0 },
  });
});
