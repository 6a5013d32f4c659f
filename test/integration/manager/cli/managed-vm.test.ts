/** One VM through the manager's socket: the transcript, the codes and the JSON that the channel itself gives, and more. */
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { Receipt, VmSummary } from "../../../../shared/api/schemas.ts";
import { version } from "../../../../shared/version.ts";
import { type Outcome, startVmmessage, temporaryDirectory, until, vmmessage } from "../../host-cli/programs.ts";
import {
  ago,
  AWAY,
  ENTRY,
  EPOCH,
  events,
  keyAnswer,
  queuedReceipt,
  receiptOf,
  refused,
  type Script,
  ScriptedManager,
  UUID,
  vmSummary,
  WEB1,
} from "./scripted-manager.ts";

let socket: string;
let manager: ScriptedManager;

beforeEach(async () => {
  socket = join(await temporaryDirectory(), "manager.sock");
  manager = await ScriptedManager.atSocket(socket, {});
});

/** The manager answers so, for a VM that is so. */
function scripted(script: Script, vm: Partial<VmSummary> = {}): void {
  manager.script = { showVm: () => vmSummary(vm), ...script };
}

/** `vmmessage -v web1 ...` */
function web1(...args: string[]): Promise<Outcome> {
  return vmmessage(["-v", "web1", ...args], { env: { VMMESSAGE_MANAGER: socket } });
}

const opening = (status: string): string => `vmmessage ${version}.\nConnected.\nVM : 'web1' has status :  ${status}.\n`;

const SET = ["-k", "foo", "-V", "bar"];

describe("a message", () => {
  it("to a VM that answers is told as without a manager, and asked for by the VM's UUID", async () => {
    scripted({ sendMessage: receiptOf });
    expect(await web1(...SET)).toMatchObject({
      code: 0,
      stdout: `${opening("Running")}Sending message.\nMessage sent successfully.\n`,
      stderr: "",
    });
    const [sent] = manager.asked("sendMessage");
    expect(sent).toMatchObject({
      params: { vm: UUID },
      body: { method: "set", params: { entries: [{ key: "foo", value: "bar" }] }, waitFor: "delivered" },
    });
    // The answer has to come within the 10 s of the command.
    const { waitMs } = sent?.body as { waitMs: number };
    expect(waitMs).toBeGreaterThan(8_000);
    expect(waitMs).toBeLessThan(9_600);
  });

  it("to a VM that is away is queued at once, with its status and the receipt", async () => {
    scripted({ sendMessage: (seen) => queuedReceipt(seen) }, AWAY);
    expect(await web1(...SET)).toMatchObject({
      code: 0,
      stdout: `${opening("Stopped")}Sending message.\nMessage queued; it is delivered when the VM answers.\n`,
    });
    expect(manager.asked("sendMessage")[0]?.body).not.toHaveProperty("waitFor");
    const { stdout } = await web1(...SET, "--json");
    expect(JSON.parse(stdout)).toMatchObject({ vm: "web1", state: "queued", by: "admin" });
  });

  it("that a VM which seemed to answer did not take in time is queued too", async () => {
    scripted({ sendMessage: (seen) => queuedReceipt(seen) });
    const outcome = await web1(...SET);
    expect(outcome).toMatchObject({ code: 0 });
    expect(outcome.stdout).toContain("Message queued; it is delivered when the VM answers.\n");
  });

  it("gives with --json what it gives without a manager, and its state", async () => {
    scripted({ sendMessage: receiptOf });
    const answer = JSON.parse((await web1(...SET, "--json")).stdout) as object;
    const messageId = expect.stringMatching(/^[0-9a-f]{32}$/) as string;
    expect(answer).toMatchObject({
      vm: "web1",
      messageId,
      epoch: EPOCH,
      revision: 7,
      replaced: [],
      state: "delivered",
    });
  });

  it.each<[string, Partial<Receipt>, number, string]>([
    [
      "is refused with the guest's own code and words",
      { state: "refused", refusal: { code: "conflict", message: "the key 'foo' exists", details: { key: "foo" } } },
      5,
      "vmmessage: the key 'foo' exists\n",
    ],
    [
      "that expired was not delivered",
      { state: "expired" },
      10,
      "vmmessage: the message expired before 'web1' answered; nothing was changed\n",
    ],
  ])("%s", async (_, different, code, stderr) => {
    scripted({ sendMessage: (seen) => queuedReceipt(seen, different) });
    expect(await web1(...SET)).toMatchObject({ code, stderr });
  });

  it("carries what only a manager can be told", async () => {
    scripted({ sendMessage: receiptOf });
    await web1(...SET, "--expires", "1h", "--log", "--ttl", "10m", "--if-absent");
    expect(manager.asked("sendMessage")[0]?.body).toMatchObject({
      expiresInMs: 3_600_000,
      log: true,
      params: { ifAbsent: true, entries: [{ ttlMs: 600_000 }] },
    });
  });

  it("whose answer is lost is handed over again under the same id", async () => {
    let attempts = 0;
    scripted({
      sendMessage: (seen) => {
        attempts += 1;
        return attempts === 1 ? (response) => void response.destroy() : receiptOf(seen);
      },
    });
    expect(await web1(...SET)).toMatchObject({ code: 0 });
    const ids = manager.asked("sendMessage").map(({ body }) => (body?.["params"] as { messageId: string }).messageId);
    expect(ids).toHaveLength(2);
    expect(ids[0]).toBe(ids[1]);
  });

  it("that the manager never answers is unconfirmed, with its id", async () => {
    scripted({ sendMessage: () => () => undefined });
    const outcome = await web1(...SET, "--timeout", "500ms", "--json");
    expect(outcome).toMatchObject({ code: 11 });
    const messageId = expect.stringMatching(/^[0-9a-f]{32}$/) as string;
    expect(JSON.parse(outcome.stdout)).toMatchObject({ error: { code: "unconfirmed", vm: "web1", messageId } });
  });
});

