import { describe, expect, test } from "vitest";
import { CommandSink, type CommandSinkOptions } from "../../../../manager/sinks/command-sink.ts";
import { newRateLimits } from "../../../../manager/sinks/rate-limits.ts";
import type { Outcome } from "../../../../manager/sinks/sink.ts";
import { HOST, nextEvent, NOON } from "./events.ts";

const { signal } = new AbortController();

/** Of a program that cannot be started, which counts as every other. */
function scene() {
  const clock = { now: NOON };
  const limits = newRateLimits();
  const given = {
    name: "modem",
    program: () => ({ run: ["/nonexistent/program"] as [string], timeout: 1_000 }),
    format: "cloudevents",
    host: HOST,
    now: () => clock.now,
  } satisfies Partial<CommandSinkOptions>;
  const texts = (number: string) => new CommandSink({ ...given, type: "sms", number, limit: limits.texts });
  const command = () => new CommandSink({ ...given, type: "command", limit: limits.runs });
  return { clock, texts, command };
}

async function run(sink: CommandSink): Promise<Outcome | undefined> {
  return (await sink.deliver([nextEvent()], signal))[0]?.outcome;
}

describe("a number", () => {
  test("gets at most 60 text messages in an hour from all sinks together; what is more waits and is not lost", async () => {
    const { clock, texts } = scene();
    const [first, second, third] = [texts("+491701234567"), texts("491701234567"), texts("+491707654321")];
    for (let count = 1; count <= 60; count += 1) expect(await run(first)).toMatchObject({ type: "failed" });
    const reason =
      "60 text messages were sent to this number within an hour; the next is after 2026-11-20T13:00:00.000Z";
    expect(await run(first)).toEqual({ type: "unavailable", reason });
    expect(await run(second)).toEqual({ type: "unavailable", reason });
    expect(await run(third)).toMatchObject({ type: "failed" });
    clock.now += 3_600_000;
    expect(await run(second)).toMatchObject({ type: "failed" });
  });
});

describe("a command", () => {
  test("is started at most ten times in a second, whichever sinks do it", async () => {
    const { clock, command } = scene();
    const [first, second] = [command(), command()];
    for (let count = 1; count <= 10; count += 1) expect(await run(first)).toMatchObject({ type: "failed" });
    const reason = "its program was started 10 times within a second; the next is after 2026-11-20T12:00:01.000Z";
    expect(await run(second)).toEqual({ type: "unavailable", reason });
    clock.now += 1_000;
    expect(await run(second)).toMatchObject({ type: "failed" });
  });
});
