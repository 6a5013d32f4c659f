import { describe, expect, it, test } from "vitest";
import { pluginHead, pluginLine } from "../../../../host-cli/check/plugin-line.ts";
import { type CheckState, type Measurement, type Verdict, worstOf } from "../../../../host-cli/check/verdict.ts";

function verdict(state: CheckState, text: string, measured?: Partial<Measurement>): Verdict {
  if (measured === undefined) return { name: "x", state, text };
  return { name: "x", state, text, measured: { label: "x", value: 1, unit: "", ...measured } };
}

/** As the guidelines say it, and as Nagios takes it apart: one bar, labels in quotes, numbers with a point. */
const PERFDATA = /^('[^'=|]+'=-?\d+(\.\d+)?(%|ms)?(;\d*(\.\d+)?){0,4}( |$))+$/;

describe("the line", () => {
  it("has the state, the text and the numbers with their thresholds and bounds", () => {
    const percent = { label: "/var", value: 42, unit: "%", warning: 80, critical: 90, min: 0, max: 100 } as const;
    expect(pluginLine("web1", [verdict("OK", "disk /var 42 % used", percent)])).toBe(
      "VMMESSAGE OK - web1: disk /var 42 % used|'/var'=42%;80;90;0;100",
    );
  });

  it("leaves out what has no number at the end, and marks its place before", () => {
    const line = pluginLine("web1", [
      verdict("OK", "a", { label: "rtt", value: 0.5, unit: "ms", min: 0 }),
      verdict("OK", "b", { label: "cpu", value: 3, unit: "%", critical: 90 }),
      verdict("OK", "c", { label: "plain" }),
    ]);
    expect(line).toBe("VMMESSAGE OK - web1: a; b; c|'rtt'=0.5ms;;;0 'cpu'=3%;;90 'plain'=1");
  });

  it("has no bar without numbers", () => {
    expect(pluginLine("web1", [verdict("UNKNOWN", "a")])).toBe("VMMESSAGE UNKNOWN - web1: a");
  });

  it("tells the worst first", () => {
    const all = (["OK", "UNKNOWN", "WARNING", "CRITICAL"] as const).map((state) => verdict(state, state.toLowerCase()));
    expect(pluginLine("web1", all)).toBe("VMMESSAGE CRITICAL - web1: critical; warning; unknown; ok");
  });
});

describe("of all that was judged", () => {
  it.each<[CheckState[], CheckState]>([
    [["OK", "OK"], "OK"],
    [["OK", "UNKNOWN"], "UNKNOWN"],
    [["UNKNOWN", "WARNING"], "WARNING"],
    [["WARNING", "CRITICAL", "UNKNOWN"], "CRITICAL"],
    [[], "UNKNOWN"],
  ])("%j is %s", (states, worst) => {
    expect(worstOf(states.map((state) => verdict(state, "")))).toBe(worst);
  });
});

describe("what a guest says", () => {
  const hostile = "a|'b'=1;2\n\u001b[2J\u202e%$(reboot)\ud800";

  it("cannot begin the numbers, a line, or a terminal's orders", () => {
    const line = pluginLine(hostile, [verdict("CRITICAL", hostile, { label: hostile })]);
    expect(line.split("|")).toHaveLength(2);
    expect(line).not.toMatch(/[\n\u001b\u202e]/);
    expect(line.split("|")[1]).toMatch(PERFDATA);
  });

  it("does not make the line long: the text ends, and 32 disks stay below 4 KiB", () => {
    const disks = Array.from({ length: 32 }, (_, index) => {
      const label = `/${index}${"\u0000".repeat(250)}`;
      const percent = { label, value: 99.99, unit: "%", warning: 80.25, critical: 90.25, min: 0, max: 100 } as const;
      return verdict("CRITICAL", `disk ${label} 99.99 % used`, percent);
    });
    const line = pluginLine("web1", disks);
    expect(line.length).toBeLessThan(4_096);
    const [text = "", perfdata = ""] = line.split("|");
    expect(text).toMatch(/^VMMESSAGE CRITICAL - web1: disk \/0.*\.\.\.$/);
    expect(perfdata).toMatch(PERFDATA);
    expect(perfdata.split(" ")).toHaveLength(32);
  });
});

describe("labels", () => {
  const labelsOf = (...labels: string[]): string[] => {
    const line = pluginLine(
      "web1",
      labels.map((label) => verdict("OK", "x", { label })),
    );
    expect(line).toMatch(/\|'/);
    return [...line.matchAll(/'([^']+)'=/g)].map(([, label = ""]) => label);
  };

  it("that become alike are numbered", () => {
    expect(labelsOf("/a'b", "/a=b", "/a|b", "/a_b_2")).toEqual(["/a_b", "/a_b_2", "/a_b_3", "/a_b_2_2"]);
  });

  it("that are long lose their middle, and stay apart", () => {
    const [start, end] = ["/start".padEnd(90, "x"), "end".padStart(90, "y")];
    const labels = labelsOf(`${start}/one/${end}`, `${start}/two/${end}`, `${start}/one`);
    expect(labels).toEqual([
      expect.stringMatching(/^\/startx+\.\.\.y+end$/) as string,
      expect.stringMatching(/^\/startx+\.\.\.y+end_2$/) as string,
      expect.stringMatching(/^\/startx+\.\.\.x+\/one$/) as string,
    ]);
    for (const label of labels) expect(label.length).toBeLessThanOrEqual(64);
  });
});

test("what failed is told in the same way, without numbers", () => {
  expect(pluginHead("UNKNOWN", "there is no VM 'a|b'\n")).toBe("VMMESSAGE UNKNOWN - there is no VM 'a/b'\\u000a");
});
