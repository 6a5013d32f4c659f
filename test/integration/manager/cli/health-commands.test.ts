/** `vmmessage monitor`, and `vmmessage check` through a manager. */
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { VmHealth } from "../../../../shared/api/monitor-schemas.ts";
import type { Result } from "../../../../shared/protocol/message.ts";
import { temporaryDirectory, vmmessage } from "../../host-cli/programs.ts";
import { scriptedGuest } from "../../host-cli/scripted-guest.ts";
import { ago, refused, ScriptedManager, UUID, vmSummary, WEB1 } from "./scripted-manager.ts";

let directory: string;
let manager: ScriptedManager;
let socket: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  socket = join(directory, "manager.sock");
  manager = await ScriptedManager.atSocket(socket, {});
});

function run(args: string[]) {
  return vmmessage(args, { env: { VMMESSAGE_MANAGER: socket } });
}

function health(different: Partial<VmHealth> = {}): VmHealth {
  return {
    vm: WEB1,
    isMonitored: true,
    state: "healthy",
    since: ago(300_500),
    misses: 0,
    agent: { result: "answered", at: ago(4_500), answeredAt: ago(4_500) },
    applications: [],
    recovery: [],
    ...different,
  };
}

const named = (name: string, different: Partial<VmHealth> = {}) => health({ vm: { id: name, name }, ...different });

describe("monitor", () => {
  const failing = { kind: "check", state: "reported", since: ago(60_500), misses: 0 } as const;
  const well = { kind: "heartbeat", state: "healthy", since: ago(60_500), misses: 0 } as const;

  it("is a table of all guests, those with problems first", async () => {
    const guestAgent = { result: "missed", at: ago(1_000) } as const;
    const silent = { result: "missed", at: ago(1_000), answeredAt: ago(40_000) } as const;
    const unknown = { result: "unknown", at: ago(1_000), reason: "it never answered here" } as const;
    manager.script = {
      listHealth: () => ({
        vms: [
          named("off1", { isMonitored: false, state: "discovery" }),
          named("web10"),
          named("web2", { applications: [{ name: "db", ...well }] }),
          named("app1", {
            applications: [
              { name: "db", ...failing },
              { name: "queue", ...well },
            ],
          }),
          named("late1", { state: "error", misses: 2, agent: silent }),
          named("lost1", { agent: unknown, expectedAgent: { state: "reported", since: ago(1_000) } }),
          named("hung1", { state: "reported", misses: 3, agent: silent, guestAgent }),
        ],
      }),
    };
    expect(await run(["monitor"])).toMatchObject({
      code: 0,
      stderr: "",
      stdout:
        "VM     STATE          SINCE          AGENT     GUEST-AGENT  APPLICATIONS\n" +
        "hung1  reported       5 minutes ago  missed    missed\n" +
        "app1   healthy        5 minutes ago  answered               db reported; 1 healthy\n" +
        "lost1  healthy        5 minutes ago  missing\n" +
        "late1  error          5 minutes ago  missed\n" +
        "web2   healthy        5 minutes ago  answered               1 healthy\n" +
        "web10  healthy        5 minutes ago  answered\n" +
        "off1   not monitored  5 minutes ago  answered\n",
    });
    expect((await run(["monitor", "--quiet"])).stdout.split("\n").slice(0, 2)).toEqual(["hung1", "app1"]);
    const { vms } = JSON.parse((await run(["monitor", "--json"])).stdout) as { vms: VmHealth[] };
    expect(vms.map(({ vm }) => vm.name).slice(0, 2)).toEqual(["hung1", "app1"]);
  });

  it("-v VM is all that is known of one, harmless to a terminal", async () => {
    const found = health({
      state: "error",
      misses: 2,
      agent: { result: "missed", at: ago(2_500), answeredAt: ago(40_500) },
      guestAgent: { result: "unknown", at: ago(2_500), reason: "the port is\u001b[2J closed" },
      expectedAgent: { state: "healthy", since: ago(300_500) },
      applications: [
        { name: "db", ...failing, reason: "exit code 1: no\nspace" },
        { name: "queue", ...well },
      ],
      recovery: [
        { policy: "restart", runs: 3, lastRunAt: ago(60_500), isSuspended: true },
        { policy: "reset", runs: 0, isSuspended: false },
      ],
    });
    manager.script = { showHealth: () => found };
    expect((await run(["monitor", "-v", "web1"])).stdout).toBe(
      "VM                 web1\n" +
        "state              error, since 5 minutes ago\n" +
        "missed             2 in a row\n" +
        "agent              missed 2 seconds ago; answered 40 seconds ago\n" +
        "guest agent        unknown 2 seconds ago: the port is\\u001b[2J closed\n" +
        "expected agent     healthy, since 5 minutes ago\n" +
        "application db     check, reported since 1 minute ago: exit code 1: no\\u000aspace\n" +
        "application queue  heartbeat, healthy since 1 minute ago\n" +
        "recovery restart   3 runs, the last 1 minute ago; suspended until the guest has been healthy for a while\n" +
        "recovery reset     0 runs\n",
    );
    expect(manager.seen[0]).toMatchObject({ endpoint: "showHealth", params: { vm: "web1" } });
    expect(JSON.parse((await run(["monitor", "-v", "web1", "--json"])).stdout)).toEqual(found);
    expect((await run(["monitor", "-v", "web1", "--quiet"])).stdout).toBe("error\n");
  });

  it("of no VMs says so, and needs a manager", async () => {
    manager.script = { listHealth: () => ({ vms: [] }) };
    expect(await run(["monitor"])).toMatchObject({
      code: 0,
      stdout: "",
      stderr: "vmmessage: the manager knows no VMs\n",
    });
    await manager.close();
    expect(await run(["monitor"])).toMatchObject({
      code: expect.toSatisfy((code) => code === 3 || code === 10) as number,
    });
  });
});

