import { describe, expect, test } from "vitest";
import { keyLineProblem } from "../../../../../agent/bootstrap/builtin/key-line.ts";
import { ECDSA, ED25519 } from "./keys.ts";

const [type = "", key = ""] = ED25519.split(" ");

describe("a line of authorized_keys", () => {
  test.each([
    ["a key with its comment", ED25519],
    ["a key of another type", ECDSA],
    ["a key without a comment", `${type} ${key}`],
    ["a key with a comment of several words", `${type} ${key} Alice's  laptop, "the new one"`],
    ["options before it", `restrict,pty ${ED25519}`],
    [
      "options in quotes with spaces, commas and quotes in them",
      String.raw`from="10.0.0.*,!*.org",command="echo \"a b\"" ${ED25519}`,
    ],
  ])("may be %s", (_, line) => {
    expect(keyLineProblem(line)).toBeUndefined();
  });

  test.each([
    ["two lines", `${ED25519}\n${ED25519}`, "control character"],
    ["a line with its end", `${ED25519}\n`, "control character"],
    ["a line of another system", `${ED25519}\r`, "control character"],
    ["nothing", "", "none of the types"],
    ["a comment", "# nobody", "none of the types"],
    ["a key that OpenSSH takes no more", `ssh-dss ${key}`, "none of the types"],
    ["a certificate", `ssh-ed25519-cert-v01@openssh.com ${key}`, "none of the types"],
    ["a key under another type", `ssh-rsa ${key}`, "no key of that type"],
    ["the end of a key", `${type} ${key.slice(20)}`, "no key of that type"],
    ["a key that is no base64", `${type} ${key.slice(0, 10)}*`, "none of the types"],
    ["a private key", "-----BEGIN OPENSSH PRIVATE KEY-----", "none of the types"],
    ["options without an end of their quotes", `command="echo ${ED25519}`, "none of the types"],
    ["a line without an end", `${ED25519} ${"a".repeat(8192)}`, "over 8192 characters"],
  ])("cannot be %s", (_, line, problem) => {
    expect(keyLineProblem(line)).toContain(problem);
  });

  test("that is made to be slow to read is read at once", () => {
    const lines = [
      'a"b"'.repeat(2000),
      "ssh-ed25519 ".repeat(600),
      `"${String.raw`\"`.repeat(4000)}`,
      " ".repeat(8000),
    ];
    const startMs = performance.now();
    for (const line of lines) expect(keyLineProblem(line)).toBeDefined();
    expect(performance.now() - startMs).toBeLessThan(1_000);
  });
});