describe("--wait-ack", () => {
  const acknowledged = (receipt: Receipt): Receipt => ({
    ...receipt,
    state: "acknowledged",
    acknowledgement: { key: "foo", result: "done" },
  });

  it("tells of the delivery and then of the word of a program in the guest", async () => {
    let receipt: Receipt | undefined;
    scripted({
      sendMessage: (seen) => (receipt = receiptOf(seen)),
      getReceipt: () => (receipt === undefined ? {} : acknowledged(receipt)),
    });
    expect((await web1(...SET, "--wait-ack")).stdout).toMatch(
      /Message sent successfully\.\nMessage acknowledged with result 'done'\.\n$/,
    );
    expect(manager.asked("getReceipt")[0]?.query).toMatchObject({ waitFor: "acknowledged" });
    const { stdout } = await web1(...SET, "--wait-ack", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ state: "acknowledged", acknowledged: { key: "foo", result: "done" } });
  });

  it.each([
    ["delivered", {}, "has the message, but nothing there acknowledged it: the time is up"],
    ["queued", AWAY, "is away and gets the message when it answers, but nothing there acknowledged it"],
  ] as const)("is bounded: a message that is %s", async (state, vm, sentence) => {
    let receipt: Receipt | undefined;
    scripted(
      {
        sendMessage: (seen) => (receipt = state === "queued" ? queuedReceipt(seen) : receiptOf(seen)),
        getReceipt: () => receipt ?? {},
      },
      vm,
    );
    const outcome = await web1(...SET, "--wait-ack", "--timeout", "1");
    expect(outcome).toMatchObject({ code: 11 });
    expect(outcome.stderr).toContain(sentence);
  });
});

describe("deletions", () => {
  it("are told as without a manager", async () => {
    scripted({ sendMessage: receiptOf });
    expect((await web1("delete", "foo", "nope")).stdout).toBe(
      `${opening("Running")}Deleting keys.\nKey 'foo' deleted.\nThere was no key 'nope'.\n`,
    );
    expect((await web1("clear")).stdout).toBe(`${opening("Running")}Deleting all keys.\n1 key deleted.\n`);
  });

  it("of what is not there are no-such-key", async () => {
    scripted({ sendMessage: (seen) => receiptOf(seen, { result: { epoch: EPOCH, revision: 7, deleted: [] } }) });
    expect(await web1("delete", "foo")).toMatchObject({ code: 1, stderr: "vmmessage: 'web1' has no key 'foo'\n" });
  });

  it("wait for a VM that is away", async () => {
    scripted({ sendMessage: (seen) => queuedReceipt(seen) }, AWAY);
    const queued = /Message queued; it is delivered when the VM answers\.\n$/;
    expect((await web1("delete", "foo")).stdout).toMatch(queued);
    expect((await web1("clear")).stdout).toMatch(queued);
  });
});

