/** Commands and gateways: real programs, which write down what they were started with. */
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ProgramConfig } from "../../../../manager/config.ts";
import type { Event } from "../../../../manager/events/event.ts";
import { CommandSink } from "../../../../manager/sinks/command-sink.ts";
import { newRateLimits } from "../../../../manager/sinks/rate-limits.ts";
import type { Outcome } from "../../../../manager/sinks/sink.ts";
import { HOST, nextEvent, nextEventOf, web1, web2 } from "../../../unit/manager/sinks/events.ts";

const never = new AbortController().signal;
const TIMEOUT_MS = 30_000;
let directory: string;
let sinks: CommandSink[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-command-"));
  sinks = [];
});

afterEach(async () => {
  await Promise.all(sinks.map((sink) => sink.close()));
  await rm(directory, { recursive: true });
});

interface Changes {
  program?: ProgramConfig | undefined;
  timeout?: number;
  endGraceMs?: number;
}

/** A command that runs this script; `$1` is the test's directory. */
function sinkOf(script: string, { timeout = TIMEOUT_MS, endGraceMs, ...changes }: Changes = {}): CommandSink {
  const program: ProgramConfig = { run: ["/bin/sh", "-c", script, "sh", directory], timeout };
  const given = "program" in changes ? changes.program : program;
  const sink = new CommandSink({
    type: "command",
    name: "update-dns",
    program: () => given,
    format: "cloudevents",
    host: HOST,
    limit: newRateLimits().runs,
    ...(endGraceMs !== undefined && { endGraceMs }),
  });
  sinks.push(sink);
  return sink;
}

async function outcomes(sink: CommandSink, events: readonly Event[], signal = never): Promise<Outcome[]> {
  return (await sink.deliver(events, signal)).map(({ outcome }) => outcome);
}

async function outcome(sink: CommandSink, event = nextEvent()): Promise<Outcome | undefined> {
  return (await outcomes(sink, [event]))[0];
}

function written(name: string): Promise<string> {
  return readFile(join(directory, name), "utf8");
}

