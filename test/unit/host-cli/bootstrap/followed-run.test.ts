import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  FollowedRun,
  type ModuleReport,
  type RunView,
  type Seen,
} from "../../../../host-cli/bootstrap/followed-run.ts";
import {
  extentInWords,
  failureInWords,
  isEnd,
  moduleLine,
  progressInWords,
} from "../../../../host-cli/bootstrap/run-words.ts";
import { type BootstrapReport, MAX_MODULES, REPORT_KEY } from "../../../../shared/bootstrap.ts";
import type { WireChange } from "../../../../shared/protocol/message.ts";

const EPOCH = "0000000000000001";
const LATER_EPOCH = "0000000000000002";
const FIRST_RUN = "00000000000000a1";
const SECOND_RUN = "00000000000000a2";

function report(modules: ModuleReport[], more: Partial<BootstrapReport> = {}): BootstrapReport {
  const head = { run: FIRST_RUN, target: "configure", instance: null, commit: "c1", state: "running" } as const;
  return { ...head, startedAt: "2026-11-20T12:00:00Z", modules, ...more };
}

const ok = (name: string): ModuleReport => ({ name, state: "ok", durationMs: 200 });
const running = (name: string): ModuleReport => ({ name, state: "running" });
const pending = (name: string): ModuleReport => ({ name, state: "pending" });

function entry(value: object | string, revision: number, key = REPORT_KEY): WireChange {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return { key, value: text, setBy: "guest", setAt: "2026-11-20T12:00:00Z", ageMs: 0, revision };
}

/** What comes of one change. */
function take(run: FollowedRun, change: WireChange, { epoch = EPOCH, nowMs = 0 } = {}): Seen[] {
  return run.take({ epoch, changes: [change] }, nowMs);
}

/** One whose commit was set at revision 10. */
function delivered(): FollowedRun {
  const run = new FollowedRun("c1");
  expect(run.delivered({ epoch: EPOCH, revision: 10 }, 0)).toEqual([]);
  return run;
}

const views = (seen: Seen[]): RunView[] => seen.flatMap((one) => (one.type === "run" ? [one.view] : []));
const names = (modules: readonly ModuleReport[] = []) => modules.map(({ name, state }) => `${name} ${state}`);

describe("a run", () => {
  it("is seen at each step, with the modules that ended since", () => {
    const run = delivered();
    const steps = [
      report([pending("a"), pending("b")]),
      report([ok("a"), running("b")]),
      report([ok("a"), { name: "b", state: "error", reason: "no" }], { state: "error", durationMs: 4_100 }),
    ];
    const seen = steps.flatMap((step, index) => views(take(run, entry(step, 11 + index))));
    expect(seen.map(({ isNew, ended }) => [isNew, names(ended)])).toEqual([
      [true, []],
      [false, ["a ok"]],
      [false, ["b error"]],
    ]);
    expect(seen.map((view) => isEnd(view.report))).toEqual([false, false, true]);
  });

  it("may be seen whole at once, as after the connection was lost", () => {
    const [view] = views(take(delivered(), entry(report([ok("a"), ok("b")], { state: "ok" }), 20)));
    expect(view).toMatchObject({ isNew: true });
    expect(names(view?.ended)).toEqual(["a ok", "b ok"]);
  });

  it("is replaced by a later one of the same commit, as after a reboot in the middle", () => {
    const run = delivered();
    take(run, entry(report([ok("a"), running("b")]), 11));
    const again = report([pending("a"), pending("b")], { run: SECOND_RUN });
    const [view] = views(take(run, entry(again, 2), { epoch: LATER_EPOCH }));
    expect(view).toMatchObject({ isNew: true, ended: [] });
    expect(names(view?.modules)).toEqual(["a pending", "b pending"]);
    const [next] = views(take(run, entry({ ...again, modules: [ok("a"), pending("b")] }, 3), { epoch: LATER_EPOCH }));
    expect(names(next?.ended)).toEqual(["a ok"]);
  });

  it("of a report that had no room keeps its modules: those that are left out ended well", () => {
    const run = delivered();
    take(run, entry(report([ok("a"), running("b"), pending("c")]), 11));
    const failed: ModuleReport = { name: "c", state: "error", reason: "no" };
    const [view] = views(take(run, entry(report([failed], { state: "error", shortened: true }), 12)));
    expect(names(view?.modules)).toEqual(["a ok", "b ok", "c error"]);
    expect(names(view?.ended)).toEqual(["b ok", "c error"]);
  });

  it("has each module once, however often it is said", () => {
    const [view] = views(take(delivered(), entry(report([ok("a"), { name: "a", state: "error" }, ok("b")]), 11)));
    expect(names(view?.modules)).toEqual(["a ok", "b ok"]);
  });
});

