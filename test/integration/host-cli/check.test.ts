/** `vmmessage check` straight over a VM's channel: a monitoring plugin, whatever happens. */
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { RequestError } from "../../../shared/protocol/errors.ts";
import type { Result } from "../../../shared/protocol/message.ts";
import type { Request } from "../../../shared/protocol/session.ts";
import {
  listenForOne,
  type Outcome,
  RealAgent,
  startVmmessage,
  temporaryDirectory,
  until,
  vmmessage,
} from "./programs.ts";
import { deaf, type Script, scriptedGuest } from "./scripted-guest.ts";

let directory: string;
let socket: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  socket = join(directory, "web1.sock");
});

function check(...args: string[]): Promise<Outcome> {
  return vmmessage(["check", "--socket", socket, ...args]);
}

describe("a real agent", () => {
  beforeEach(async () => {
    await new RealAgent(directory, socket).start();
  });

  it("that answers is OK, with its round trip", async () => {
    const outcome = await check();
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(outcome.stdout).toMatch(/^VMMESSAGE OK - web1: it answers in ([\d.]+) ms\|'rtt'=\1ms;;;0\n$/);
  });

  it("is judged by its processors, memory, disks and load, each with its numbers", async () => {
    const outcome = await check("--cpu", "100", "--memory", "99,100", "--disk", "/=100", "--load", "9000");
    expect(outcome.stderr).toBe("");
    expect(outcome.stdout).toMatch(
      /^VMMESSAGE \w+ - web1: .+\|'cpu'=[\d.]+%;;100;0;100 'memory'=[\d.]+%;99;100;0;100 '\/'=[\d.]+%;;100;0;100 'load5'=[\d.]+;;9000;0\n$/,
    );
  });

  it("over a threshold is a warning or critical, which the exit code says", async () => {
    expect(await check("--memory", "0,100")).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^VMMESSAGE WARNING - web1: memory [\d.]+ % used\|/) as string,
    });
    expect(await check("--memory", "0", "--load", "9000")).toMatchObject({
      code: 2,
      stdout: expect.stringMatching(/^VMMESSAGE CRITICAL - web1: memory [\d.]+ % used; load /) as string,
    });
  });

  it("without a disk of that path is unknown", async () => {
    const outcome = await check("--disk", "/not/there=90");
    expect(outcome).toMatchObject({
      code: 3,
      stdout: "VMMESSAGE UNKNOWN - web1: disk /not/there: it is not among those that the guest tells of\n",
    });
  });

  it("--json has the measurements and verdicts, with the same exit code", async () => {
    const outcome = await check("--memory", "0,100", "--json");
    expect(outcome.code).toBe(1);
    expect(JSON.parse(outcome.stdout)).toMatchObject({
      vm: "web1",
      state: "WARNING",
      exitCode: 1,
      checks: [{ name: "memory", state: "WARNING", unit: "%", warning: 0, critical: 100 }],
    });
    expect(await check("--quiet", "--memory", "0,100")).toMatchObject({ code: 1, stdout: "WARNING\n" });
  });
});

type Stats = Result<"stats">;

const healthy: Stats = {
  uptimeMs: 1_000,
  loadAverage: [0, 1.5, 0],
  cpus: 1,
  cpuBusyMs: 0,
  cpuIdleMs: 0,
  memoryTotalBytes: 1_000,
  memoryAvailableBytes: 600,
  disks: [{ path: "/", totalBytes: 100, availableBytes: 50 }],
};

/** A guest that answers `stats` again and again, each time with the next of these, and `ping` with applications. */
async function guest(stats: readonly object[], applications?: object[]): Promise<void> {
  const left = [...stats];
  await scriptedGuest(socket, {
    answer: ({ method }: Request) => {
      if (method === "ping") return { uptimeMs: 1, ...(applications !== undefined && { applications }) };
      return method === "stats" ? (left.length > 1 ? left.shift() : left[0]) : undefined;
    },
  });
}