/** The process whose number a script wrote, when there is one. */
function isRunning(name: string): boolean {
  const pid = readFileSync(join(directory, name), "utf8").trim();
  try {
    // A process that has ended and that nobody has waited for is not running.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

describe("a command", () => {
  test("has the event on its standard input, as a line of JSON", async () => {
    const event = nextEvent();
    expect(await outcome(sinkOf('cat > "$1/event"'), event)).toEqual({ type: "delivered" });
    const text = await written("event");
    expect(text.endsWith("}\n")).toBe(true);
    expect(JSON.parse(text)).toMatchObject({ id: event.id, type: "org.vmmessage.VM.RUNNING", subject: web1.id });
  });

  test("has an environment with the event in it, and nothing of ours", async () => {
    const event = nextEvent();
    vi.stubEnv("SECRET_OF_THE_MANAGER", "hidden");
    try {
      await outcome(sinkOf('/usr/bin/env > "$1/environment"; pwd > "$1/where"'), event);
    } finally {
      vi.unstubAllEnvs();
    }
    const lines = (await written("environment")).trim().split("\n");
    // The shell adds its own directory.
    expect(lines.filter((line) => !/^(PWD|OLDPWD|SHLVL|_)=/.test(line)).toSorted()).toEqual([
      "LANG=C.UTF-8",
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      `VMMESSAGE_EVENT_ID=${event.id}`,
      "VMMESSAGE_EVENT_TYPE=VM.RUNNING",
      "VMMESSAGE_EVENT_VM=web1",
      `VMMESSAGE_EVENT_VM_ID=${web1.id}`,
    ]);
    expect(await written("where")).toBe("/\n");
  });

  test.each([
    ["$(touch x)`id`\n;'\"\u0000/..", "__touch x__id_______.."],
    ["-rf", "_rf"],
    ["../etc", "_._etc"],
    ["Büro 1", "Büro 1"],
    ["x".repeat(300), "x".repeat(256)],
  ])("has a name of a VM that can do no harm: %j is %j", async (resourceName, expected) => {
    const sink = sinkOf('printf %s "$VMMESSAGE_EVENT_VM" > "$1/name"');
    expect(await outcome(sink, nextEvent({ resourceName }))).toEqual({ type: "delivered" });
    expect(await written("name")).toBe(expected);
  });

  test("need not read the event, however large it is", async () => {
    const event = nextEvent({ data: { key: "k".repeat(60_000) } });
    expect(await outcome(sinkOf("exec 0<&-"), event)).toEqual({ type: "delivered" });
  });

  test("is not waited for when it leaves something running", async () => {
    const sink = sinkOf('sleep 60 & echo $! > "$1/pid"');
    const [attempted] = await sink.deliver([nextEvent()], never);
    expect(attempted?.outcome).toEqual({ type: "delivered" });
    expect(attempted?.durationMs).toBeLessThan(30_000);
    expect(isRunning("pid")).toBe(true);
    process.kill(Number(await written("pid")), "SIGKILL");
  });
});

describe("a text message", () => {
  test("has its number as the gateway's last argument", async () => {
    const sink = new CommandSink({
      type: "sms",
      name: "modem",
      number: "+491701234567",
      program: () => ({
        run: ["/bin/sh", "-c", 'echo "$@" > "$0/arguments"', directory, "--send"],
        timeout: TIMEOUT_MS,
      }),
      format: "cloudevents",
      host: HOST,
      limit: newRateLimits().texts,
    });
    sinks.push(sink);
    expect(sink).toMatchObject({ type: "sms", target: "sms:+491701234567?gateway=modem" });
    expect(await outcome(sink)).toEqual({ type: "delivered" });
    expect(await written("arguments")).toBe("--send +491701234567\n");
  });
});

describe("a command fails", () => {
  test.each([
    ["exit 3", "its program exited with 3"],
    ["exit 75", "its program cannot do it now"],
    ["echo no such zone >&2; exit 1", "its program exited with 1: no such zone"],
    ["printf '\\033[31mred\\r\\nline' >&2; exit 1", "its program exited with 1: \\u001b[31mred line"],
    ["kill -KILL $$", "its program was ended by SIGKILL"],
  ])("when it does '%s'", async (script, reason) => {
    expect(await outcome(sinkOf(script))).toEqual({ type: "failed", reason });
  });

  test("with the end of what it wrote, when that is long", async () => {
    const failure = await outcome(sinkOf("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1"));
    expect(failure).toMatchObject({ type: "failed", reason: expect.stringMatching(/^.{28}x{900,}the end$/) as string });
    expect((failure as { reason: string }).reason.length).toBeLessThan(1100);
  });

  test.each([
    [["/nonexistent/program"], "ENOENT"],
    [["/etc/passwd"], "EACCES"],
    [["/bin/true", "\u0000"], "ERR_INVALID_ARG_VALUE"],
  ] as [[string, ...string[]], string][])("when %j cannot be started", async (run, code) => {
    const sink = sinkOf("", { program: { run, timeout: TIMEOUT_MS } });
    expect(await outcome(sink)).toEqual({ type: "failed", reason: `its program cannot be started: ${code}` });
  });

  test("when the configuration has it no more", async () => {
    expect(await outcome(sinkOf("", { program: undefined }))).toEqual({
      type: "failed",
      reason: "events.commands in the manager's configuration has no 'update-dns' any more",
    });
  });

  test("when it takes too long, and ends with all that it started", async () => {
    const sink = sinkOf('sleep 60 & echo $! > "$1/child"; echo $$ > "$1/pid"; wait', { timeout: 2000 });
    expect(await outcome(sink)).toEqual({ type: "failed", reason: "its program did not end within 2 s" });
    await vi.waitUntil(() => !isRunning("pid") && !isRunning("child"));
  });

  test("when it takes too long, and does not listen", async () => {
    const script = 'trap "" TERM; echo $$ > "$1/pid"; while :; do sleep 0.05; done';
    const sink = sinkOf(script, { timeout: 2000, endGraceMs: 200 });
    expect(await outcome(sink)).toEqual({ type: "failed", reason: "its program did not end within 2 s" });
    await vi.waitUntil(() => !isRunning("pid"));
  });
});

describe("commands", () => {
  test("are started one at a time, and hold a VM's events after one that failed", async () => {
    const events = [nextEventOf(web1), nextEventOf(web1), nextEventOf(web2), nextEventOf(web2)];
    await writeFile(join(directory, "order"), "");
    const script =
      'mkdir "$1/lock" || exit 9; echo "$VMMESSAGE_EVENT_ID" >> "$1/order"; rmdir "$1/lock"; [ "$VMMESSAGE_EVENT_VM" = web2 ]';
    const types = (await outcomes(sinkOf(script), events)).map(({ type }) => type);
    expect(types).toEqual(["failed", "held", "delivered", "delivered"]);
    expect((await written("order")).trim().split("\n")).toEqual([events[0]?.id, events[2]?.id, events[3]?.id]);
  });

  test("end with the manager, and that is nobody's failure", async () => {
    const sink = sinkOf('echo $$ > "$1/pid.new"; mv "$1/pid.new" "$1/pid"; exec sleep 60');
    const delivering = outcomes(sink, [nextEvent(), nextEvent()]);
    await vi.waitFor(() => written("pid"));
    await sink.close();
    expect(isRunning("pid")).toBe(false);
    expect(await delivering).toEqual([{ type: "unavailable", reason: "the manager stops" }, { type: "held" }]);
    await sink.close();
  });
});
