import { describe, expect, it, vi } from "vitest";
import { alertingLog } from "../../../../manager/events/alerting-log.ts";
import type { NewEvent } from "../../../../manager/events/event.ts";
import type { Log } from "../../../../shared/log.ts";

const startedAt = Date.parse("2026-11-20T12:00:00Z");

function scene(publish?: (event: NewEvent, log: Log) => void) {
  const logged: [level: string, event: string, fields: unknown][] = [];
  const events: NewEvent[] = [];
  const clock = { now: startedAt };
  const write = (level: string) => (event: string, fields?: unknown) => void logged.push([level, event, fields]);
  const base: Log = { info: write("info"), warn: write("warn"), error: write("error") };
  const log: Log = alertingLog(
    base,
    (event) => {
      events.push(event);
      publish?.(event, log);
    },
    () => clock.now,
  );
  return { log, logged, events, clock };
}

describe("a warning", () => {
  it("is logged as before and is an event of the manager, with its fields", () => {
    const { log, logged, events } = scene();
    const fields = { inventory: "libvirt qemu:///system", reason: "it is away" };
    log.warn("inventory-disconnected", fields);
    expect(logged).toEqual([["warn", "inventory-disconnected", fields]]);
    expect(events).toMatchObject([
      {
        type: "ALERT.INVENTORY-DISCONNECTED",
        category: "AlertEvent",
        resourceType: "ManagementServer",
        resourceUUID: "",
        time: startedAt,
        data: fields,
      },
    ]);
    expect(events[0]?.about).toBeUndefined();
  });

  it("of a VM is still the manager's event", () => {
    const { log, events } = scene();
    log.warn("frame-refused", { vm: "web1", id: "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c11" });
    expect(events).toMatchObject([{ resourceType: "ManagementServer", resourceUUID: "", data: { vm: "web1" } }]);
  });

  it("of a sink is about that sink, which is not to be told of it", () => {
    const { log, events } = scene();
    log.error("sink-disconnected", { sink: "config:broker", reason: "no answer" });
    expect(events).toMatchObject([{ type: "ALERT.SINK-DISCONNECTED", about: "config:broker" }]);
  });

  it("that is only information is no event", () => {
    const { log, logged, events } = scene();
    log.info("started", { vms: 3 });
    expect(logged).toEqual([["info", "started", { vms: 3 }]]);
    expect(events).toEqual([]);
  });
});

describe("the fields of an event", () => {
  it("are safe for JSON: an error is its message, and long ones are cut", () => {
    const { log, events } = scene();
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    const text = "x".repeat(5_000);
    log.error("failed", {
      error: new Error("no space left"),
      text,
      count: 2n,
      nothing: null,
      circle,
      list: ["a", { b: 1 }],
      work: () => 1,
      half: "a\ud800",
    });
    expect(events[0]?.data).toEqual({
      error: "no space left",
      text: text.slice(0, 1_000),
      nothing: null,
      circle: "(not JSON)",
      list: '["a",{"b":1}]',
      half: "a\ufffd",
    });
  });

  it("are bounded in number, and so is the type, which has the characters of types alone", () => {
    const { log, events } = scene();
    log.warn(
      `console.login failed ${"y".repeat(200)}`,
      Object.fromEntries(Array.from({ length: 99 }, (_, i) => [i, i])),
    );
    expect(events[0]?.type).toMatch(/^ALERT\.CONSOLE\.LOGIN-FAILED-Y{43}$/);
    expect(Object.keys(events[0]?.data ?? {})).toHaveLength(32);
  });
});

describe("a trouble that recurs", () => {
  it("is told once a minute, with how often it was not", () => {
    const { log, logged, events, clock } = scene();
    for (let second = 0; second <= 60; second += 1) {
      clock.now = startedAt + second * 1_000;
      log.warn("frame-refused", { id: "a" });
    }
    expect(logged).toHaveLength(61);
    expect(events.map(({ time, data }) => [(time - startedAt) / 1_000, data["suppressed"]])).toEqual([
      [0, undefined],
      [60, 59],
    ]);
  });

  it("is told for each sink, inventory and VM of its own", () => {
    const { log, events } = scene();
    for (const field of ["sink", "inventory", "id", "vm"]) {
      for (const name of ["a", "b", "a"]) log.warn("trouble", { [field]: `${field} ${name}` });
    }
    expect(events).toHaveLength(8);
  });

  it("takes no more memory than a thousand of them", () => {
    const { log, events } = scene();
    for (let vm = 0; vm <= 1_000; vm += 1) log.warn("trouble", { id: `vm${vm}` });
    log.warn("trouble", { id: "vm1000" });
    expect(events).toHaveLength(1_001);
    log.warn("trouble", { id: "vm0" });
    expect(events).toHaveLength(1_002);
  });
});

describe("publishing that fails", () => {
  it("at once is logged, and makes no other event", () => {
    const { log, logged, events } = scene(() => {
      throw new Error("the store is closed");
    });
    log.warn("trouble");
    expect(events).toHaveLength(1);
    expect(logged.map(([level, event]) => [level, event])).toEqual([
      ["warn", "trouble"],
      ["error", "alert-not-published"],
    ]);
  });

  it("later and logs so makes no other event, while what others log at that time does", async () => {
    const gate = Promise.withResolvers<undefined>();
    const { log, logged, events } = scene((event, itself) => {
      void gate.promise.then(() => {
        itself.error("store-failed", { of: event.type });
      });
    });
    log.warn("trouble");
    gate.resolve(undefined);
    await vi.waitUntil(() => logged.length === 2);
    expect(events.map(({ type }) => type)).toEqual(["ALERT.TROUBLE"]);
    log.error("store-failed");
    expect(events.map(({ type }) => type)).toEqual(["ALERT.TROUBLE", "ALERT.STORE-FAILED"]);
  });
});
