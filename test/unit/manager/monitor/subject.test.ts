import { describe, expect, test } from "vitest";
import { monitorInputs, monitorStates, monitorTable } from "../../../../shared/monitor-table.ts";
import { type Evidence, Subject } from "../../../../manager/monitor/subject.ts";

const patience = { threshold: 3, bootRounds: 5 };

function subject(state: (typeof monitorStates)[number] = "discovery"): Subject {
  return new Subject({ state, since: 0 });
}

/** What is told of each round. */
function play(watched: Subject, ...rounds: Evidence[]): string[] {
  return rounds.map((evidence, index) => watched.round(evidence, patience, index + 1).join() || watched.state);
}

describe("a subject", () => {
  test("that answers is healthy, and one that never did is not missed", () => {
    expect(play(subject(), "missed", "missed", "missed", "answered")).toEqual([
      "discovery",
      "discovery",
      "discovery",
      "healthy",
    ]);
  });

  test("is reported with the miss that reaches the threshold, once", () => {
    expect(play(subject("healthy"), "missed", "missed", "missed", "missed", "missed")).toEqual([
      "error",
      "error",
      "failure",
      "reported",
      "reported",
    ]);
  });

  test("that answers in between begins anew", () => {
    expect(play(subject("healthy"), "missed", "missed", "answered", "missed", "missed", "missed")).toEqual([
      "error",
      "error",
      "healthy",
      "error",
      "error",
      "failure",
    ]);
  });

  test("that recovered is armed again without a reboot", () => {
    expect(play(subject("reported"), "answered", "missed", "missed", "missed", "answered")).toEqual([
      "recovery",
      "error",
      "error",
      "failure",
      "recovery",
    ]);
  });

  test("that is silent changes nothing, until it is overdue", () => {
    expect(play(subject(), "silent", "silent", "silent", "silent", "silent", "silent")).toEqual([
      "discovery",
      "discovery",
      "discovery",
      "discovery",
      "missing",
      "reported",
    ]);
  });

  test("stays reported over a start of the machine, and what was counted is of another life", () => {
    const watched = subject("reported");
    watched.begin(10);
    expect(play(watched, "missed", "missed", "missed", "missed", "answered")).toEqual([
      "reported",
      "reported",
      "reported",
      "reported",
      "recovery",
    ]);
  });

  test("that was reported and is not back after the boot time of a new life is told of again", () => {
    const watched = subject("healthy");
    play(watched, "missed", "missed", "missed");
    watched.begin(10);
    expect(play(watched, "silent", "silent", "silent", "silent", "silent")).toContain("missing");
  });

  test("is discovered anew after a start", () => {
    const watched = subject("healthy");
    play(watched, "missed", "missed");
    watched.begin(10);
    expect(watched.stored).toEqual({ state: "discovery", since: 10 });
    expect(play(watched, "missed", "missed", "missed")).toEqual(["discovery", "discovery", "discovery"]);
  });

  test("with a threshold of one is reported at once", () => {
    expect(subject("healthy").round("missed", { threshold: 1, bootRounds: Infinity }, 1)).toEqual(["failure"]);
  });

  test("keeps the time since which it is as it is", () => {
    const watched = subject();
    watched.round("answered", patience, 100);
    watched.round("answered", patience, 200);
    expect(watched.stored).toEqual({ state: "healthy", since: 100 });
  });
});

test("the table has a step for each state and input", () => {
  for (const state of monitorStates) expect(Object.keys(monitorTable[state])).toEqual(Object.keys(monitorInputs));
});
