import { describe, expect, test } from "vitest";
import { roles } from "../../../../shared/api/schemas.ts";
import {
  assertMayDo,
  assertMayUseKey,
  assertMayUseKeys,
  mayDo,
  maySeeVm,
  mayUseKey,
} from "../../../../manager/access/permissions.ts";
import type { Principal } from "../../../../manager/access/principal.ts";

const alice: Principal = {
  name: "alice",
  via: "unix:/run/s",
  role: "write",
  vms: ["web*", "db1"],
  keys: ["app.", "tmp/"],
};
const web1 = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };

describe("a role", () => {
  test("may do what those below it may", () => {
    const allowed = roles.map((role) => roles.map((needed) => mayDo({ role }, needed)));
    expect(allowed).toEqual([
      [true, false, false],
      [true, true, false],
      [true, true, true],
    ]);
  });

  test("that does not suffice is named, and the one that is needed", () => {
    assertMayDo(alice, "write");
    expect(() => {
      assertMayDo(alice, "admin");
    }).toThrow(
      expect.objectContaining({ code: "not-permitted", message: "alice has the role 'write', and this needs 'admin'" }),
    );
  });
});

describe("a VM", () => {
  test.each([
    ["web1", true],
    ["web", true],
    ["db1", true],
    ["db12", false],
    ["my-web1", false],
    ["WEB1", false],
    ["", false],
  ])("called %j is seen through web* and db1: %s", (name, isSeen) => {
    expect(maySeeVm(alice, { ...web1, name })).toBe(isSeen);
  });

  test.each([
    ["web1", true],
    ["web2", false],
    [web1.id, true],
    [web1.id.toUpperCase(), true],
    ["11111111-*", false],
    ["*", true],
    ["w?b?", true],
    ["w?b", false],
    ["*1", true],
    ["*b*", true],
    ["**w**1**", true],
    ["*1*1", false],
    ["web[1]", false],
    ["{web1,web2}", false],
    ["!web2", false],
    ["", false],
  ])("web1 is meant by %j: %s", (pattern, isMeant) => {
    expect(maySeeVm({ vms: [pattern] }, web1)).toBe(isMeant);
  });

  test("is seen by nobody who has no patterns", () => {
    expect(maySeeVm({ vms: [] }, web1)).toBe(false);
  });
});

describe("a key", () => {
  test("may be used when it begins with one of the prefixes", () => {
    expect(["app.a", "app.", "app", "tmp/x", "other", ""].map((key) => mayUseKey(alice, key))).toEqual([
      true,
      true,
      false,
      true,
      false,
      false,
    ]);
    expect(mayUseKey({ keys: [""] }, "anything")).toBe(true);
    expect(mayUseKey({ keys: [""] }, "")).toBe(true);
    expect(mayUseKey({ keys: [] }, "anything")).toBe(false);
  });

  test.each([
    [["app.", "tmp/"], "other", "alice may use keys that begin with 'app.', 'tmp/'; 'other' is none of those"],
    [["app."], "", "alice may use keys that begin with 'app.'; this reaches every key"],
    [[], "k", "alice may use no keys; 'k' is none of those"],
    [Array.from({ length: 10 }, () => "a"), "k", "'a', 'a' and 2 more; 'k' is none of those"],
  ])("that may not be used is told with those that may", (keys, key, message) => {
    expect(() => {
      assertMayUseKey({ ...alice, keys }, key);
    }).toThrow(expect.objectContaining({ code: "not-permitted", message: expect.stringContaining(message) as string }));
  });

  test("among others is refused with all of them", () => {
    assertMayUseKeys(alice, ["app.a", "tmp/b"]);
    expect(() => {
      assertMayUseKeys(alice, ["app.a", "b"]);
    }).toThrow("'b' is none of those");
  });
});
