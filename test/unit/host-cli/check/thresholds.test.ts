import { describe, expect, it } from "vitest";
import { diskThresholds, loadThresholds, percentThresholds } from "../../../../host-cli/check/thresholds.ts";

describe("thresholds are", () => {
  it.each([
    ["90", { warning: undefined, critical: 90 }],
    ["80,90", { warning: 80, critical: 90 }],
    ["0", { warning: undefined, critical: 0 }],
    ["100", { warning: undefined, critical: 100 }],
    ["99.5,99.95", { warning: 99.5, critical: 99.95 }],
    ["90,90", { warning: 90, critical: 90 }],
  ])("%s percent", (text, thresholds) => {
    expect(percentThresholds(text)).toEqual(thresholds);
  });

  it("of load as large as machines are", () => {
    expect(loadThresholds("400,800.5")).toEqual({ warning: 400, critical: 800.5 });
  });

  it("of disks, for all and for each by its path, whatever is in it", () => {
    const words = ["80,90", "/var=70,85", "/srv/a=b,c d=95"];
    const parsed = words.reduce<ReturnType<typeof diskThresholds>>((before, text) => diskThresholds(text, before), []);
    expect(parsed).toEqual([
      { path: undefined, warning: 80, critical: 90 },
      { path: "/var", warning: 70, critical: 85 },
      { path: "/srv/a=b,c d", warning: undefined, critical: 95 },
    ]);
  });
});

describe("refused are", () => {
  const shape = "it is not CRITICAL or WARNING,CRITICAL, as 90 or 80,90";

  it.each([
    ["", shape],
    ["x", shape],
    ["90%", shape],
    ["-1", shape],
    ["1e2", shape],
    ["0x5a", shape],
    [" 90", shape],
    ["80,", shape],
    [",90", shape],
    ["70,80,90", shape],
    ["80:90", shape],
    ["NaN", shape],
    ["90.123", shape],
    ["100.01", "a percentage is at most 100"],
    ["101", "a percentage is at most 100"],
    ["90,80", "the warning, 90, is over the critical 80"],
  ])("'%s'", (text, sentence) => {
    expect(() => percentThresholds(text)).toThrow(sentence);
  });

  it("a load that is none", () => {
    expect(() => loadThresholds("high")).toThrow("as 8 or 4,8");
  });

  it.each([
    ["=90", [], "it has no path before the ="],
    ["/var=", [], shape],
    ["90", ["80"], "every disk has thresholds already"],
    ["/var=90", ["/var=80"], "/var has some already"],
  ])("'%s' after %j", (text, before, sentence) => {
    const known = before.flatMap((one) => diskThresholds(one));
    expect(() => diskThresholds(text, known)).toThrow(sentence);
  });
});