describe("a guest's words", () => {
  it("of its processors count from one answer to the next, a second later", async () => {
    await guest([healthy, { ...healthy, cpuBusyMs: 850, cpuIdleMs: 150 }]);
    const startMs = performance.now();
    expect(await check("--cpu", "80,90")).toMatchObject({
      code: 1,
      stdout: "VMMESSAGE WARNING - web1: cpu 85 % busy|'cpu'=85%;80;90;0;100\n",
    });
    expect(performance.now() - startMs).toBeGreaterThan(1_000);
  });

  it("cannot break the line, in the names of disks and the reasons of applications", async () => {
    const path = "/a|'x'=1\n\u001b[2J";
    const applications = [{ name: "db", kind: "check", state: "failing", forMs: 61_000, reason: "a|b\n\u001b[31m" }];
    await guest([{ ...healthy, disks: [{ path, totalBytes: 10, availableBytes: 0 }] }], applications);
    const outcome = await check("--disk", "90", "--applications");
    expect(outcome).toMatchObject({ code: 2, stderr: "" });
    expect(outcome.stdout).toBe(
      "VMMESSAGE CRITICAL - web1: disk /a/'x'=1\\u000a\\u001b[2J 100 % used; 1 of 1 applications failing; " +
        "db failing for 1 minute: a/b\\u000a\\u001b[31m" +
        "|'/a__x__1\\u000a\\u001b[2J'=100%;;90;0;100 'failing_applications'=1;;1;0;1\n",
    );
  });

  it("that cannot be are unknown, and never OK", async () => {
    await guest([{ ...healthy, memoryTotalBytes: 0, loadAverage: [0, -1, 0] }]);
    expect(await check("--memory", "90", "--load", "8")).toMatchObject({
      code: 3,
      stdout: "VMMESSAGE UNKNOWN - web1: memory: the guest says that it has 0 bytes; load: a load of -1 cannot be\n",
    });
    expect(await check("--cpu", "90")).toMatchObject({
      code: 3,
      stdout: "VMMESSAGE UNKNOWN - web1: cpu: the time of its processors stands still\n",
    });
  });

  it.each([
    ["of an old agent, without processors", { ...healthy, cpus: undefined }],
    ["with more disks than there can be", { ...healthy, disks: Array.from({ length: 99 }, () => healthy.disks[0]) }],
    ["with numbers that are none", { ...healthy, memoryTotalBytes: -1 }],
  ])("that break the protocol are unknown: %s", async (_, stats) => {
    await guest([stats]);
    const outcome = await check("--memory", "90");
    expect(outcome).toMatchObject({ code: 3, stderr: "" });
    expect(outcome.stdout).toMatch(/^VMMESSAGE UNKNOWN - the answer to stats is not one: [^\n]+\n$/);
  });

  it("that it has no stats are unknown, with a bound on its sentence", async () => {
    await scriptedGuest(socket, {
      answer: () => {
        throw new RequestError("failed", `no|stats\n${"x".repeat(100_000)}`);
      },
    });
    const outcome = await check("--memory", "90");
    expect(outcome.code).toBe(3);
    expect(outcome.stdout).toMatch(/^VMMESSAGE UNKNOWN - no\/stats\\u000ax+\.\.\.\n$/);
    expect(outcome.stdout.length).toBeLessThan(500);
  });

  it("of applications: well, and unknown where none is watched", async () => {
    await guest([], [{ name: "db", kind: "heartbeat", state: "pending", forMs: 0 }]);
    expect(await check("--applications")).toMatchObject({
      code: 0,
      stdout: "VMMESSAGE OK - web1: 0 of 1 applications failing, 1 pending|'failing_applications'=0;;1;0;1\n",
    });
  });

  it("of no applications leave nothing to judge", async () => {
    await guest([]);
    expect(await check("--applications")).toMatchObject({
      code: 3,
      stdout: "VMMESSAGE UNKNOWN - web1: applications: its agent watches none\n",
    });
  });
});

