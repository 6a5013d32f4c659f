/** One command for many VMs. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { FleetResult, FleetSummary, Receipt } from "../../../../shared/api/schemas.ts";
import { startVmmessage, temporaryDirectory, until, vmmessage } from "../../host-cli/programs.ts";
import {
  ago,
  ENTRY,
  EPOCH,
  events,
  keyAnswer,
  queuedReceipt,
  receiptOf,
  refused,
  ScriptedManager,
  type Seen,
  UUID,
} from "./scripted-manager.ts";

let directory: string;
let socket: string;
let manager: ScriptedManager;

beforeEach(async () => {
  directory = await temporaryDirectory();
  socket = join(directory, "manager.sock");
  manager = await ScriptedManager.atSocket(socket, {});
});

function run(args: string[], stdin = "") {
  return vmmessage(args, { env: { VMMESSAGE_MANAGER: socket }, stdin });
}

type Part = Omit<FleetResult, "vm">;

/** The manager answers for each VM as scripted, and with the summary that goes with it. */
function answering(parts: (seen: Seen) => Record<string, Part>, different: Partial<FleetSummary> = {}): void {
  manager.script = {
    sendFleet: (seen) => {
      const results = Object.entries(parts({ ...seen, body: seen.body?.["request"] as Record<string, unknown> }));
      const count = (isSo: (part: Part) => boolean): number => results.filter(([, part]) => isSo(part)).length;
      const failed = count(({ error, receipt }) => error !== undefined || receipt?.state === "refused");
      const queued = count(({ receipt }) => receipt?.state === "queued");
      const done = results.length - failed - queued;
      return events(
        [
          ["begin", { vms: results.length }],
          ...results.map(([name, part]): [string, object] => ["result", { vm: { id: UUID, name }, ...part }]),
          ["summary", { vms: results.length, done, queued, failed, ...different }],
        ],
        { end: true },
      );
    },
  };
}

const delivered = (receipt: Receipt): Part => ({ status: "Running", receipt });
const queued = (receipt: Receipt): Part => ({ status: "Stopped", receipt });
const failed = (code: "unreachable" | "not-permitted" | "no-such-key", message: string): Part => ({
  status: "Running",
  error: { code, message },
});
const jsonLines = (stdout: string): unknown[] =>
  stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);

const SET = ["-k", "foo", "-V", "bar"];

