/** What bootstrap.json may say of time. */
import { describe, expect, test } from "vitest";
import { parseBootstrapConfig } from "../../../../agent/bootstrap/config.ts";

describe.each(["wait", "debounce"])("%s", (member) => {
  test("is a duration that a timer can wait for", () => {
    expect(parseBootstrapConfig({ [member]: "24d" }, "it")).toMatchObject({ [member]: 24 * 86_400_000 });
    expect(() => parseBootstrapConfig({ [member]: "25d" }, "it")).toThrow(`it: ${member}: is longer than 24 days`);
    expect(() => parseBootstrapConfig({ [member]: "soon" }, "it")).toThrow(`${member}: must be a duration`);
  });
});