describe("critical is", () => {
  it("a VM without a socket: it is off", async () => {
    expect(await check()).toMatchObject({
      code: 2,
      stdout: `VMMESSAGE CRITICAL - the channel's socket ${socket} does not exist; is the VM 'web1' running?\n`,
      stderr: "",
    });
    const inDirectory = await vmmessage(["check", "-v", "web1", "--socket-dir", directory]);
    expect(inDirectory).toMatchObject({ code: 2, stderr: "" });
  });

  it.each<[string, Script]>([
    ["says nothing", { connected: deaf }],
    ["greets and then says nothing", {}],
    ["hangs up", { connected: (connection) => connection.destroy() }],
  ])("a guest that %s", async (_, script) => {
    await scriptedGuest(socket, script);
    const outcome = await check("--timeout", "1", "--memory", "90");
    expect(outcome).toMatchObject({ code: 2, stderr: "" });
    expect(outcome.stdout).toMatch(/^VMMESSAGE CRITICAL - [^\n]*web1[^\n]*\n$/);
  });

  it("a guest that says that it is busy", async () => {
    await scriptedGuest(socket, {
      answer: () => {
        throw new RequestError("busy", "too many requests");
      },
    });
    expect(await check("--memory", "90", "--timeout", "1")).toMatchObject({ code: 2, stderr: "" });
  });

  it("the same in JSON", async () => {
    const outcome = await check("--json");
    expect(outcome.code).toBe(2);
    expect(JSON.parse(outcome.stdout)).toMatchObject({
      state: "CRITICAL",
      exitCode: 2,
      error: { code: "unreachable", vm: "web1" },
    });
  });
});

describe("unknown is", () => {
  it.each([
    [["--cpu", "lots"], "option '--cpu <[warning,]critical>' argument 'lots' is invalid"],
    [["--disk", "90,80"], "the warning, 90, is over the critical 80"],
    [["--lost"], "unknown option '--lost'"],
    [["--json", "--quiet"], undefined],
    [["-v", "web*"], "check is for one VM"],
    [["--timeout", "soon"], "it is not a duration"],
  ])("wrong usage: %j", async (args, sentence) => {
    const outcome = await check(...args);
    expect(outcome).toMatchObject({ code: 3, stderr: "" });
    if (sentence === undefined) expect(JSON.parse(outcome.stdout)).toMatchObject({ state: "UNKNOWN", exitCode: 3 });
    else expect(outcome.stdout).toMatch(/^VMMESSAGE UNKNOWN - [^\n]+\n$/);
    expect(outcome.stdout).toContain(sentence ?? "two kinds of answer");
  });

  it("a channel that somebody else holds: it says nothing of the guest", async () => {
    await listenForOne(socket);
    const holder = startVmmessage(["ping", "--socket", socket, "--timeout", "60"]);
    await until(async () => (await check("--timeout", "1")).stdout.includes("is held by"));
    expect(await check("--timeout", "1")).toMatchObject({ code: 3 });
    await holder.kill("SIGKILL");
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("a check that was ended by %s", async (signal) => {
    const greeted = Promise.withResolvers<undefined>();
    await scriptedGuest(socket, {
      greeted: () => {
        greeted.resolve(undefined);
      },
    });
    const running = startVmmessage(["check", "--socket", socket]);
    await greeted.promise;
    running.child.kill(signal);
    expect(await running.outcome()).toMatchObject({
      code: 3,
      stdout: `VMMESSAGE UNKNOWN - ended by ${signal}\n`,
      stderr: "",
    });
  });
});

it("a guest that floods the check is not waited for longer than the time-out", async () => {
  await scriptedGuest(socket, { connected: (connection) => connection.end("x".repeat(1_000_000)) });
  expect(await check("--timeout", "2")).toMatchObject({ code: 2 });
});

it("monitor --table needs neither a manager nor a VM", async () => {
  const outcome = await vmmessage(["monitor", "--table"], { env: { VMMESSAGE_MANAGER: join(directory, "none.sock") } });
  expect(outcome).toMatchObject({ code: 0, stderr: "" });
  expect(outcome.stdout).toMatch(/^STATE +INPUT +NEXT +GUEST +AGENT +APPLICATION\n/);
});
