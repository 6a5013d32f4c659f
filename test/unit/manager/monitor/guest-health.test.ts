import { describe, expect, test } from "vitest";
import type { Event, NewEvent } from "../../../../manager/events/event.ts";
import { GuestHealth, type HealthRules } from "../../../../manager/monitor/guest-health.ts";
import type { Probe } from "../../../../manager/monitor/probe.ts";
import type { ApplicationState } from "../../../../shared/protocol/message.ts";

const vm = { id: "172dd6f8-0000-4000-8000-000000000001", name: "web1" };
const rules: HealthRules = { threshold: 3, bootRounds: 4, expectsAgent: false };

const answered: Probe = { type: "answered", applications: [] };
const missed: Probe = { type: "missed" };
const away: Probe = { type: "unknown", reason: "no agent answers", isSilent: true };
const holder = "the channel is held by vmmessage (pid 7)";
const held: Probe = { type: "unknown", reason: holder };

function saying(...applications: Partial<ApplicationState>[]): Probe {
  return {
    type: "answered",
    applications: applications.map((application) => ({
      name: "shop",
      kind: "heartbeat",
      state: "ok",
      forMs: 0,
      ...application,
    })),
  };
}

class Story {
  readonly health: GuestHealth;
  #now = 0;

  constructor(health = new GuestHealth(0)) {
    this.health = health;
  }

  /** The types of the events of rounds in which the agent's probe was this one. */
  rounds(probe: Probe, count: number, more: { guestAgent?: Probe; rules?: Partial<HealthRules> } = {}): string[] {
    return Array.from({ length: count }, () => this.events(probe, more).map(({ type }) => type)).flat();
  }

