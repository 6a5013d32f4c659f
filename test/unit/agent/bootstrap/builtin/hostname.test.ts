import { describe, expect, test } from "vitest";
import { hostNameProblem } from "../../../../../agent/bootstrap/builtin/hostname.ts";

describe("a host name", () => {
  test.each([
    "a",
    "web1",
    "WEB1",
    "3com",
    "web-1.example.org",
    "1.2.3.example",
    "a".repeat(63),
    `${"a".repeat(60)}.org`,
  ])("may be %s", (name) => {
    expect(hostNameProblem(name)).toBeUndefined();
  });

  test.each([
    ["", "cannot be empty"],
    ["a".repeat(64), "labels of 1 to 63"],
    [`${"a".repeat(61)}.org`, "65 characters is over Linux's limit of 64"],
    ["192.168.1.1", "an address"],
    ["-web", "no hyphen at a label's end"],
    ["web-.org", "no hyphen at a label's end"],
    ["web_1", "letters, digits and hyphens"],
    ["wéb", "letters, digits and hyphens"],
    ["web..org", "labels of 1 to 63"],
    ["web1.", "labels of 1 to 63"],
    ["web1\n", "labels of 1 to 63"],
    ["web 1", "labels of 1 to 63"],
  ])("cannot be %j", (name, problem) => {
    expect(hostNameProblem(name)).toContain(problem);
  });
});
