import { describe, expect, test } from "vitest";
import type { EventsConfig } from "../../../../manager/config.ts";
import { Mailer } from "../../../../manager/sinks/mailer.ts";
import { openSink } from "../../../../manager/sinks/open-sink.ts";
import { newRateLimits } from "../../../../manager/sinks/rate-limits.ts";
import { TargetGuard } from "../../../../manager/sinks/target-guard.ts";
import { HOST, nextEvent } from "./events.ts";

const config: EventsConfig = {
  keep: 1_000,
  keepCount: 1_000,
  sinks: [],
  commands: {},
  // It cannot be started, which counts as every other.
  gateways: { modem: { run: ["/nonexistent/program"], timeout: 1_000 } },
  targets: { allow: [], http: false },
};
const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
const text = { type: "sms", gateway: "modem", number: "+491701234567", format: "cloudevents" } as const;
const users = new TargetGuard({ allow: [] });

describe("sinks to one number", () => {
  test("share their hour, unless root's configuration made one: its alerts wait for no user's", async () => {
    const context = {
      host: HOST,
      config: () => config,
      mailer: new Mailer(() => undefined),
      limits: newRateLimits(),
      journal: {
        journal: () => Promise.resolve([]),
        saveJournalEntry: () => Promise.resolve(),
        removeJournalEntry: () => Promise.resolve(),
      },
      stands: () => true,
      log,
    };
    const outcomeOfOne = async (guard: TargetGuard | undefined) => {
      const [attempted] = await openSink(text, guard, context).deliver([nextEvent()], new AbortController().signal);
      return attempted?.outcome.type;
    };
    for (let count = 1; count <= 60; count += 1) expect(await outcomeOfOne(users)).toBe("failed");
    expect(await outcomeOfOne(users)).toBe("unavailable");
    expect(await outcomeOfOne(undefined)).toBe("failed");
  });
});