  events(agent: Probe, more: { guestAgent?: Probe; rules?: Partial<HealthRules> } = {}) {
    this.#now += 10_000;
    return this.health.round(vm, { agent, guestAgent: more.guestAgent }, { ...rules, ...more.rules }, this.#now);
  }
}

/** The only event, at a position of the log. */
function appended([event]: NewEvent[], position: number): Event {
  if (event === undefined) throw new Error("no event");
  return { ...event, id: "id", sequence: 1, position };
}

describe("a guest", () => {
  test("that answered and is silent three times is hung, and is told once", () => {
    const story = new Story();
    story.rounds(answered, 2);
    expect(story.rounds(missed, 2)).toEqual([]);
    expect(story.rounds(missed, 10)).toEqual(["VM.HUNG"]);
  });

  test("that hangs, recovers and hangs again is told of each time", () => {
    const story = new Story();
    story.rounds(answered, 1);
    expect(story.rounds(missed, 3)).toEqual(["VM.HUNG"]);
    expect(story.rounds(answered, 3)).toEqual(["VM.RECOVERED"]);
    expect(story.rounds(missed, 3)).toEqual(["VM.HUNG"]);
  });

  test("whose channel somebody else holds is not hung, however long", () => {
    const story = new Story();
    story.rounds(answered, 1);
    expect(story.rounds(held, 1_000)).toEqual([]);
    expect(story.health.shown(vm).state).toBe("healthy");
  });

  test("that never answered is not hung", () => {
    const story = new Story();
    expect(story.rounds(missed, 100)).toEqual([]);
    expect(story.rounds(away, 100)).toEqual([]);
  });

  test("of which nothing is known between two misses is no nearer to hung", () => {
    const story = new Story();
    story.rounds(answered, 1);
    expect([...story.rounds(missed, 2), ...story.rounds(away, 50)]).toEqual([]);
    expect(story.rounds(missed, 1)).toEqual(["VM.HUNG"]);
  });

  test("lives when any of its channels answers", () => {
    const story = new Story();
    story.rounds(answered, 1);
    expect(story.rounds(missed, 20, { guestAgent: answered })).toEqual([]);
    expect(story.rounds(missed, 3, { guestAgent: missed })).toEqual(["VM.HUNG"]);
  });

  test("is hung when one channel misses and the other says nothing", () => {
    const story = new Story();
    story.rounds(answered, 1);
    expect(story.rounds(away, 3, { guestAgent: missed })).toEqual(["VM.HUNG"]);
  });

  test("that was started, reset or stopped is discovered anew", () => {
    const story = new Story();
    story.rounds(answered, 1);
    story.rounds(missed, 2);
    story.health.begin(7, 30_000);
    expect(story.rounds(missed, 20)).toEqual([]);
  });

  test("says in its event when it answered last and what each channel found", () => {
    const story = new Story();
    story.rounds(answered, 1);
    story.rounds(missed, 2, { guestAgent: held });
    const [event] = story.events(missed, { guestAgent: held });
    expect(event).toMatchObject({
      type: "VM.HUNG",
      category: "AlertEvent",
      resourceUUID: vm.id,
      data: {
        misses: 3,
        answeredAt: "1970-01-01T00:00:10.000Z",
        channels: { agent: "missed", guestAgent: `unknown: ${holder}` },
      },
    });
  });

  test("that was reported before the manager was restarted is not reported again, and recovers", () => {
    const story = new Story();
    story.rounds(answered, 1);
    story.rounds(missed, 3);
    const later = new Story(new GuestHealth(0, structuredClone(story.health.stored)));
    expect(later.rounds(away, 5)).toEqual([]);
    expect(later.rounds(missed, 5)).toEqual([]);
    expect(later.rounds(answered, 1)).toEqual(["VM.RECOVERED"]);
  });

  test("no longer stands as hung when it answers", () => {
    const story = new Story();
    story.rounds(answered, 1);
    story.rounds(missed, 2);
    const hang = appended(story.events(missed), 5);
    expect(story.health.stands(hang)).toBe(true);
    story.rounds(answered, 1);
    expect(story.health.stands(hang)).toBe(false);
    story.rounds(missed, 3);
    expect(story.health.stands(hang), "while a later hang does").toBe(false);
  });

  test("no longer stands as hung when the machine began anew, also after a restart of the manager", () => {
    const story = new Story();
    story.rounds(answered, 1);
    story.rounds(missed, 2);
    const hang = appended(story.events(missed), 5);
    story.health.begin(6, 50_000);
    expect(story.health.stands(hang)).toBe(false);
    expect(new GuestHealth(0, structuredClone(story.health.stored)).stands(hang)).toBe(false);
  });

  test("that nobody looked at for a while has missed nothing in that time", () => {
    const story = new Story();
    story.rounds(answered, 1);
    story.rounds(missed, 2);
    story.health.rest();
    expect(story.rounds(missed, 2)).toEqual([]);
    expect(story.rounds(missed, 1)).toEqual(["VM.HUNG"]);
  });

  test("of which nothing is known now is neither up nor down", () => {
    const story = new Story();
    expect(story.health.isUp).toBeUndefined();
    story.rounds(answered, 1);
    expect(story.health.isUp).toBe(true);
    story.rounds(held, 2);
    expect(story.health.isUp, "a moment ago").toBe(true);
    story.rounds(held, 1);
    expect(story.health.isUp).toBeUndefined();
    story.rounds(missed, 3);
    expect(story.health.isUp).toBe(false);
    story.health.begin(1, 60_000);
    expect(story.health.isUp).toBeUndefined();
  });
});

describe("an agent that is expected", () => {
  const expected = { rules: { expectsAgent: true } };

  test("and never answers is missing after the boot time, once", () => {
    const story = new Story();
    expect(story.rounds(away, 3, expected)).toEqual([]);
    expect(story.rounds(away, 20, expected)).toEqual(["VM.AGENT-MISSING"]);
    expect(story.rounds(answered, 1, expected)).toEqual(["VM.AGENT-RECOVERED"]);
  });

  test("is not missing for what is wrong with this host", () => {
    const story = new Story();
    expect(story.rounds({ type: "unknown", reason: "not permitted to open the socket" }, 100, expected)).toEqual([]);
  });

  test("is not missing while another client holds its channel", () => {
    const story = new Story();
    expect(story.rounds(held, 100, expected)).toEqual([]);
  });

  test("is missing again when it does not come back after a restart of the machine", () => {
    const story = new Story();
    story.rounds(answered, 1, expected);
    story.health.begin(7, 20_000);
    expect(story.rounds(away, 3, expected)).toEqual([]);
    expect(story.rounds(away, 3, expected)).toEqual(["VM.AGENT-MISSING"]);
  });

  test("is missing when it hangs while the guest answers on another channel", () => {
    const story = new Story();
    story.rounds(answered, 1, expected);
    expect(story.rounds(missed, 5, { ...expected, guestAgent: answered })).toEqual(["VM.AGENT-MISSING"]);
  });

  test("that is expected no more is not missing any more", () => {
    const story = new Story();
    story.rounds(away, 5, expected);
    expect(story.rounds(away, 3)).toEqual(["VM.AGENT-RECOVERED"]);
  });

  test("is not told of beside a guest that hangs as a whole", () => {
    const story = new Story();
    story.rounds(answered, 1, expected);
    expect(story.rounds(missed, 10, expected)).toEqual(["VM.HUNG"]);
  });
});

describe("an application", () => {
  test("that fails three times has failed, with the agent's reason", () => {
    const story = new Story();
    story.rounds(saying({}), 1);
    const failing = saying({ state: "failing", reason: "no beat for 41 s" });
    expect(story.rounds(failing, 2)).toEqual([]);
    const [event] = story.events(failing);
    expect(event).toMatchObject({
      type: "VM.APPLICATION-FAILED",
      data: { application: "shop", kind: "heartbeat", reason: "no beat for 41 s" },
    });
    expect(story.rounds(failing, 5)).toEqual([]);
    expect(story.rounds(saying({}), 2)).toEqual(["VM.APPLICATION-RECOVERED"]);
  });

  test("that was never well is told of after the boot time", () => {
    const story = new Story();
    const failing = saying({ kind: "check", state: "failing" });
    expect(story.rounds(failing, 3)).toEqual([]);
    expect(story.rounds(failing, 10)).toEqual(["VM.APPLICATION-FAILED"]);
  });

  test("that is not judged yet, or whose agent does not answer, is as it was", () => {
    const story = new Story();
    story.rounds(saying({}), 1);
    expect(story.rounds(saying({ state: "pending" }), 50)).toEqual([]);
    story.rounds(missed, 50);
    expect(story.health.shown(vm).applications).toMatchObject([{ name: "shop", state: "healthy" }]);
  });

  test("stays as it was when an answer says nothing of applications", () => {
    const story = new Story();
    story.rounds(saying({}), 1);
    story.rounds(saying({ state: "failing" }), 3);
    expect(story.rounds({ type: "answered" }, 3)).toEqual([]);
    expect(story.rounds(saying({ state: "failing" }), 50)).toEqual([]);
  });

  test("does not make its guest hung", () => {
    const story = new Story();
    story.rounds(saying({}), 1);
    story.rounds(saying({ state: "failing" }), 5);
    expect(story.health.shown(vm).state).toBe("healthy");
  });

  test("that is watched no more has not failed any more", () => {
    const story = new Story();
    story.rounds(saying({}), 1);
    story.rounds(saying({ state: "failing" }), 3);
    expect(story.rounds(answered, 1)).toEqual(["VM.APPLICATION-RECOVERED"]);
    expect(story.health.stored.applications).toEqual([]);
  });

  test("is judged by itself", () => {
    const story = new Story();
    const both = (state: "ok" | "failing"): Probe => saying({ name: "shop", state }, { name: "mail" });
    story.rounds(both("ok"), 1);
    story.rounds(both("failing"), 3);
    expect(story.health.applicationStandings).toEqual([
      { name: "shop", isOk: false },
      { name: "mail", isOk: true },
    ]);
  });
});