describe("a query", () => {
  it("of a VM that answers is told as without a manager", async () => {
    scripted({ getKey: () => keyAnswer() });
    expect(await web1("-q", "foo")).toMatchObject({
      code: 0,
      stdout:
        `${opening("Running")}Querying for key 'foo'.\nQuery successful.\n` +
        "Query for Key : 'foo' returned value 'bar'.\nKey set 2 minutes ago.\n",
      stderr: "",
    });
    expect((await web1("-q", "foo", "--quiet")).stdout).toBe("bar\n");
  });

  const pending = [{ messageId: "m1", method: "set" as const, keys: ["foo"], queuedAt: ago(60_500) }];
  const mirrored = keyAnswer({ status: "Stopped", from: "mirror", asOf: ago(300_500), pending });

  it("of a VM that is away is answered with what it held, since when, and what waits", async () => {
    scripted({ getKey: () => mirrored }, AWAY);
    const outcome = await web1("-q", "foo");
    expect(outcome).toMatchObject({
      code: 0,
      stderr:
        "vmmessage: this is what 'web1' held 5 minutes ago, when it was last heard\n" +
        "vmmessage: not delivered yet: set of 'foo', queued 1 minute ago (message m1)\n",
    });
    expect(outcome.stdout).toContain(`${opening("Stopped")}Querying for key 'foo'.\nQuery successful.\n`);
  });

  it("with --json says where the answer is from, beside it", async () => {
    scripted({ getKey: () => mirrored }, AWAY);
    const outcome = await web1("-q", "foo", "--json");
    expect(outcome.stderr).toBe("");
    expect(JSON.parse(outcome.stdout)).toEqual({
      vm: "web1",
      epoch: EPOCH,
      ...ENTRY,
      from: "mirror",
      asOf: mirrored.asOf,
      pending,
    });
  });

  it("for a key that is not there", async () => {
    scripted({ getKey: () => refused("no-such-key", "there is no key 'foo'", 404) });
    expect(await web1("-q", "foo")).toMatchObject({
      code: 1,
      stdout: `${opening("Running")}Querying for key 'foo'.\n`,
      stderr: "vmmessage: there is no key 'foo'\n",
    });
  });

  it("of a key with any characters", async () => {
    scripted({ getKey: () => keyAnswer() });
    await web1("-q", "a/b?c d%");
    expect(manager.asked("getKey")[0]?.params["key"]).toBe("a/b?c d%");
  });

  it.each([
    ["ambiguous", refused("usage", "two VMs have the name 'web1': UUID1, UUID2", 409), 3],
    ["unknown", refused("failed", "there is no VM 'web1'", 404), 2],
  ])("of an %s name: the manager's own words", async (_, answer, code) => {
    manager.script = { showVm: () => answer };
    const outcome = await web1("-q", "foo");
    expect(outcome).toMatchObject({ code, stdout: `vmmessage ${version}.\n` });
    expect(outcome.stderr).toMatch(/^vmmessage: (two VMs have the name|there is no VM)/);
  });

  it("does not show a terminal what the manager or the guest wants it to do", async () => {
    scripted({ getKey: () => refused("failed", "\u001b[2J", 500) });
    expect((await web1("-q", "foo")).stderr).toBe("vmmessage: \\u001b[2J\n");
  });
});

