import { describe, expect, test } from "vitest";
import {
  Applications,
  type Check,
  type Checks,
  type HeartbeatTerms,
  MAX_PER_SOCKET,
  type Owner,
} from "../../../agent/applications/applications.ts";
import { MAX_APPLICATIONS } from "../../../shared/protocol/limits.ts";

const SECOND = 1_000;
const check: Check = { command: ["true"], everyMs: 30 * SECOND, timeoutMs: 10 * SECOND };

function every(seconds: number, owner: Owner = null): HeartbeatTerms {
  return { everyMs: seconds * SECOND, owner };
}

function checksOf(...names: string[]): Checks {
  return new Map(names.map((name): [string, Check] => [name, check]));
}

/** Some that beat, as many as there is room for. */
function full(): Applications {
  const applications = new Applications();
  for (let index = 0; index < MAX_APPLICATIONS; index += 1) applications.beat(`app${index}`, every(1), 0);
  return applications;
}

describe("an application that beats", () => {
  test("is well for its period after a beat, and not a moment longer", () => {
    const applications = new Applications();
    applications.beat("app", every(30), 500);
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
    for (const at of [0, 20, 40]) applications.beat("app", every(30), at * SECOND);
    expect(applications.states(50 * SECOND)).toMatchObject([{ state: "ok", forMs: 50_000 }]);
    applications.beat("app", every(30), 100 * SECOND);
    expect(applications.states(110 * SECOND)).toMatchObject([{ state: "ok", forMs: 10_000 }]);
  });

  test("has a whole period after the agent was restarted", () => {
    const applications = new Applications();
    applications.restoreHeartbeat("app", every(30), 7);
    expect(applications.states(30_007)).toMatchObject([{ state: "pending", forMs: 30_000 }]);
    expect(applications.states(31_007)).toMatchObject([
      { state: "failing", forMs: 1_000, reason: "no beat since the agent started, expected every 30 s" },
    ]);
    applications.beat("app", every(30), 32_000);
    expect(applications.states(32_000)).toMatchObject([{ state: "ok", forMs: 0 }]);
  });

  test("is its socket's who began, till root beats for it", () => {
    const applications = new Applications();
    const beats = [every(30, "/a"), every(60, "/b"), every(30), every(30, "/a")];
    const owners = beats.map((terms, at) => applications.beat("app", terms, at).owner);
    expect(owners).toEqual(["/a", "/a", null, null]);
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
    applications.beat("app", every(1), 0);
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
    expect(() => applications.beat("more", every(1), 0)).toThrow(
      expect.objectContaining({ code: "over-limit", message: expect.stringContaining("32 applications") as string }),
    );
    expect(() => {
      applications.assertMayCheck("more");
    }).toThrow(expect.objectContaining({ code: "over-limit" }));
    applications.beat("app3", every(1), 0);
    applications.remove("app3");
    applications.beat("more", every(1), 0);
    expect(applications.states(0)).toHaveLength(MAX_APPLICATIONS);
  });

  test("cannot have the name of one of the other kind", () => {
    const applications = new Applications();
    applications.keepChecks(checksOf("web"), 0);
    applications.beat("app", every(1), 0);
    expect(() => applications.beat("web", every(1), 0)).toThrow(
      expect.objectContaining({
        code: "conflict",
        message: expect.stringContaining("'web' is a check already") as string,
      }),
    );
    expect(() => {
      applications.assertMayCheck("app");
    }).toThrow(expect.objectContaining({ code: "conflict" }));
  });
});

describe("a restricted socket", () => {
  const overLimit = expect.objectContaining({ code: "over-limit" }) as Error;
  const fill = (applications: Applications, socket: string): void => {
    for (let index = 0; index < MAX_PER_SOCKET; index += 1) applications.beat(`${socket}${index}`, every(1, socket), 0);
  };

  test("has its share of the applications, and no more", () => {
    const applications = new Applications();
    fill(applications, "/a");
    expect(() => applications.beat("more", every(1, "/a"), 0)).toThrow(overLimit);
    applications.beat("/a0", every(2, "/a"), 0);
    applications.beat("more", every(1, "/b"), 0);
    applications.remove("/a0");
    applications.beat("another", every(1, "/a"), 0);
  });

  test("leaves room for root, however many there are", () => {
    const applications = new Applications();
    for (const socket of ["/a", "/b", "/c"]) fill(applications, socket);
    expect(() => applications.beat("more", every(1, "/d"), 0)).toThrow(overLimit);
    for (let index = 0; index < 8; index += 1) applications.beat(`root${index}`, every(1), 0);
    expect(() => applications.beat("more", every(1), 0)).toThrow(overLimit);
  });

  test("cannot keep root's check from a name, nor take it", () => {
    const applications = new Applications();
    applications.beat("web", every(1, "/a"), 0);
    applications.assertMayCheck("web");
    applications.keepChecks(checksOf("web"), 0);
    expect(applications.states(0)).toMatchObject([{ name: "web", kind: "check" }]);
    expect(() => applications.beat("web", every(1, "/a"), 0)).toThrow(expect.objectContaining({ code: "conflict" }));
  });

  test("does not take over what root has beat", () => {
    const applications = new Applications();
    applications.beat("web", every(1), 0);
    applications.beat("web", every(1, "/a"), 0);
    expect(() => {
      applications.assertMayCheck("web");
    }).toThrow(expect.objectContaining({ code: "conflict" }));
  });
});
