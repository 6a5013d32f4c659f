import { describe, expect, test } from "vitest";
import {
  afterHealth,
  type Breaker,
  closedBreaker,
  decide,
  withDecision,
  withFailure,
  withoutFuture,
  withRecovery,
  withStop,
} from "../../../../../manager/monitor/recovery/breaker.ts";

const HOUR = 3_600_000;
const limits = { atMost: 3, within: HOUR, atMostTogether: 10 };

/** One VM's breaker with a clock of its own. */
class Story {
  now = 1_000 * HOUR;
  breaker: Breaker = closedBreaker;

  fails(subject = "VM.HUNG", together = 0): string {
    const known = afterHealth(withoutFuture(this.breaker, this.now), limits, this.now);
    const noted = withFailure(known, subject);
    const decision = decide(noted, limits, together, this.now);
    this.breaker = withDecision(noted, decision, this.now);
    return decision.type;
  }

  recovers(subject = "VM.HUNG"): void {
    this.breaker = withRecovery(this.breaker, subject, this.now);
  }

  stops(): void {
    this.breaker = withStop(this.breaker);
  }

  /** Runs that did not help for long: the breaker is open. */
  static suspended(): Story {
    const story = new Story();
    const decisions = Array.from({ length: 4 }, () => {
      story.now += 60_000;
      const decision = story.fails();
      story.now += 60_000;
      story.recovers();
      return decision;
    });
    expect(decisions).toEqual(["run", "run", "run", "suspend"]);
    return story;
  }
}

describe("a VM's breaker", () => {
  test("opens when one more run would be too many, and says so once", () => {
    const story = Story.suspended();
    expect(story.breaker.isSuspended).toBe(true);
    expect(story.fails()).toBe("suspended");
  });

  test("counts runs that are far apart, when the VM was never healthy for long enough between them", () => {
    const story = new Story();
    const decisions = Array.from({ length: 5 }, () => {
      const decision = story.fails();
      story.now += HOUR;
      story.recovers();
      story.now += HOUR - 1;
      return decision;
    });
    expect(decisions).toEqual(["run", "run", "run", "suspend", "suspended"]);
  });

  test("begins to count anew when a recovery has held for the policy's time", () => {
    const story = new Story();
    for (let time = 0; time < 10; time += 1) {
      expect(story.fails()).toBe("run");
      story.recovers();
      story.now += HOUR;
    }
  });

  test("closes when the VM was healthy for the policy's time without a break", () => {
    const story = Story.suspended();
    story.now += HOUR - 1;
    expect(story.fails()).toBe("suspended");
    story.recovers();
    story.now += HOUR;
    expect(story.fails()).toBe("run");
  });

  test("stays open while nobody has said that the VM recovered, however long that takes", () => {
    const story = Story.suspended();
    story.fails();
    story.now += 100 * HOUR;
    expect(story.fails("VM.CRASHED")).toBe("suspended");
  });

  test("takes a VM for healthy when all has recovered that failed", () => {
    const story = Story.suspended();
    story.fails("VM.APPLICATION-FAILED web");
    story.fails("VM.APPLICATION-FAILED database");
    story.recovers("VM.APPLICATION-FAILED web");
    story.now += HOUR;
    expect(story.fails("VM.APPLICATION-FAILED web")).toBe("suspended");
    story.recovers("VM.APPLICATION-FAILED web");
    story.recovers("VM.APPLICATION-FAILED database");
    story.now += HOUR;
    expect(story.fails("VM.APPLICATION-FAILED web")).toBe("run");
  });

  test("takes no VM for healthy that does not run", () => {
    const story = Story.suspended();
    story.stops();
    story.now += HOUR;
    story.recovers("VM.CRASHED");
    story.now += HOUR - 1;
    expect(story.fails()).toBe("suspended");
    story.stops();
    story.recovers();
    story.now += HOUR;
    expect(story.fails()).toBe("run");
  });

  test("is not closed by a clock that was set back, and later by the time that it then counts", () => {
    const story = Story.suspended();
    story.now -= 24 * HOUR;
    expect(withoutFuture(story.breaker, story.now).healthySince).toBe(story.now);
    expect(story.fails()).toBe("suspended");
    story.recovers();
    story.now += HOUR;
    expect(story.fails()).toBe("run");
  });

  test("passes a VM over when too many were recovered together, says so once in the policy's time, and counts no run", () => {
    const story = new Story();
    expect(story.fails("VM.HUNG", 10)).toBe("pass-over");
    expect(story.breaker).toMatchObject({ runs: [], isSuspended: false, passedOverAt: story.now });
    const again = (): unknown => decide(story.breaker, limits, 10, story.now);
    expect(again()).toEqual({ type: "pass-over", isTold: false });
    story.now += HOUR;
    expect(again()).toEqual({ type: "pass-over", isTold: true });
    expect(story.fails("VM.HUNG", 9)).toBe("run");
  });
});