describe("a message to many VMs", () => {
  it("is one request; a table tells what became of each, and one line of all", async () => {
    answering((seen) => ({ web2: queued(queuedReceipt(seen)), web1: delivered(receiptOf(seen)) }));
    expect(await run(["-v", "web*", ...SET])).toMatchObject({
      code: 0,
      stdout: "VM    STATUS   RESULT\nweb1  Running  delivered\nweb2  Stopped  queued\n1 of 2 done, 1 queued\n",
      stderr: "",
    });
    expect(manager.seen).toMatchObject([
      {
        endpoint: "sendFleet",
        body: {
          vms: { names: ["web*"] },
          request: { method: "set", params: { entries: [{ key: "foo", value: "bar" }] }, waitFor: "delivered" },
        },
      },
    ]);
  });

  it("of which some failed is partial", async () => {
    answering((seen) => ({ a: delivered(receiptOf(seen)), b: failed("unreachable", "no agent answered") }));
    const outcome = await run(["--all", ...SET]);
    expect(outcome).toMatchObject({ code: 7, stderr: "vmmessage: 1 of 2 VMs failed\n" });
    expect(outcome.stdout).toContain("b   Running  unreachable  no agent answered\n1 of 2 done, 1 failed\n");
    expect(manager.seen[0]?.body).toMatchObject({ vms: { all: true } });
  });

  it("of which all failed alike has that code; of which all failed differently is partial", async () => {
    const refusal = { code: "not-permitted" as const, message: "not your key" };
    answering((seen) => ({
      a: queued(queuedReceipt(seen, { state: "refused", refusal })),
      b: failed("not-permitted", "not yours"),
    }));
    expect(await run(["--all", ...SET])).toMatchObject({ code: 6 });
    answering(() => ({ a: failed("unreachable", "gone"), b: failed("not-permitted", "not yours") }));
    expect(await run(["--all", ...SET])).toMatchObject({ code: 7 });
  });

  it("with --json is a line for each and a summary", async () => {
    answering((seen) => ({ a: delivered(receiptOf(seen)), b: failed("unreachable", "gone") }));
    const { stdout, stderr, code } = await run(["--all", ...SET, "--json"]);
    expect({ code, stderr }).toEqual({ code: 7, stderr: "" });
    const messageId = expect.stringMatching(/^[0-9a-f]{32}$/) as string;
    expect(jsonLines(stdout)).toMatchObject([
      { vm: "a", id: UUID, status: "Running", messageId, epoch: EPOCH, revision: 7, replaced: [], state: "delivered" },
      { vm: "b", status: "Running", error: { code: "unreachable", message: "gone" } },
      { summary: { vms: 2, done: 1, queued: 0, failed: 1, messageId } },
      { error: { code: "partial", vms: 2, failed: 1 } },
    ]);
  });

  it("goes to the VMs of a file, of several -v, or of the standard input", async () => {
    answering((seen) => ({ a: delivered(receiptOf(seen)) }));
    const file = join(directory, "vms");
    await writeFile(file, "# rack 1\nweb1\n\n  web2  \nweb1\n");
    await run(["--vms-from", file, "-v", "db1", ...SET]);
    await run(["--vms-from", "-", "delete", "foo"], "web1\nweb2\n");
    await run(["-v", "web1", "-v", "web2", "clear"]);
    expect(manager.seen.map(({ body }) => body)).toMatchObject([
      { vms: { names: ["db1", "web1", "web2"] }, request: { method: "set" } },
      { vms: { names: ["web1", "web2"] }, request: { method: "delete", params: { keys: ["foo"] } } },
      { vms: { names: ["web1", "web2"] }, request: { method: "clear" } },
    ]);
  });

  it.each([
    ["names none", "# nobody\n", "names no VM"],
    ["is not there", undefined, "--vms-from: ENOENT"],
  ])("to the VMs of a file that %s is wrong usage", async (_, text, sentence) => {
    const file = join(directory, "vms");
    if (text !== undefined) await writeFile(file, text);
    const outcome = await run(["--vms-from", file, ...SET]);
    expect(outcome).toMatchObject({ code: 3 });
    expect(outcome.stderr).toContain(sentence);
    expect(manager.seen).toEqual([]);
  });

  it("--wait-ack waits for the word of a program in each", async () => {
    answering((seen) => ({
      a: delivered(receiptOf(seen, { state: "acknowledged", acknowledgement: { key: "foo", result: "ok" } })),
    }));
    const { stdout } = await run(["-v", "web*", ...SET, "--wait-ack"]);
    expect(stdout).toContain("a   Running  acknowledged  result 'ok'\n");
    expect(manager.seen[0]?.body).toMatchObject({ request: { waitFor: "acknowledged" } });
  });

  it("that no VM matches is a failure", async () => {
    answering(() => ({}));
    expect(await run(["-v", "web*", ...SET])).toMatchObject({
      code: 2,
      stderr: "vmmessage: no VM matches 'web*'; nothing was sent\n",
    });
    manager.script = { sendFleet: () => refused("failed", "no VM matches 'web*'", 404) };
    expect(await run(["-v", "web*", ...SET])).toMatchObject({ code: 2, stderr: "vmmessage: no VM matches 'web*'\n" });
  });
});

