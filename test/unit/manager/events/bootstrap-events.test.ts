import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  bootstrapMessages,
  MAX_LINE_LENGTH,
  MAX_MODULES,
  MAX_REPORTED_LINES,
  MAX_RESULTS_LENGTH,
  targets,
} from "../../../../shared/bootstrap.ts";
import { bootstrapEvent } from "../../../../manager/events/bootstrap-events.ts";
import { eventJson, MAX_EVENT_BYTES } from "../../../../manager/sinks/event-json.ts";
import { nextEvent } from "../sinks/events.ts";
import { NOW, openTables, web1 } from "../store/tables.ts";

const RUN = { run: "0123456789abcdef", target: "configure", instance: "i-1", commit: "c-1", messageId: "m-1" };
const STARTED = { ...RUN, modules: ["hostname", "web-site"] };
const MODULE = {
  ...RUN,
  module: "web-site",
  outcome: "error",
  durationMs: 1_200,
  reason: "check 'nginx -t' failed: exit code 1",
  lines: ["nginx: [emerg] no such file"],
  results: { port: "8081" },
};
const ENDED = { ...RUN, outcome: "ok", durationMs: 4_100, modules: [{ name: "hostname", outcome: "ok" }] };

const reported = (name: string, data: Record<string, unknown>) => bootstrapEvent(web1, { name, data }, NOW);

describe("a guest's report of its configuration", () => {
  test.each([
    ["bootstrap.started", STARTED, "BOOTSTRAP.STARTED", "ActionEvent", undefined],
    ["bootstrap.module", MODULE, "BOOTSTRAP.MODULE", "ActionEvent", undefined],
    ["bootstrap.ended", ENDED, "BOOTSTRAP.SUCCEEDED", "ActionEvent", "ok"],
    ["bootstrap.ended", { ...ENDED, outcome: "error", reason: "no" }, "BOOTSTRAP.FAILED", "AlertEvent", "error"],
    [
      "bootstrap.ended",
      { ...ENDED, modules: [{ name: "a", outcome: "error" }] },
      "BOOTSTRAP.FAILED",
      "AlertEvent",
      "error",
    ],
    [
      "bootstrap.ended",
      { ...ENDED, modules: [{ name: "a", outcome: "skipped" }] },
      "BOOTSTRAP.SUCCEEDED",
      "ActionEvent",
      "ok",
    ],
  ])("%s is an event of its VM when it was received, and the guest's word", (name, data, type, category, newState) => {
    expect(reported(name, data)).toEqual({
      time: NOW,
      source: "guest",
      category,
      type,
      resourceType: "VirtualMachine",
      resourceUUID: web1.id,
      resourceName: "web1",
      oldState: undefined,
      newState,
      isResync: false,
      data,
    });
  });

  test("tells what happened before it tells of which run, where only the first members are shown", () => {
    const names = Object.keys(reported("bootstrap.module", MODULE)?.data ?? {});
    expect(names.slice(0, 4)).toEqual(["module", "outcome", "durationMs", "reason"]);
    expect(names.slice(-4)).toEqual(["commit", "run", "messageId", "instance"]);
  });

  test("tells nothing but the members of its schema", () => {
    const data = {
      ...ENDED,
      modules: [{ ...ENDED.modules[0], more: 1 }],
      type: "VM.STOPPED",
      category: "x",
      by: "root",
    };
    expect(reported("bootstrap.ended", data)?.data).toEqual(ENDED);
  });

  test.each([
    ["of another name", "bootstrap.cancelled", STARTED],
    ["of no such name", "constructor", STARTED],
    ["without a run", "bootstrap.started", { modules: [] }],
    ["with an outcome that there is not", "bootstrap.ended", { ...ENDED, outcome: "splendid" }],
    ["with too many lines", "bootstrap.module", { ...MODULE, lines: Array(MAX_REPORTED_LINES + 1).fill("x") }],
    ["with a name that no module has", "bootstrap.started", { ...STARTED, modules: ["../x"] }],
    ["with results that are too large", "bootstrap.module", { ...MODULE, results: { a: "x".repeat(2_048) } }],
    ["with too many results", "bootstrap.module", { ...MODULE, results: manyResults(1_000) }],
  ])("%s makes no event", (_, name, data) => {
    expect(reported(name, data)).toBeUndefined();
  });
});

/** The worst that a schema lets through: code units that JSON escapes with six bytes each. */
const worst = (length: number) => "\u0001".repeat(length);
const WORST_RUN = { ...RUN, instance: worst(256), commit: worst(256) };
const LONGEST_NAME = "m".repeat(64);

