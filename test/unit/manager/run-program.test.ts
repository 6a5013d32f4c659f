import { afterEach, expect, test, vi } from "vitest";
import { runProgram } from "../../../manager/run-program.ts";
import { nextEvent } from "./sinks/events.ts";

const never = new AbortController().signal;

afterEach(() => {
  vi.restoreAllMocks();
});

test("a program that became another user, and may not be ended, is given up when its time is over", async () => {
  const refused = Object.assign(new Error("kill EPERM"), { code: "EPERM" });
  const kill = vi.spyOn(process, "kill").mockImplementation(() => {
    throw refused;
  });
  const program = { run: [process.execPath, "-e", "setTimeout(() => 0, 3_000)"] as [string, ...string[]], timeout: 10 };
  const run = { program, event: nextEvent(), json: Buffer.from("{}"), endGraceMs: 10 };
  expect(await runProgram(run, never)).toEqual({ type: "timed-out", stderr: "" });
  expect(kill.mock.calls.map(([, signal]) => signal)).toEqual(["SIGTERM", "SIGKILL"]);
});
