/** Real programs, run as checks are. */
import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import type { CheckOutcome } from "../../../agent/applications/applications.ts";
import { startCheck } from "../../../agent/applications/check-run.ts";
import { MAX_APPLICATION_REASON } from "../../../shared/protocol/limits.ts";

const never = new AbortController().signal;

async function outcomeOf(script: string, timeoutMs = 20_000): Promise<CheckOutcome> {
  return startCheck({ command: ["sh", "-c", script], everyMs: timeoutMs, timeoutMs }, never).outcome;
}

async function reasonOf(script: string, timeoutMs?: number): Promise<string> {
  const outcome = await outcomeOf(script, timeoutMs);
  return outcome.isOk ? "it is well" : outcome.reason;
}

function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

describe("a check's command", () => {
  test("is well when it exits with 0, whatever it prints", async () => {
    expect(await outcomeOf("echo CRITICAL; echo no >&2")).toEqual({ isOk: true });
  });

  test.each([
    { script: "exit 3", reason: "exit code 3" },
    { script: "echo first; echo '  the last line  '; echo; exit 1", reason: "exit code 1: the last line" },
    { script: "printf 'no line feed'; exit 1", reason: "exit code 1: no line feed" },
    { script: "echo refused >&2; exit 7", reason: "exit code 7: refused" },
    { script: "kill -SEGV $$", reason: "it was ended by SIGSEGV" },
    { script: String.raw`printf '\033[2J\007\n'; exit 1`, reason: String.raw`exit code 1: \u001b[2J\u0007` },
    {
      script: String.raw`printf 'a\200\377\000b\n'; exit 1`,
      reason: String.raw`exit code 1: a` + "\ufffd\ufffd" + String.raw`\u0000b`,
    },
    { script: "sleep 1000", timeoutMs: 100, reason: "it did not end within 100 ms" },
    { script: "echo waiting; sleep 1000", timeoutMs: 500, reason: "it did not end within 500 ms: waiting" },
  ])("that fails says why: $reason", async ({ script, reason, timeoutMs }) => {
    expect(await reasonOf(script, timeoutMs)).toBe(reason);
  });

  test("is given no shell, no input, nothing of our environment, and the root directory", async () => {
    process.env["SECRET_OF_OURS"] = "x";
    expect(await reasonOf('cat; echo "$PWD $LANG $SECRET_OF_OURS"; exit 1')).toBe("exit code 1: / C.UTF-8");
    const run = startCheck({ command: ["echo", "$HOME; exit 1"], everyMs: 10_000, timeoutMs: 10_000 }, never);
    expect(await run.outcome).toEqual({ isOk: true });
  });

  test.each([
    { file: "/does/not/exist", why: "ENOENT" },
    { file: "no-such-program", why: "ENOENT" },
    { file: "/etc/passwd", why: "EACCES" },
    { file: "/etc", why: "EACCES" },
  ])("that cannot be started is failing: $file", async ({ file, why }) => {
    const { outcome, ended } = startCheck({ command: [file], everyMs: 10_000, timeoutMs: 10_000 }, never);
    expect(await outcome).toEqual({ isOk: false, reason: `'${file}' cannot be started: ${why}` });
    await ended;
  });

  test("that prints without end and without a line has its say in a few words", async () => {
    const reason = await reasonOf("yes | tr -d '\\n' | head -c 20000000; exit 1");
    expect(reason.length).toBe(MAX_APPLICATION_REASON);
    expect(reason).toMatch(/^exit code 1: y+\.\.\.$/);
  });

  test("that ended in time is not overdue because the agent could not run meanwhile", async () => {
    const outcome = outcomeOf("exit 0", 200);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
    expect(await outcome).toEqual({ isOk: true });
  });

  test("that is well is heard to its end, though it prints more than is read at once", async () => {
    expect(await outcomeOf("head -c 3000000 /dev/zero")).toEqual({ isOk: true });
  });
});

describe("what a check's command started", () => {
  /** A script that tells of its background process before it goes on. */
  const background = 'sleep 1000 & echo "$!"; ';

  test("ends with it at the time-out, also when it does not listen to SIGTERM", async () => {
    const reason = await reasonOf(`trap '' TERM; (trap '' TERM; sleep 1000) & echo "$!"; sleep 1000; sleep 1000`, 500);
    const [, pid] = /^it did not end within 500 ms: (\d+)$/.exec(reason) ?? [];
    await vi.waitUntil(() => !isAlive(Number(pid)));
  });

  test("ends when it has exited and left it behind", async () => {
    const reason = await reasonOf(`${background} exit 1`);
    const [, pid] = /^exit code 1: (\d+)$/.exec(reason) ?? [];
    expect(Number(pid)).toBeGreaterThan(1);
    await vi.waitUntil(() => !isAlive(Number(pid)));
  });

  test("and left its group holds up no outcome", async () => {
    const startedAt = performance.now();
    expect(await reasonOf("setsid sleep 5 & sleep 0.2; echo left; exit 1")).toBe("exit code 1: left");
    expect(performance.now() - startedAt).toBeLessThan(4_000);
  });

  test("is killed at once when the check is stopped", async () => {
    const stop = new AbortController();
    const command = ["sh", "-c", `trap '' TERM; sleep 1000; sleep 1000`];
    const { outcome, ended } = startCheck({ command, everyMs: 600_000, timeoutMs: 600_000 }, stop.signal);
    stop.abort();
    await Promise.all([outcome, ended]);
  });
});