test.each([
  ["bootstrap.started", { ...WORST_RUN, modules: Array(MAX_MODULES).fill(LONGEST_NAME) }],
  [
    "bootstrap.module",
    {
      ...WORST_RUN,
      module: LONGEST_NAME,
      outcome: "skipped",
      durationMs: Number.MAX_SAFE_INTEGER,
      reason: worst(MAX_LINE_LENGTH),
      lines: Array(MAX_REPORTED_LINES).fill(worst(MAX_LINE_LENGTH)),
      // In JSON three bytes for a code unit.
      results: { r: "€".repeat(MAX_RESULTS_LENGTH - JSON.stringify({ r: "" }).length) },
    },
  ],
  [
    "bootstrap.ended",
    {
      ...WORST_RUN,
      outcome: "error",
      durationMs: Number.MAX_SAFE_INTEGER,
      reason: worst(256),
      modules: Array(MAX_MODULES).fill({ name: LONGEST_NAME, outcome: "skipped" }),
    },
  ],
])("the largest %s that there can be is an event that every consumer takes whole", (name, data) => {
  const event = reported(name, data);
  expect(event?.data).toEqual(data);
  for (const format of ["cloudevents", "cloudstack"] as const) {
    const json = eventJson(nextEvent(event), format, "h".repeat(255));
    expect(json?.length).toBeLessThan(MAX_EVENT_BYTES);
    expect(String(json)).not.toContain('"truncated":true');
  }
});

describe("a report that is kept", () => {
  const keep = (tables: ReturnType<typeof openTables>["tables"], messageId: string, name: string, data: object) => {
    const params = { messageId, name, data: data as Record<string, unknown> };
    return tables.keepReceived({ vm: web1, receivedAt: NOW, messageId, kind: "report", params });
  };

  test("is told of once, with what was kept", () => {
    const { tables } = openTables();
    expect(keep(tables, "g1", "bootstrap.started", STARTED)).toEqual({ isNew: true, acknowledged: undefined });
    expect(keep(tables, "g1", "bootstrap.started", STARTED)).toEqual({ isNew: false, acknowledged: undefined });
    expect(tables.eventsAfter(0, 10)).toMatchObject([
      { type: "BOOTSTRAP.STARTED", resourceUUID: web1.id, data: STARTED },
    ]);
  });

  test("and makes no event is kept as before", () => {
    const { tables } = openTables();
    keep(tables, "g1", "bootstrap.started", { modules: 1 });
    keep(tables, "g2", "another", {});
    expect(tables.receivedFrom(web1.id, 10)).toHaveLength(2);
    expect(tables.eventsAfter(0, 10)).toEqual([]);
  });

  test("never throws, whatever the guest reports, and tells of what the schemas allow alone", () => {
    const { tables } = openTables();
    let count = 0;
    let read = 0;
    const property = fc.property(reports, ([name, data]) => {
      count += 1;
      expect(keep(tables, `g${count}`, name, data)).toEqual({ isNew: true, acknowledged: undefined });
      for (const { type, data: told, position } of tables.eventsAfter(read, 1_000)) {
        read = position;
        expect(type).toMatch(/^BOOTSTRAP\.(STARTED|MODULE|SUCCEEDED|FAILED)$/);
        expect(Object.keys(told).every((member) => KNOWN_MEMBERS.has(member))).toBe(true);
      }
    });
    fc.assert(property, { numRuns: 500 });
    // Not all of them were refused.
    expect(read).toBeGreaterThan(10);
  });
});

const KNOWN_MEMBERS = new Set(Object.values(bootstrapMessages).flatMap(({ shape }) => Object.keys(shape)));

function manyResults(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`result-${index}`, ""]));
}

/** As it is, or anything in the place of some of its members, as JSON carries it. */
const hostile = (data: object) => {
  const members = Object.entries(data).map(([name, value]) => {
    const other = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.string({ unit: "binary" }));
    return [name, fc.oneof({ arbitrary: fc.constant(value as unknown), weight: 12 }, other)] as const;
  });
  const more = fc.dictionary(fc.oneof(fc.constant("__proto__"), fc.constant("type"), fc.string()), fc.jsonValue());
  return fc.tuple(fc.record(Object.fromEntries(members)), more).map(([known, rest]) => {
    return JSON.parse(JSON.stringify({ ...rest, ...known })) as Record<string, unknown>;
  });
};

const reports: fc.Arbitrary<[string, Record<string, unknown>]> = fc.oneof(
  fc.tuple(fc.constant("bootstrap.started"), hostile({ ...STARTED, target: targets[7] })),
  fc.tuple(fc.constant("bootstrap.module"), hostile(MODULE)),
  fc.tuple(fc.constant("bootstrap.ended"), hostile(ENDED)),
  fc.tuple(fc.string(), hostile(STARTED)),
);