describe("check", () => {
  const pong = { vm: WEB1, roundTripMs: 1.5, uptimeMs: 60_000 };
  const stats: Result<"stats"> = {
    uptimeMs: 60_000,
    loadAverage: [9, 1.5, 9],
    cpus: 2,
    cpuBusyMs: 0,
    cpuIdleMs: 0,
    memoryTotalBytes: 1_000,
    memoryAvailableBytes: 150,
    disks: [
      { path: "/", totalBytes: 100, availableBytes: 50 },
      { path: "/var", totalBytes: 100, availableBytes: 20 },
    ],
  };
  const applications = [
    { name: "db", kind: "check", state: "failing", forMs: 120_500, reason: "exit code 1" },
    { name: "queue", kind: "heartbeat", state: "ok", forMs: 1 },
  ];
  const answers = { showVm: () => vmSummary(), pingVm: () => pong, statsVm: () => stats, showHealth: () => health() };
  const check = (...args: string[]) => run(["check", "-v", "web1", ...args]);

  beforeEach(() => {
    manager.script = answers;
  });

  it("without anything to look at is whether it answers, and its health", async () => {
    expect(await check()).toMatchObject({
      code: 0,
      stdout: "VMMESSAGE OK - web1: it answers in 1.5 ms; the manager has it in state healthy|'rtt'=1.5ms;;;0\n",
      stderr: "",
    });
    manager.script = { ...answers, showHealth: () => health({ isMonitored: false, state: "reported" }) };
    expect(await check()).toMatchObject({ code: 0 });
  });

  it.each([
    ["error", 1, "WARNING - web1: the manager misses its answers (3 in a row); it answers in 1.5 ms"],
    ["reported", 2, "CRITICAL - web1: the manager reported it as hung 5 minutes ago; it answers in 1.5 ms"],
  ] as const)("of a guest in state %s exits with %i", async (state, code, text) => {
    manager.script = { ...answers, showHealth: () => health({ state, misses: 3 }) };
    expect(await check()).toMatchObject({ code, stdout: `VMMESSAGE ${text}|'rtt'=1.5ms;;;0\n` });
  });

  it("prints the same through the manager as straight over the channel", async () => {
    manager.script = { ...answers, pingVm: () => ({ ...pong, applications }) };
    const channel = join(directory, "web1.sock");
    await scriptedGuest(channel, {
      answer: ({ method }) => (method === "stats" ? stats : { uptimeMs: 60_000, applications }),
    });
    const words = ["--memory", "80,90", "--disk", "90", "--disk", "/var=70,85", "--load", "2", "--applications"];
    for (const style of [[], ["--json"], ["--quiet"]]) {
      const managed = await check(...words, ...style);
      const direct = await vmmessage(["check", "--socket", channel, ...words, ...style]);
      expect(managed).toEqual(direct);
      expect(managed.code).toBe(2);
    }
    expect((await check(...words)).stdout).toBe(
      "VMMESSAGE CRITICAL - web1: 1 of 2 applications failing; db failing for 2 minutes: exit code 1; " +
        "memory 85 % used; disk /var 80 % used; disk / 50 % used; load 1.5" +
        "|'memory'=85%;80;90;0;100 '/'=50%;;90;0;100 '/var'=80%;70;85;0;100 'load5'=1.5;;2;0 " +
        "'failing_applications'=1;;1;0;2\n",
    );
    expect(manager.asked("showHealth")).toEqual([]);
  });

  it("of processors asks twice", async () => {
    let asked = 0;
    manager.script = {
      ...answers,
      statsVm: () => ({ ...stats, cpuBusyMs: 190 * asked, cpuIdleMs: 1_810 * asked++ }),
    };
    expect(await check("--cpu", "80,90")).toMatchObject({
      code: 0,
      stdout: "VMMESSAGE OK - web1: cpu 9.5 % busy|'cpu'=9.5%;80;90;0;100\n",
    });
    expect(manager.asked("statsVm")).toHaveLength(2);
  });

  it("of a guest that is stopped, or does not answer, is critical", async () => {
    const said = "'web1' does not answer: the VM is stopped";
    const silent = () => refused("unreachable", said, 503, { vm: "web1", status: "Stopped" });
    manager.script = { ...answers, pingVm: silent, statsVm: silent };
    expect(await check()).toMatchObject({ code: 2, stdout: `VMMESSAGE CRITICAL - ${said}\n`, stderr: "" });
    expect(await check("--load", "8")).toMatchObject({ code: 2, stdout: `VMMESSAGE CRITICAL - ${said}\n` });
  });

  it("of a guest that the manager waits for in vain is critical", async () => {
    manager.script = { ...answers, pingVm: () => () => undefined };
    expect(await check("--timeout", "1")).toMatchObject({
      code: 2,
      stdout: "VMMESSAGE CRITICAL - 'web1' does not answer: the time is up\n",
    });
  });

  it.each<[string, () => void, string]>([
    [
      "a VM that is not known",
      () => (manager.script = { showVm: () => refused("failed", "there is no VM 'web1'", 404) }),
      "there is no VM 'web1'",
    ],
    [
      "a manager that does not answer",
      () => (manager.script = { showVm: () => () => undefined }),
      "the manager did not answer: the time is up",
    ],
    [
      "a manager that goes away",
      () =>
        (manager.script = {
          ...answers,
          pingVm: () => (response) => {
            response.destroy();
          },
        }),
      "the connection to the manager was lost before it answered",
    ],
    [
      "what is not permitted",
      () => (manager.script = { showVm: () => refused("not-permitted", "wrong user name, password or token", 401) }),
      "wrong user name, password or token",
    ],
    [
      "a channel that somebody else holds",
      () => (manager.script = { ...answers, pingVm: () => refused("held", "the channel is held by socat", 409) }),
      "the channel is held by socat",
    ],
  ])("%s is unknown", async (_, arrange, sentence) => {
    arrange();
    const outcome = await check("--timeout", "1");
    expect(outcome).toMatchObject({ code: 3, stderr: "" });
    expect(outcome.stdout).toMatch(/^VMMESSAGE UNKNOWN - [^\n]+\n$/);
    expect(outcome.stdout).toContain(sentence);
  });

  it("without the manager that was named is unknown", async () => {
    const outcome = await vmmessage(["check", "-v", "web1", "-h", "127.0.0.1:1"]);
    expect(outcome).toMatchObject({ code: 3, stderr: "" });
    expect(outcome.stdout).toMatch(/^VMMESSAGE UNKNOWN - nobody listens on 127\.0\.0\.1:1;/);
  });

  it("of several VMs is not offered", async () => {
    expect(await run(["check", "-v", "web*"])).toMatchObject({ code: 3, stderr: "" });
    expect(await run(["check", "--all"])).toMatchObject({ code: 3, stderr: "" });
    expect(manager.seen).toEqual([]);
  });

  it("asks for the VM by its UUID once it is known", async () => {
    await check();
    expect(manager.asked("pingVm")[0]?.params).toEqual({ vm: UUID });
  });
});
