import { expect, test } from "vitest";
import { healthNews, typesFor } from "../../../../../manager/monitor/recovery/health-news.ts";
import type { EventType } from "../../../../../shared/event-types.ts";

const application = { application: "web" };

test.each([
  ["VM.HUNG", {}, { type: "failed", subject: "VM.HUNG" }],
  ["VM.RECOVERED", {}, { type: "recovered", subject: "VM.HUNG" }],
  ["VM.APPLICATION-FAILED", application, { type: "failed", subject: "VM.APPLICATION-FAILED web" }],
  ["VM.APPLICATION-RECOVERED", application, { type: "recovered", subject: "VM.APPLICATION-FAILED web" }],
  // It is another policy's to recover from a crash, but a VM that does not run is not well.
  ["VM.CRASHED", {}, { type: "stopped" }],
  ["VM.STOPPED", {}, { type: "stopped" }],
  ["VM.RUNNING", {}, { type: "recovered", subject: "VM.CRASHED" }],
  ["VM.AGENT-MISSING", {}, undefined],
  ["VM.AGENT-RECOVERED", {}, undefined],
  ["VM.RESET", {}, undefined],
] as [EventType, Record<string, unknown>, unknown][])(
  "to a policy for guests that hang and applications, %s with %j is %j",
  (type, data, news) => {
    expect(healthNews({ type, data }, { on: ["VM.HUNG", "VM.APPLICATION-FAILED"] })).toEqual(news);
  },
);

test.each([
  ["VM.CRASHED", {}, { type: "failed", subject: "VM.CRASHED" }],
  ["VM.RUNNING", {}, { type: "recovered", subject: "VM.CRASHED" }],
  ["VM.AGENT-MISSING", {}, { type: "failed", subject: "VM.AGENT-MISSING" }],
  ["VM.AGENT-RECOVERED", {}, { type: "recovered", subject: "VM.AGENT-MISSING" }],
  ["VM.HUNG", {}, undefined],
] as [EventType, Record<string, unknown>, unknown][])(
  "to a policy for crashes and missing agents, %s with %j is %j",
  (type, data, news) => {
    expect(healthNews({ type, data }, { on: ["VM.CRASHED", "VM.AGENT-MISSING"] })).toEqual(news);
  },
);

test("a policy is told of what it recovers from, of what says that this is over, and whether the VM runs", () => {
  expect(typesFor({ on: ["VM.HUNG"] })).toEqual(["VM.HUNG", "VM.RECOVERED", "VM.RUNNING", "VM.STOPPED", "VM.CRASHED"]);
});
