import { describe, expect, test } from "vitest";
import { DEFAULT_MODULE_TIMEOUT_MS, ModuleError } from "../../../../agent/bootstrap/module.ts";
import { readPluginHeader } from "../../../../agent/bootstrap/scripts/plugin-header.ts";
import { targets } from "../../../../shared/bootstrap.ts";

const PATH = "/etc/template.d/scripts/example";

/** A file with these lines as its header, which begins at line 3. */
function fileWith(...members: string[]): string {
  return [
    "#!/usr/bin/env python",
    "",
    "### BEGIN PLUGIN INFO",
    ...members,
    "### END PLUGIN INFO",
    "import json",
    "",
  ].join("\n");
}

function problemOf(text: string): string {
  try {
    readPluginHeader(PATH, text);
  } catch (error) {
    expect(error).toBeInstanceOf(ModuleError);
    return (error as Error).message;
  }
  throw new Error("the header was understood");
}

describe("a plugin header", () => {
  test("says a module's name, description, places and time-out", () => {
    const text = fileWith(
      "# name: authentication",
      "# configure: 90",
      "# cleanup: 20",
      "# timeout: 2m",
      "# description: Script to configure authentication.",
    );
    expect(readPluginHeader(PATH, text)).toEqual({
      name: "authentication",
      description: "Script to configure authentication.",
      orders: new Map([
        ["configure", 90],
        ["cleanup", 20],
      ]),
      timeoutMs: 120_000,
    });
  });

  test("may have every target", () => {
    const members = targets.map((target, index) => `# ${target}: ${index * 100}`);
    const { orders } = readPluginHeader(PATH, fileWith("# name: all", ...members));
    expect([...orders]).toEqual(targets.map((target, index) => [target, index * 100]));
  });

  test("needs no more than a name and a target", () => {
    const { description, timeoutMs } = readPluginHeader(PATH, fileWith("# name: x", "# configure: 0"));
    expect({ description, timeoutMs }).toEqual({ description: "", timeoutMs: DEFAULT_MODULE_TIMEOUT_MS });
  });

  test("goes on with a member in lines that are indented further", () => {
    const text = fileWith(
      "# name: x",
      "# description: a description that can",
      "#   cross multiple lines: also",
      "#\twith colons.",
      "# configure: 50",
    );
    const { description, orders } = readPluginHeader(PATH, text);
    expect(description).toBe("a description that can cross multiple lines: also with colons.");
    expect(orders.get("configure")).toBe(50);
  });

  test.each([
    { what: "members of others", lines: ["# name: x", "# author: somebody", "# version: 1, 2", "# configure: 50"] },
    { what: "empty lines and comments", lines: ["# name: x", "", "#", "# configure: 50"] },
    { what: "lines that end as on Windows", lines: ["# name: x\r", "# configure: 50\r"] },
    { what: "capitals in members", lines: ["# Name: x", "# Configure: 50"] },
    { what: "little space", lines: ["#name:x", "#configure:50"] },
    { what: "much space", lines: ["#   name :  x  ", "#   configure :  50  "] },
  ])("is understood with $what", ({ lines }) => {
    const { name, orders } = readPluginHeader(PATH, fileWith(...lines));
    expect({ name, order: orders.get("configure") }).toEqual({ name: "x", order: 50 });
  });

  test.each([
    { timeout: "60", ms: 60_000 },
    { timeout: "1.5h", ms: 5_400_000 },
    { timeout: "1d", ms: 86_400_000 },
  ])("has a time-out of seconds or a duration: $timeout", ({ timeout, ms }) => {
    const { timeoutMs } = readPluginHeader(PATH, fileWith("# name: x", "# configure: 50", `# timeout: ${timeout}`));
    expect(timeoutMs).toBe(ms);
  });

  test.each([
    { lines: ["# name: a b", "# configure: 50"], problem: `${PATH}:4: 'a b': a module's name is 1 to 64 of A-Z a-z` },
    { lines: ["# name:", "# configure: 50"], problem: `${PATH}:4: '': a module's name is` },
    { lines: [`# name: ${"n".repeat(65)}`, "# configure: 50"], problem: `${PATH}:4: '${"n".repeat(60)}': a module's` },
    { lines: ["# configure: 50"], problem: `${PATH}:3: the header has no name` },
    { lines: ["# name: x"], problem: `${PATH}:3: the header has none of the targets configure, unconfigure` },
    { lines: ["# name: x", "# configure: 1000"], problem: `${PATH}:5: configure: expected a number from 0 to 999` },
    { lines: ["# name: x", "# configure: -1"], problem: `${PATH}:5: configure: expected a number from 0 to 999` },
    { lines: ["# name: x", "# configure:"], problem: `${PATH}:5: configure: expected a number from 0 to 999` },
    { lines: ["# name: x", "# configure: 50", "#  cleanup: 1"], problem: "found '50 cleanup: 1'" },
    { lines: ["# name: x", "# configure: 1", "# configure: 2"], problem: `${PATH}:6: 'configure' is there twice` },
    { lines: ["# name: x", "# configure 50"], problem: `${PATH}:5: expected '# name: value', found '# configure 50'` },
    { lines: ["# name: x", "import os"], problem: `${PATH}:5: expected '# name: value', found 'import os'` },
    { lines: ["# name: x", "# \u001b[2J"], problem: String.raw`found '# \u001b[2J'` },
    ...["0", "soon", "-1", "25h", "1e9"].map((timeout) => ({
      lines: ["# name: x", "# configure: 50", `# timeout: ${timeout}`],
      problem: `${PATH}:6: timeout: expected seconds or a duration`,
    })),
  ])("that cannot be understood is told with its file and line: $problem", ({ lines, problem }) => {
    expect(problemOf(fileWith(...lines))).toContain(problem);
  });

  test("that is not there, or does not end, is told", () => {
    expect(problemOf("#!/bin/sh\nexit 0\n")).toBe(`${PATH}: no '### BEGIN PLUGIN INFO' in its first 65536 bytes`);
    expect(problemOf("#!/bin/sh\n### BEGIN PLUGIN INFO\n# name: x\n")).toBe(
      `${PATH}:2: no '### END PLUGIN INFO' ends the header`,
    );
  });
});
