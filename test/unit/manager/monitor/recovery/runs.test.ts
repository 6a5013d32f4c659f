import { expect, test } from "vitest";
import { RecoveryRecords } from "../../../../../manager/monitor/recovery/records.ts";
import { RecoveryRuns } from "../../../../../manager/monitor/recovery/runs.ts";
import { EventsInMemory } from "../../events/event-makers.ts";

const nothing = (): void => undefined;

test("no run may begin once the manager stops", async () => {
  const runs = new RecoveryRuns({
    store: new EventsInMemory(),
    records: new RecoveryRecords(),
    recovered: nothing,
    log: { info: nothing, warn: nothing, error: nothing },
    failed: nothing,
    now: Date.now,
  });
  expect(runs.whyNotYet("11111111-1111-4111-8111-111111111111")).toBeUndefined();
  await runs.close();
  await runs.close();
  expect(runs.whyNotYet("11111111-1111-4111-8111-111111111111")).toBe("the manager stops");
});
