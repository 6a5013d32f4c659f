import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  FollowedRun,
  isEnd,
  isSuccess,
  MAX_SEEN_RUNS,
  type ModuleReport,
  type RunView,
  type Seen,
} from "../../../../host-cli/bootstrap/followed-run.ts";
import {
  extentInWords,
  failureInWords,
  lossInWords,
  moduleLine,
  printedLines,
  progressInWords,
  supersededInWords,
} from "../../../../host-cli/bootstrap/run-words.ts";
import { type BootstrapReport, MAX_MODULES, REPORT_KEY } from "../../../../shared/bootstrap.ts";
import type { WireChange } from "../../../../shared/protocol/message.ts";

const EPOCH = "0000000000000001";
const LATER_EPOCH = "0000000000000002";
const FIRST_RUN = "00000000000000a1";
const OURS = "0".repeat(32);
const OTHERS = "1".repeat(32);
const SECOND_RUN = "00000000000000a2";

function report(modules: ModuleReport[], more: Partial<BootstrapReport> = {}): BootstrapReport {
  const head = { run: FIRST_RUN, target: "configure", instance: null, commit: "c1", messageId: OURS, state: "running" } as const; // prettier-ignore
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
function take(run: FollowedRun, change: WireChange, { epoch = EPOCH, nowMs = 0, resync = false } = {}): Seen[] {
  return run.take({ epoch, changes: [change], resync }, nowMs);
}

/** What a host sets the key to together with a commit, at noon unless said. */
function room(messageId: string, revision: number, setAt = "2026-11-20T12:00:00Z"): WireChange {
  return { key: REPORT_KEY, value: '{"state":"sent"}', setBy: "host", setAt, ageMs: 0, revision, messageId };
}

/** One whose commit was set at revision 10. */
function delivered(): FollowedRun {
  const run = new FollowedRun(OURS);
  expect(run.delivered({ epoch: EPOCH, revision: 10 })).toEqual([]);
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
  it.each<[string, Partial<BootstrapReport>]>([
    ["of another change with the same commit", { messageId: OTHERS }],
    ["of no change", { messageId: null }],
  ])("a run %s, wherever and whenever it stands", (_, whose) => {
    const run = new FollowedRun(OURS);
    const other = report([ok("a")], { ...whose, state: "ok" });
    expect(take(run, entry(other, 9))).toEqual([]);
    expect(run.delivered({ epoch: EPOCH, revision: 10 })).toEqual([]);
    expect(take(run, entry(other, 11))).toEqual([]);
    expect(take(run, entry(other, 1), { epoch: LATER_EPOCH })).toEqual([]);
    expect(views(take(run, entry(report([pending("a")]), 2)))).toHaveLength(1);
  });

  it("what an older guest reports, which does not say whose it is", () => {
    const { messageId, ...older } = report([ok("a")], { state: "ok" });
    expect(messageId).toBe(OURS);
    expect(take(delivered(), entry(older, 11))).toEqual([{ type: "unreadable" }]);
  });

  it("the room for its report that a host set, which is no report", () => {
    const run = delivered();
    expect(take(run, room(OURS, 10))).toEqual([]);
    expect(take(run, { ...room(OTHERS, 11), value: JSON.stringify(report([ok("a")], { state: "ok" })) })).toEqual([]); // prettier-ignore
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

it("a run is ours whatever its commit's text is, also before it is known that the keys were delivered", () => {
  const run = new FollowedRun(OURS);
  expect(views(take(run, entry(report([ok("a")], { commit: null, state: "ok" }), 3)))).toHaveLength(1);
});

describe("a later commit supersedes ours", () => {
  const LATER = "2026-11-20T12:00:01Z";
  const two = (more: Partial<BootstrapReport> = {}) => report([pending("a")], { run: SECOND_RUN, messageId: OTHERS, commit: "two", ...more }); // prettier-ignore
  const superseded = [{ type: "superseded", commit: "two", hadBegun: false }];

  it("when the guest begins a run of it after ours was set, by the guest's clock", () => {
    const run = delivered();
    take(run, room(OURS, 10));
    expect(take(run, entry(two(), 11))).toEqual([]);
    expect(take(run, entry(two({ startedAt: LATER }), 12))).toEqual(superseded);
  });

  it("when the guest runs by what another host set after ours, also when ours is known to be set last", () => {
    const run = new FollowedRun(OURS);
    take(run, room(OTHERS, 11));
    expect(take(run, entry(two(), 12))).toEqual([]);
    expect(run.delivered({ epoch: EPOCH, revision: 10 })).toEqual(superseded);
  });

  it("but not when what another host set was before ours, or cannot be compared", () => {
    const run = delivered();
    take(run, room(OTHERS, 9));
    expect(take(run, entry(two(), 12))).toEqual([]);
    take(run, room(OTHERS, 12), { epoch: LATER_EPOCH });
    expect(take(run, entry(two(), 13), { epoch: LATER_EPOCH })).toEqual([]);
  });

  it("when it begins after ours did, whose end was not seen", () => {
    const run = delivered();
    take(run, entry(report([running("a")]), 11));
    expect(take(run, entry(two(), 9))).toEqual([]);
    expect(take(run, entry(two({ startedAt: LATER }), 12))).toEqual([{ type: "superseded", commit: "two", hadBegun: true }]); // prettier-ignore
  });

  it("but not with a report that is gone since, or of a run that no commit began", () => {
    const run = new FollowedRun(OURS);
    take(run, room(OTHERS, 11));
    take(run, entry(two(), 12));
    take(run, { key: REPORT_KEY, deleted: true, revision: 13 });
    expect(run.delivered({ epoch: EPOCH, revision: 10 })).toEqual([]);
    take(run, room(OURS, 10));
    expect(take(run, entry(two({ messageId: null, startedAt: LATER }), 14))).toEqual([]);
  });

  it("in words", () => {
    const words = (commit: string | null, hadBegun: boolean) => supersededInWords({ type: "superseded", commit, hadBegun }); // prettier-ignore
    expect(words("two", false)).toBe("superseded by the commit 'two'");
    expect(words(null, true)).toBe("superseded by another commit; its run had begun, and its end was not seen");
  });
});

describe("a guest that does not stop", () => {
  const nameOf = (index: number) => index.toString(16).padStart(16, "0");

  it("beginning another run is shown so many of them, and then its end", () => {
    const run = delivered();
    const begin = (index: number) => take(run, entry(report([ok("a")], { run: nameOf(index) }), 11 + index));
    const seen = Array.from({ length: 100 }, (_, index) => begin(index)).flat();
    expect(seen.map(({ type }) => type)).toEqual([...Array<string>(MAX_SEEN_RUNS).fill("run"), "too-many-runs"]);
    expect(views(take(run, entry(report([ok("a")], { state: "ok" }), 200)))).toHaveLength(1);
  });

  it("calling its modules otherwise is shown as many as a run can have", () => {
    const run = delivered();
    const call = (index: number) => views(take(run, entry(report([ok(`m${index}`)]), 11 + index)));
    const ended = Array.from({ length: 1_000 }, (_, index) => call(index)).flat().flatMap((view) => view.ended); // prettier-ignore
    expect(ended).toHaveLength(MAX_MODULES);
  });
});

describe("how far it came", () => {
  const words = (run: FollowedRun, nowMs = 0) => progressInWords(run.progress(nowMs));

  it("is not at all while the message waits", () => {
    expect(words(new FollowedRun(OURS))).toBe("it never got the message, which waits in the manager till it answers");
  });

  it("is the message alone while no run begins", () => {
    const run = delivered();
    expect(words(run)).toBe(
      "it got the message, but no run by this commit began; is vmmessage-bootstrap (for the first boot) or vmmessage-reconfigure (for later ones) enabled in the guest?",
    );
    take(run, entry(report([], { commit: "c2", messageId: OTHERS }), 11));
    expect(words(run)).toContain("no run by this commit began (what it shows is of the commit 'c2')");
    run.take({ epoch: EPOCH, changes: [], resync: true }, 0);
    expect(words(run)).not.toContain("c2");
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

  it("what a failed module printed stands under it", () => {
    expect(printedLines({ ...failed("web"), lines: ["one", "two"] })).toEqual(["  one", "  two"]);
    expect(printedLines({ ...ok("web"), lines: ["one"] })).toEqual([]);
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

  it("a run that failed as a whole has a reason instead of a count", () => {
    expect(lossInWords(view([ok("a"), failed("b")]))).toBe("1 of 2 modules failed");
    expect(lossInWords(view([ok("a")], { state: "error", reason: "the disk is full" }))).toBe("the disk is full");
  });

  it("a run is a success when the guest says so and each module ended well", () => {
    const skipped: ModuleReport = { name: "s", state: "skipped" };
    expect(isSuccess(view([ok("a"), skipped], { state: "ok" }))).toBe(true);
    expect(isSuccess(view([], { state: "ok" }))).toBe(true);
    expect(isSuccess(view([ok("a")], { state: "error" }))).toBe(false);
    for (const module of [failed("b"), pending("b"), running("b")]) {
      expect(isSuccess(view([ok("a"), module], { state: "ok" }))).toBe(false);
    }
    expect(failureInWords(view([pending("b")], { state: "ok" }))).toBe(
      "the run has ended, but its module b is pending",
    );
  });
});
