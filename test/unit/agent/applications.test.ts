import { describe, expect, test } from "vitest";
import { Applications, type Check, type Checks } from "../../../agent/applications/applications.ts";
import { MAX_APPLICATIONS } from "../../../shared/protocol/limits.ts";

const SECOND = 1_000;
const check: Check = { command: ["true"], everyMs: 30 * SECOND, timeoutMs: 10 * SECOND };

function checksOf(...names: string[]): Checks {
  return new Map(names.map((name): [string, Check] => [name, check]));
}

/** Some that beat, as many as there is room for. */
function full(): Applications {
  const applications = new Applications();
  for (let index = 0; index < MAX_APPLICATIONS; index += 1) applications.beat(`app${index}`, SECOND, 0);
  return applications;
}

describe("an application that beats", () => {
  test("is well for its period after a beat, and not a moment longer", () => {
    const applications = new Applications();
    applications.beat("app", 30 * SECOND, 500);
    expect(applications.states(30_500)).toEqual([{ name: "app", kind: "heartbeat", state: "ok", forMs: 30_000 }]);
    expect(applications.states(41_900)).toEqual([
      {
        name: "app",
        kind: "heartbeat",
        state: "failing",
        forMs: 11_400,
        reason: "no beat for 41 s, expected every 30 s",
      },
    ]);
  });

  test("has been well since its first beat in time, or since it came back", () => {
    const applications = new Applications();
    for (const at of [0, 20, 40]) applications.beat("app", 30 * SECOND, at * SECOND);
    expect(applications.states(50 * SECOND)).toMatchObject([{ state: "ok", forMs: 50_000 }]);
    applications.beat("app", 30 * SECOND, 100 * SECOND);
    expect(applications.states(110 * SECOND)).toMatchObject([{ state: "ok", forMs: 10_000 }]);
  });

  test("has a whole period after the agent was restarted", () => {
    const applications = new Applications();
    applications.restoreHeartbeat("app", 30 * SECOND, 7);
    expect(applications.states(30_007)).toMatchObject([{ state: "pending", forMs: 30_000 }]);
    expect(applications.states(31_007)).toMatchObject([
      { state: "failing", forMs: 1_000, reason: "no beat since the agent started, expected every 30 s" },
    ]);
    applications.beat("app", 30 * SECOND, 32_000);
    expect(applications.states(32_000)).toMatchObject([{ state: "ok", forMs: 0 }]);
  });

  test("is news when it is new or has another period, and not at each beat", () => {
    const applications = new Applications();
    const news = [30, 30, 30, 60, 60].map((period, at) => applications.beat("app", period * SECOND, at));
    expect(news).toEqual([true, false, false, true, false]);
    expect([...applications.heartbeats()]).toEqual([["app", 60_000]]);
  });
});

describe("an application that is checked", () => {
  test("is pending till its check has run, and then what the last run says", () => {
    const applications = new Applications();
    applications.keepChecks(checksOf("web"), 0);
    expect(applications.states(5)).toEqual([{ name: "web", kind: "check", state: "pending", forMs: 5 }]);
    applications.checked("web", { isOk: true }, 10);
    expect(applications.states(15)).toEqual([{ name: "web", kind: "check", state: "ok", forMs: 5 }]);
    applications.checked("web", { isOk: false, reason: "exit code 1" }, 20);
    expect(applications.states(25)).toMatchObject([{ state: "failing", forMs: 5, reason: "exit code 1" }]);
  });

  test("has been failing since it began to, whatever the reason is now", () => {
    const applications = new Applications();
    applications.keepChecks(checksOf("web"), 0);
    const news = ["exit code 1", "exit code 2"].map((reason, at) => {
      return applications.checked("web", { isOk: false, reason }, at * 10);
    });
    expect(news).toEqual([true, false]);
    expect(applications.states(30)).toMatchObject([{ forMs: 30, reason: "exit code 2" }]);
  });

  test("keeps its state when it is added once more as it was, and begins anew as another", () => {
    const applications = new Applications();
    applications.keepChecks(checksOf("web"), 0);
    applications.checked("web", { isOk: true }, 0);
    applications.keepChecks(new Map([["web", { ...check, command: ["true"] }]]), 10);
    expect(applications.states(20)).toMatchObject([{ state: "ok", forMs: 20 }]);
    applications.keepChecks(new Map([["web", { ...check, command: ["false"] }]]), 20);
    expect(applications.states(20)).toMatchObject([{ state: "pending", forMs: 0 }]);
  });

  test("is listed with its command, one that beats with its period alone", () => {
    const applications = new Applications();
    applications.keepChecks(checksOf("web"), 0);
    applications.beat("app", SECOND, 0);
    expect(applications.list(0)).toMatchObject([
      { name: "web", ...check },
      { name: "app", everyMs: SECOND },
    ]);
  });

  test("is heard of no more once it is removed, though its command had not ended", () => {
    const applications = new Applications();
    applications.keepChecks(checksOf("web"), 0);
    applications.keepChecks(new Map(), 0);
    expect(applications.checked("web", { isOk: true }, 0)).toBe(false);
    expect(applications.states(0)).toEqual([]);
  });
});

describe("a new application", () => {
  test("is refused when there are as many as there may be, and one that is known is not", () => {
    const applications = full();
    expect(() => applications.beat("more", SECOND, 0)).toThrow(
      expect.objectContaining({ code: "over-limit", message: expect.stringContaining("32 applications") as string }),
    );
    expect(() => {
      applications.assertMayWatch("more", "check");
    }).toThrow(expect.objectContaining({ code: "over-limit" }));
    expect(applications.beat("app3", SECOND, 0)).toBe(false);
    applications.remove("app3");
    expect(applications.beat("more", SECOND, 0)).toBe(true);
    expect(applications.states(0)).toHaveLength(MAX_APPLICATIONS);
  });

  test("cannot have the name of one of the other kind", () => {
    const applications = new Applications();
    applications.keepChecks(checksOf("web"), 0);
    applications.beat("app", SECOND, 0);
    expect(() => applications.beat("web", SECOND, 0)).toThrow(
      expect.objectContaining({
        code: "conflict",
        message: expect.stringContaining("'web' is a check already") as string,
      }),
    );
    expect(() => {
      applications.assertMayWatch("app", "check");
    }).toThrow(expect.objectContaining({ code: "conflict" }));
  });
});
