import { describe, expect, test } from "vitest";
import { hostsWith } from "../../../../../agent/bootstrap/builtin/hosts-file.ts";

const LOCALHOST = "127.0.0.1\tlocalhost\n";

describe("the line of 127.0.1.1 in /etc/hosts", () => {
  test.each([
    ["gets the new name", "127.0.1.1\tdebian", "web1", "127.0.1.1\tweb1"],
    ["has the full name first and the short one after it", "127.0.1.1 debian", "web1.lan", "127.0.1.1\tweb1.lan web1"],
    ["loses the old name's domain to a new one", "127.0.1.1 debian.lan debian", "web1.org", "127.0.1.1\tweb1.org web1"],
    ["keeps its domain under a short name", "127.0.1.1 debian.lan debian", "web1", "127.0.1.1\tweb1.lan web1"],
    ["keeps what somebody added", "127.0.1.1 debian db.lan", "web1", "127.0.1.1\tweb1 db.lan"],
    ["keeps its comment", "127.0.1.1 debian # ours", "web1", "127.0.1.1\tweb1\t# ours"],
    ["gets a name when it had none", "127.0.1.1", "web1", "127.0.1.1"],
  ])("%s", (_, before, name, after) => {
    const expected = before === "127.0.1.1" ? `${LOCALHOST}127.0.1.1\n127.0.1.1\tweb1\n` : `${LOCALHOST}${after}\n`;
    expect(hostsWith(`${LOCALHOST}${before}\n`, name, "debian")).toBe(expected);
  });

  test.each([
    ["is in step already", "127.0.1.1   web1.lan\tweb1  # as it was", "web1.lan"],
    ["is missing, and another line has the name", "10.0.0.5\tfront WEB1", "web1"],
  ])("stays byte for byte when it %s", (_, line, name) => {
    const text = `${LOCALHOST}# 127.0.1.1 commented-out\n\n${line}\n`;
    expect(hostsWith(text, name, "debian")).toBe(text);
  });

  test.each([
    ["to a file without it", LOCALHOST, `${LOCALHOST}127.0.1.1\tweb1.lan web1\n`],
    [
      "to a file without an end of its last line",
      "127.0.0.1 localhost",
      "127.0.0.1 localhost\n127.0.1.1\tweb1.lan web1\n",
    ],
    ["to no file", "", "127.0.1.1\tweb1.lan web1\n"],
    ["to one where it is a comment", "# 127.0.1.1 web1.lan\n", "# 127.0.1.1 web1.lan\n127.0.1.1\tweb1.lan web1\n"],
  ])("is added %s", (_, before, after) => {
    expect(hostsWith(before, "web1.lan", undefined)).toBe(after);
  });

  test("is as it should be after it was made so once", () => {
    const once = hostsWith("127.0.1.1 debian.lan debian other\n", "web1.org", "debian");
    expect(hostsWith(once, "web1.org", "debian")).toBe(once);
    expect(hostsWith(once, "web1.org", "web1.org")).toBe(once);
  });
});