describe("passed over is", () => {
  it("a run of another commit, or of none", () => {
    const run = delivered();
    expect(take(run, entry(report([ok("a")], { commit: "c2", state: "ok" }), 11))).toEqual([]);
    expect(take(run, entry(report([], { commit: null, state: "waiting" }), 12))).toEqual([]);
  });

  it("a run by the same commit that was there before, also when it comes again in another epoch", () => {
    const run = delivered();
    const before = report([ok("a")], { state: "ok" });
    expect(take(run, entry(before, 9))).toEqual([]);
    expect(take(run, entry(before, 1), { epoch: LATER_EPOCH })).toEqual([]);
    const ours = report([pending("a")], { run: SECOND_RUN });
    expect(views(take(run, entry(ours, 2), { epoch: LATER_EPOCH }))).toHaveLength(1);
  });

  it("all that is seen before the keys are delivered, but for what turns out to be later", () => {
    const run = new FollowedRun("c1");
    expect(take(run, entry(report([ok("a")], { state: "ok" }), 9))).toEqual([]);
    expect(run.delivered({ epoch: EPOCH, revision: 10 }, 0)).toEqual([]);

    const quick = new FollowedRun("c1");
    expect(take(quick, entry(report([ok("a")], { state: "ok" }), 11))).toEqual([]);
    expect(views(quick.delivered({ epoch: EPOCH, revision: 10 }, 0))).toMatchObject([{ report: { state: "ok" } }]);
  });

  it("another key with the report's key as its prefix, and a report that is deleted", () => {
    const run = delivered();
    expect(take(run, entry("x", 11, `${REPORT_KEY}.x`))).toEqual([]);
    expect(take(run, { key: REPORT_KEY, deleted: true, revision: 12 })).toEqual([]);
  });

  it.each<[string, WireChange]>([
    ["no JSON", entry("{", 11)],
    ["another object", entry({ state: "ok" }, 11)],
    ["nested without end", entry("[".repeat(15_000), 11)],
    ["with too many modules", entry(report(Array<ModuleReport>(MAX_MODULES + 1).fill(ok("a"))), 11)],
    ["with a module that cannot be one", entry(report([ok("\u001b[2J")]), 11)],
    ["no text", { key: REPORT_KEY, base64: "/w==", setBy: "guest", setAt: "2026-11-20T12:00:00Z", ageMs: 0, revision: 11 }], // prettier-ignore
    ["a secret", { key: REPORT_KEY, secret: true, setBy: "guest", setAt: "2026-11-20T12:00:00Z", ageMs: 0, revision: 11 }], // prettier-ignore
  ])("what is %s, which is said once", (_, change) => {
    const run = delivered();
    expect(take(run, change)).toEqual([{ type: "unreadable" }]);
    expect(take(run, change)).toEqual([]);
    expect(views(take(run, entry(report([ok("a")]), 13)))).toHaveLength(1);
  });
});

test("whatever the guest sets the key to, nothing throws and nothing is said twice", () => {
  const anything = fc.oneof(fc.string({ unit: "binary" }), fc.json(), fc.jsonValue().map((more) => JSON.stringify({ ...report([]), modules: more }))); // prettier-ignore
  const property = fc.property(fc.array(anything, { maxLength: 5 }), (values) => {
    const run = delivered();
    const seen = values.flatMap((value, index) => take(run, entry(value, 11 + index)));
    expect(seen.filter(({ type }) => type === "unreadable").length).toBeLessThan(2);
  });
  fc.assert(property, { numRuns: 300 });
});

describe("how far it came", () => {
  const words = (run: FollowedRun, nowMs = 0) => progressInWords(run.progress(nowMs));

  it("is not at all while the message waits", () => {
    expect(words(new FollowedRun("c1"))).toBe("it never got the message, which waits in the manager till it answers");
  });

  it("is the message alone while no run begins", () => {
    const run = delivered();
    expect(words(run)).toBe(
      "it got the message, but no run by this commit began; is vmmessage-bootstrap enabled in the guest?",
    );
    take(run, entry(report([], { commit: "c2" }), 11));
    expect(words(run)).toContain("no run by this commit began (what it shows is of the commit 'c2')");
  });

  it("is the module that runs, since it was first seen to", () => {
    const run = delivered();
    take(run, entry(report([running("a"), pending("b")]), 11), { nowMs: 1_000 });
    take(run, entry(report([ok("a"), running("b")]), 12), { nowMs: 2_000 });
    take(run, entry(report([ok("a"), running("b")]), 13), { nowMs: 3_000 });
    expect(words(run, 14_000)).toBe("its module b has been running for 12.0 s");
    take(run, entry(report([running("b")], { run: SECOND_RUN }), 14), { nowMs: 14_000 });
    expect(words(run, 15_000)).toBe("its module b has been running for 1.0 s");
    take(run, entry(report([ok("b"), pending("c")], { run: SECOND_RUN }), 15));
    expect(words(run)).toBe("its run has begun and not ended");
  });
});

describe("in words", () => {
  const view = (modules: ModuleReport[], more: Partial<BootstrapReport> = {}): RunView => {
    return { report: report(modules, more), isNew: true, modules, ended: [] };
  };
  const failed = (name: string, reason?: string): ModuleReport => {
    return { name, state: "error", durationMs: 1_234, ...(reason !== undefined && { reason }) };
  };

  it("a module is a line", () => {
    expect(moduleLine(ok("hostname"))).toBe("hostname  ok  0.2 s");
    expect(moduleLine(failed("web", "exit code 1"))).toBe("web  error  1.2 s  exit code 1");
    expect(moduleLine({ name: "a", state: "skipped", reason: "no value" })).toBe("a  skipped  no value");
    expect(moduleLine(ok("a"), 8)).toBe("a         ok       0.2 s");
  });

  it("a run is so many modules in so much time", () => {
    expect(extentInWords(view([ok("a")], { durationMs: 4_090 }))).toBe("1 module in 4.1 s");
    expect(extentInWords(view([ok("a"), ok("b")]))).toBe("2 modules");
  });

  it("a failure is the first module's, and how many more there are, or the run's own", () => {
    expect(failureInWords(view([ok("a"), failed("b", "no room")]))).toBe("b: no room");
    expect(failureInWords(view([failed("a"), failed("b", "x"), failed("c")]))).toBe("a failed; and 2 more");
    expect(failureInWords(view([], { reason: "no commit came within 300 s" }))).toBe("no commit came within 300 s");
    expect(failureInWords(view([]))).toBe("the guest does not say why");
  });
});