describe("further questions", () => {
  const list = {
    vm: WEB1,
    status: "Running" as const,
    from: "guest" as const,
    asOf: ago(0),
    pending: [],
    epoch: EPOCH,
    revision: 6,
    usedBytes: 13,
    limitBytes: 8192,
    answersSince: 0,
    entries: [ENTRY],
  };

  it("list is the same table", async () => {
    scripted({ listKeys: () => list });
    expect((await web1("list", "f")).stdout).toBe(
      "KEY  VALUE  SET BY  AGE        REVISION\nfoo  bar    guest   2 minutes  6\n",
    );
    expect(manager.asked("listKeys")[0]?.query).toEqual({ prefix: "f" });
    expect(JSON.parse((await web1("list", "--json")).stdout)).toMatchObject({
      vm: "web1",
      usedBytes: 13,
      from: "guest",
    });
  });

  it("ping and info speak of the agent", async () => {
    scripted({
      pingVm: () => ({ vm: WEB1, roundTripMs: 1.5, uptimeMs: 60_000 }),
      infoVm: () => ({ ...INFO }),
    });
    expect((await web1("ping")).stdout).toBe("'web1' answered in 1.5 ms; it is up for 1 minute\n");
    expect((await web1("info")).stdout).toMatch(/^VM {10,}web1\nagent {8,}vmmessage 1/);
  });

  const INFO = {
    software: "vmmessage 1",
    hostname: "web1",
    kernel: "6",
    channel: "vport",
    isHostAttached: true,
    uptimeMs: 1,
    agentUptimeMs: 1,
    uuid: null,
    bootId: null,
    epoch: EPOCH,
    revision: 1,
    keys: 1,
    usedBytes: 13,
    limitBytes: 8192,
    answersSince: 0,
    queuedMessages: 0,
    damagedFrames: 0,
    unprojectedKeys: [],
    notes: [],
  };

  const health = () => ({
    status: "degraded",
    version: "1.2.3",
    startedAt: ago(1),
    inventory: [{ name: "libvirt qemu:///system", isConnected: false, reason: "no libvirtd", vms: 0 }],
    links: { up: 1, silent: 0, held: 0, down: 0, connecting: 0, off: 0 },
    messages: { queued: 0, delivered: 0, read: 0, acknowledged: 0, expired: 0, refused: 0 },
    sinks: { configured: [], subscribed: { connected: 0, disconnected: 0, idle: 0, disabled: 0 } },
  });

  it("doctor goes through the manager, its link and the agent", async () => {
    const ping = () => ({ vm: WEB1, roundTripMs: 1.5, uptimeMs: 1 });
    scripted({ health, pingVm: ping, infoVm: () => ({ ...INFO }) }, { pending: 2, channel: "/run/web1.sock" });
    const { code, stdout } = await web1("doctor");
    expect(code).toBe(0);
    expect(stdout.split("\n")).toMatchObject([
      `ok    manager: ${socket}: vmmessaged 1.2.3, degraded`,
      "note  the manager cannot ask libvirt qemu:///system for VMs: no libvirtd",
      "ok    VM: 'web1' (libvirt qemu:///system, on node7): Running, channel /run/web1.sock",
      "note  2 messages wait for it",
      "ok    link: up since 1 hour ago",
      `ok    agent: it answers in 1.5 ms; this is vmmessage ${version}`,
      `ok    cache: 1 keys, 13 of 8192 bytes, epoch ${EPOCH}`,
      "",
    ]);
  });

  it.each<[string, VmSummary["link"], number, RegExp]>([
    [
      "held",
      { state: "held", since: ago(1), holder: { pid: 7, command: "socat" } },
      12,
      /^vmmessage: the channel of 'web1' is held by .*socat.*7/,
    ],
    [
      "down",
      { state: "down", since: ago(1), reason: "no such file" },
      10,
      /'web1' is away: its link is down \(no such file\); it was last heard 5 minutes ago/,
    ],
    ["silent", { state: "silent", since: ago(1) }, 10, /is vmmessage's agent installed and running in it\?/],
  ])("doctor stops at a link that is %s", async (_, link, code, sentence) => {
    scripted({ health }, { link });
    const outcome = await web1("doctor");
    expect(outcome).toMatchObject({ code });
    expect(outcome.stdout).toMatch(/FAIL {2}link\n$/);
    expect(outcome.stderr).toMatch(sentence);
  });
});

describe("watch and wait", () => {
  const batch = (revision: number, ...changes: object[]): [string, object] => [
    "changed",
    { epoch: EPOCH, revision, more: false, resync: revision === 6, changes },
  ];
  const set = (value: string, revision: number): object => ({ ...ENTRY, value, revision });

  function start(...args: string[]) {
    return startVmmessage([...args, "-v", "web1"], { env: { VMMESSAGE_MANAGER: socket } });
  }

  it("prints the keys and every change, tells of the link, and takes nobody's channel", async () => {
    const off = vmSummary(AWAY);
    scripted({
      watchKeys: () => events([batch(6, ENTRY), ["link", off], ["link", vmSummary()], batch(7, set("new", 7))]),
    });
    const watching = start("watch", "f");
    await until(() => watching.stdout === "6 set by guest: foo = 'bar'\n7 set by guest: foo = 'new'\n");
    await watching.kill("SIGINT");
    expect(await watching.outcome()).toMatchObject({
      code: 130,
      stderr:
        "vmmessage: watching 'web1', till Ctrl-C\n" +
        "vmmessage: 'web1' is away: it is Stopped; it was last heard 5 minutes ago\n" +
        "vmmessage: 'web1' answers again\n",
    });
  });

  it("goes on where it was when the manager was restarted", async () => {
    scripted({ watchKeys: () => events([batch(6, ENTRY)]) });
    const watching = start("watch", "--quiet");
    await until(() => watching.stdout !== "");
    await manager.close();
    await until(() => watching.stderr.includes("the connection to the manager was lost; trying again"));
    manager = await ScriptedManager.atSocket(socket, { watchKeys: () => events([batch(7, set("new", 7))]) });
    await until(() => watching.stdout.endsWith("7 set by guest: foo = 'new'\n"));
    expect(watching.stderr).toContain("the manager is back");
    expect(manager.asked("watchKeys")[0]?.query).toMatchObject({ since: `${EPOCH}:6` });
  });

  it("goes on when the manager that was restarted has not met the one yet that has the VM", async () => {
    scripted({ watchKeys: () => events([batch(6, ENTRY)]) });
    const watching = start("watch", "--quiet");
    await until(() => watching.stdout !== "");
    await manager.close();
    const refusal = refused("unreachable", "there is no VM 'web1' here, and other managers cannot be asked now", 503);
    const answers = [refusal, refusal, events([batch(7, set("new", 7))])];
    manager = await ScriptedManager.atSocket(socket, { watchKeys: () => answers.shift() ?? refusal });
    await until(() => watching.stdout.endsWith("7 set by guest: foo = 'new'\n"));
    expect(manager.asked("watchKeys").map(({ query }) => query["since"])).toEqual(Array(3).fill(`${EPOCH}:6`));
    expect(watching.child.exitCode).toBeNull();
  });

  it("begins nothing that is unreachable from the first", async () => {
    scripted({ watchKeys: () => refused("unreachable", "nobody has 'web1' now", 503) });
    expect(await start("watch").outcome()).toMatchObject({ code: 10 });
  });

  it("--since without an epoch means the agent's present one", async () => {
    const agent = { software: "a 1", uuid: null, bootId: null, epoch: EPOCH, revision: 9, greetedAt: ago(1) };
    scripted({ watchKeys: () => events([batch(9)]) }, { agent });
    const watching = start("watch", "--since", "8");
    await until(() => manager.asked("watchKeys").length > 0);
    await watching.kill("SIGTERM");
    expect(manager.asked("watchKeys")[0]?.query).toMatchObject({ since: `${EPOCH}:8` });
  });

  it("a reader that had enough ends it without a word", async () => {
    scripted({
      watchKeys: () => async (response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        for (let revision = 7; !response.destroyed; revision += 1) {
          const [name, data] = batch(revision, set("x", revision));
          response.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      },
    });
    const watching = start("watch", "--quiet");
    await until(() => watching.stdout !== "");
    watching.child.stdout?.destroy();
    expect(await watching.outcome()).toMatchObject({ code: 0, stderr: "" });
  });

  it("wait prints the value as soon as the key is set", async () => {
    scripted({
      watchKeys: () => events([batch(6), batch(7, set("yes", 7))]),
      getKey: () => keyAnswer({ entry: { ...ENTRY, value: "yes", revision: 7 } }),
    });
    expect(await start("wait", "foo").outcome()).toMatchObject({ code: 0, stdout: "yes\n" });
  });

  it("wait is bounded", async () => {
    scripted({ watchKeys: () => events([batch(6)]) });
    expect(await start("wait", "foo", "--timeout", "500ms").outcome()).toMatchObject({
      code: 10,
      stderr: "vmmessage: the key 'foo' was not set in 'web1': the time is up\n",
    });
  });
});

describe("a manager that does not play along", () => {
  it.each<[string, object, number, string]>([
    ["an answer of the wrong shape", { id: 1 }, 2, "does not answer as a vmmessage manager of this version does"],
    [
      "an answer that is no JSON",
      (r: import("node:http").ServerResponse) => r.end("<html>"),
      2,
      "does not answer as a",
    ],
  ])("%s is a failure", async (_, answer, code, sentence) => {
    manager.script = { showVm: () => answer };
    const outcome = await web1("-q", "foo");
    expect(outcome).toMatchObject({ code });
    expect(outcome.stderr).toContain(sentence);
  });

  it("silence ends with the time-out", async () => {
    manager.script = { showVm: () => () => undefined };
    expect(await web1("-q", "foo", "--timeout", "500ms")).toMatchObject({
      code: 10,
      stderr: "vmmessage: the manager did not answer: the time is up\n",
    });
  });

  it("an answer without an end is cut off", async () => {
    manager.script = {
      showVm: () => (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        const write = (): void => {
          while (!response.destroyed && response.write(" ".repeat(65_536)));
        };
        response.on("drain", write);
        write();
      },
    };
    const outcome = await web1("-q", "foo");
    expect(outcome).toMatchObject({ code: 2 });
    expect(outcome.stderr).toContain("the manager's answer is over 67108864 bytes");
  });
});