describe("questions to many VMs", () => {
  it("get is a table of values, with their age where the VM is away", async () => {
    answering(() => ({
      a: { status: "Running", answer: keyAnswer() },
      b: { status: "Stopped", answer: keyAnswer({ from: "mirror", asOf: ago(300_500) }) },
      c: failed("no-such-key", "there is no key 'foo'"),
    }));
    const outcome = await run(["-v", "*", "-q", "foo"]);
    expect(outcome).toMatchObject({ code: 7 });
    expect(outcome.stdout).toBe(
      "VM  STATUS   VALUE        NOTE\n" +
        "a   Running  bar\n" +
        "b   Stopped  bar          as it was 5 minutes ago\n" +
        "c   Running  no-such-key  there is no key 'foo'\n" +
        "2 of 3 done, 1 failed\n",
    );
    const lines = jsonLines((await run(["-v", "*", "-q", "foo", "--json"])).stdout);
    expect(lines[1]).toMatchObject({ vm: "b", status: "Stopped", epoch: EPOCH, ...ENTRY, from: "mirror" });
    expect(await run(["-v", "*", "-q", "foo", "--quiet"])).toMatchObject({
      stdout: "a\tbar\nb\tbar\n",
      stderr: "vmmessage: 'c': there is no key 'foo'\nvmmessage: 1 of 3 VMs failed\n",
    });
  });

  it("ping tells how fast each answers", async () => {
    const ping = { vm: { id: UUID, name: "a" }, roundTripMs: 1.25, uptimeMs: 1 };
    answering(() => ({ a: { status: "Running", ping } }));
    expect((await run(["ping", "--all"])).stdout).toBe("VM  STATUS   RESULT\na   Running  1.25 ms\n1 of 1 done\n");
  });
});

describe("a fleet's answer that does not come to its end", () => {
  const begun = (seen: Seen): [string, object][] => [
    ["begin", { vms: 3 }],
    [
      "result",
      { vm: { id: UUID, name: "a" }, ...delivered(receiptOf({ ...seen, body: seen.body?.["request"] as never })) },
    ],
  ];

  it("because the manager went away: what is not known is unconfirmed", async () => {
    manager.script = {
      sendFleet: (seen) => (response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        for (const [name, data] of begun(seen)) response.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
        setTimeout(() => response.destroy(), 100);
      },
    };
    const outcome = await run(["--all", ...SET]);
    expect(outcome).toMatchObject({ code: 11, stdout: "VM  STATUS   RESULT\na   Running  delivered\n" });
    expect(outcome.stderr).toMatch(
      /1 of 3 VMs have answered; for the others it is not known whether the message \w+ reached them/,
    );
  });

  it("because the time is up", async () => {
    manager.script = { sendFleet: (seen) => events(begun(seen)) };
    expect(await run(["--all", ...SET, "--timeout", "500ms"])).toMatchObject({ code: 11 });
  });

  it("because of Ctrl-C: it says what is not known", async () => {
    manager.script = { sendFleet: (seen) => events(begun(seen)) };
    const sending = startVmmessage(["--all", ...SET, "--json"], { env: { VMMESSAGE_MANAGER: socket } });
    await until(() => sending.stdout !== "");
    await sending.kill("SIGINT");
    const outcome = await sending.outcome();
    expect(outcome).toMatchObject({ code: 130 });
    expect(outcome.stderr).toMatch(/^vmmessage: interrupted; 1 of 3 VMs have answered; for the others it is not known/);
  });
});

it("on a terminal a bar shows how far it is", async () => {
  answering((seen) => ({ a: delivered(receiptOf(seen)), b: delivered(receiptOf(seen)) }));
  const words = [process.execPath, "dist/vmmessage.js", "--all", ...SET];
  // script(1) gives the program a terminal.
  const env = { ...process.env, VMMESSAGE_MANAGER: socket };
  const terminal = spawn("script", ["-qec", words.join(" "), "/dev/null"], { env });
  onTestFinished(() => void terminal.kill("SIGKILL"));
  let shown = "";
  terminal.stdout.on("data", (piece: Buffer) => (shown += piece.toString()));
  await once(terminal, "close");
  expect(shown).toMatch(/[█░] \d of 2 VMs/);
  expect(shown.replaceAll("\r", "")).toMatch(/b {3}Running {2}delivered\n2 of 2 done\n$/);
});
