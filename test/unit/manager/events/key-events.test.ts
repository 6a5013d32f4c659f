import { describe, expect, test } from "vitest";
import type { WireEntry } from "../../../../shared/protocol/message.ts";
import { keyEvents, type MirrorStep } from "../../../../manager/events/key-events.ts";

const web1 = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };
const NOW = Date.UTC(2026, 0, 15, 12);

const entry = (more: Partial<WireEntry> = {}): WireEntry => {
  const setAt = "2026-01-15T11:59:00.000Z";
  return { key: "k", value: "v", setBy: "guest", setAt, ageMs: 60_000, revision: 1, ...more };
};
const without = (member: keyof WireEntry, more: Partial<WireEntry> = {}): WireEntry => {
  return { ...entry(more), [member]: undefined };
};
const step = ({ was = [], ...change }: Partial<Omit<MirrorStep, "before">> & { was?: WireEntry[] }) => {
  const before = new Map(was.map((one) => [one.key, one]));
  return keyEvents({ vm: web1, time: NOW, isReset: false, isLate: false, set: [], deleted: [], ...change, before });
};

describe("a key", () => {
  test("that was not there and is now is set", () => {
    const { setAt } = entry();
    expect(step({ set: [entry({ messageId: "m", ttlMs: 500, readOnly: true })] })).toEqual([
      {
        time: NOW,
        source: "management-server",
        category: "ResourceStateEvent",
        type: "KEY.SET",
        resourceType: "VirtualMachine",
        resourceUUID: web1.id,
        resourceName: "web1",
        oldState: undefined,
        newState: undefined,
        isResync: false,
        data: { key: "k", setBy: "guest", setAt, readOnly: true, ttlMs: 500, messageId: "m", isNew: true },
        value: { value: "v" },
      },
    ]);
  });

  test.each<[string, WireEntry, WireEntry]>([
    ["another value", entry(), entry({ value: "w" })],
    ["bytes for text", entry(), without("value", { base64: "dg==" })],
    ["another time", entry(), entry({ setAt: "2026-01-15T12:00:00.000Z" })],
    ["another setter", entry(), entry({ setBy: "host" })],
    ["another message", entry({ messageId: "a" }), entry({ messageId: "b" })],
    ["an end", entry(), entry({ ttlMs: 5 })],
    ["a secret's name", entry(), without("value", { secret: true })],
  ])("that has %s is set again", (_, before, after) => {
    const [event, ...others] = step({ was: [before], set: [after] });
    expect(event).toMatchObject({ type: "KEY.SET", data: { key: "k", isNew: false } });
    expect(others).toEqual([]);
  });

  test.each<[string, WireEntry, WireEntry]>([
    ["told again", entry(), entry()],
    ["older", entry(), entry({ ageMs: 70_000 })],
    ["nearer to its end", entry({ ttlMs: 9 }), entry({ ttlMs: 3 })],
    ["of another revision", entry(), entry({ revision: 9 })],
    ["read", entry(), entry({ read: true })],
    ["still no secret", entry(), entry({ secret: false, gone: false })],
  ])("that is %s is no news", (_, before, after) => {
    expect(step({ was: [before], set: [after] })).toEqual([]);
    expect(step({ was: [before], set: [after], isReset: true })).toEqual([]);
  });

  test("that was there is deleted, and one that was not is not", () => {
    const [event, ...others] = step({ was: [entry()], deleted: ["k", "never-seen"] });
    expect(event).toMatchObject({ type: "KEY.DELETED", isResync: false, data: { key: "k" } });
    expect(others).toEqual([]);
  });

  test("carries its bytes as base64", () => {
    expect(step({ set: [without("value", { base64: "/w==" })] })[0]?.value).toEqual({ base64: "/w==" });
  });
});

describe("a secret", () => {
  const secret = without("value", { secret: true });

  test("is set without a value, whatever its guest sends", () => {
    for (const sent of [secret, { ...secret, value: "hunter2" }, { ...secret, base64: "aHVudGVyMg==" }]) {
      const [event] = step({ set: [sent] });
      expect(event).toMatchObject({ type: "KEY.SET", data: { key: "k", secret: true } });
      expect(event).not.toHaveProperty("value");
    }
  });

  test("that did not survive its guest's boot is gone, once", () => {
    const gone = { ...secret, gone: true };
    const [event, ...others] = step({ was: [secret], set: [gone] });
    expect(event).toMatchObject({ type: "KEY.GONE", data: { key: "k", secret: true, setBy: "guest" } });
    expect(others).toEqual([]);
    expect(step({ was: [gone], set: [gone] })).toEqual([]);
    expect(step({ was: [gone], set: [secret] })).toMatchObject([{ type: "KEY.SET" }]);
  });
});

describe("a reset", () => {
  test("deletes what it does not tell, and is marked as found by comparing", () => {
    const was = [entry({ key: "kept" }), entry({ key: "changed" }), entry({ key: "lost" })];
    const set = [entry({ key: "kept" }), entry({ key: "changed", value: "w" }), entry({ key: "new" })];
    const events = step({ was, set, isReset: true });
    expect(events.map(({ type, data, isResync }) => [type, data["key"], data["isNew"], isResync])).toEqual([
      ["KEY.DELETED", "lost", undefined, true],
      ["KEY.SET", "changed", false, true],
      ["KEY.SET", "new", true, true],
    ]);
  });
});

test("what happened while nobody listened is marked as found by comparing", () => {
  const events = step({ was: [entry({ key: "a" })], set: [entry({ key: "b" })], deleted: ["a"], isLate: true });
  expect(events.map(({ type, isResync }) => [type, isResync])).toEqual([
    ["KEY.DELETED", true],
    ["KEY.SET", true],
  ]);
});
