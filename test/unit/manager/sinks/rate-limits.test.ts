import { describe, expect, test } from "vitest";
import { RateLimit } from "../../../../manager/sinks/rate-limits.ts";

const NOW = Date.UTC(2026, 0, 15, 12);

function twoInAMinute(): RateLimit {
  return new RateLimit({ count: 2, windowMs: 60_000 });
}

describe("a limit of two a minute", () => {
  test("is each receiver's own, and frees what is a minute old", () => {
    const limit = twoInAMinute();
    for (const now of [NOW, NOW + 10_000]) expect(limit.take(["a"], now)).toMatchObject({ type: "taken" });
    expect(limit.take(["a"], NOW + 20_000)).toEqual({ type: "over", freeAt: NOW + 60_000 });
    expect(limit.take(["b"], NOW + 20_000)).toMatchObject({ type: "taken" });
    expect(limit.take(["a"], NOW + 60_000)).toMatchObject({ type: "taken" });
    expect(limit.take(["a"], NOW + 60_000)).toEqual({ type: "over", freeAt: NOW + 70_000 });
  });

  test("of several receivers is used by all or by none", () => {
    const limit = twoInAMinute();
    limit.take(["a"], NOW);
    limit.take(["a", "b"], NOW);
    expect(limit.take(["a", "b"], NOW)).toMatchObject({ type: "over" });
    expect(limit.take(["b"], NOW)).toMatchObject({ type: "taken" });
    expect(limit.take(["b"], NOW)).toMatchObject({ type: "over" });
  });

  test("gets back what came to nothing", () => {
    const limit = twoInAMinute();
    limit.take(["a"], NOW);
    const turn = limit.take(["a"], NOW + 1);
    if (turn.type === "taken") turn.giveBack();
    expect(limit.take(["a"], NOW + 2)).toMatchObject({ type: "taken" });
    expect(limit.take(["a"], NOW + 3)).toMatchObject({ type: "over" });
  });

  test("goes on when the clock is set back", () => {
    const limit = twoInAMinute();
    for (const now of [NOW, NOW]) limit.take(["a"], now);
    expect(limit.take(["a"], NOW - 86_400_000)).toMatchObject({ type: "taken" });
  });

  test("remembers ten thousand receivers, and forgets the one that waited longest", () => {
    const limit = twoInAMinute();
    for (const receiver of ["first", "first", "second", "second"]) limit.take([receiver], NOW);
    for (let one = 0; one < 9_999; one += 1) limit.take([String(one)], NOW);
    expect(limit.take(["second"], NOW)).toMatchObject({ type: "over" });
    expect(limit.take(["first"], NOW)).toMatchObject({ type: "taken" });
  });
});
