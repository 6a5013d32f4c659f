/** Watches and events of one VM over its moves, and over managers that are lost. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { StreamEvent } from "../../../../../manager/api/event-stream.ts";
import { MisdirectedError } from "../../../../../manager/peers/caller.ts";
import type { VmSummary } from "../../../../../shared/api/schemas.ts";
import { CommandError } from "../../../../../shared/cli/failure.ts";
import { failureOf, Lab, lostTo, Source, summaryOf, unknownVm, web1 } from "./everywhere-lab.ts";

const EPOCH = "00112233445566aa";
const LOG2 = "00000000000000b2";

let lab: Lab;

beforeEach(() => {
  vi.useFakeTimers();
  lab = new Lab();
});

afterEach(() => {
  lab.stop.abort();
  vi.useRealTimers();
});

function changed(revision: number, different: object = {}): StreamEvent {
  const data = { epoch: EPOCH, revision, more: false, resync: false, changes: [], ...different };
  return { event: "changed", data, id: `${EPOCH}:${revision}` };
}

const snapshot = (revision: number, different: object = {}) => changed(revision, { resync: true, ...different });

/** What a stream has told, as it comes. */
class Told {
  readonly events: StreamEvent[] = [];
  failure: unknown;
  hasEnded = false;

  constructor(stream: AsyncIterable<unknown>) {
    void this.#read(stream);
  }

  get links(): VmSummary["link"][] {
    return this.events.filter(({ event }) => event === "link").map(({ data }) => (data as VmSummary).link);
  }

  get ids(): (string | undefined)[] {
    return this.events.filter(({ event }) => event !== "link").map(({ id }) => id);
  }

  async #read(stream: AsyncIterable<unknown>): Promise<void> {
    try {
      for await (const event of stream) this.events.push(event as StreamEvent);
    } catch (error) {
      this.failure = error;
    }
    this.hasEnded = true;
  }
}

function watch(vm = "web1", more: object = {}): Told {
  return new Told(lab.handlers.watchKeys(lab.request({ params: { vm }, query: { prefix: "" }, ...more })));
}

/** One source for each time that this host is asked to stream. */
function sourcesOf(host: string, row: "watchKeys" | "followEvents" = "watchKeys"): Source[] {
  const sources: Source[] = [];
  lab.caller.answers.set(host, { showVm: () => summaryOf(web1, { host }) });
  lab.caller.streams.set(host, {
    [row]: ({ options }: { options: { signal: AbortSignal } }) => {
      const source = new Source().until(options.signal);
      sources.push(source);
      return source;
    },
  });
  return sources;
}

function localSources(row: "watchKeys" | "followEvents" = "watchKeys"): Source[] {
  const sources: Source[] = [];
  lab.local[row] = ({ signal }) => {
    const source = new Source().endedBy(signal);
    sources.push(source);
    return source;
  };
  return sources;
}

const settle = () => vi.advanceTimersByTimeAsync(1);

/** How often a host was asked to stream, and after which event. */
function streamsAsked(): string[] {
  return lab.caller.asked
    .filter(({ asked }) => asked.endpoint === "watchKeys" || asked.endpoint === "followEvents")
    .map(({ host, asked }) => `${host} after ${asked.lastEventId ?? "nothing"}`);
}

describe("a watch", () => {
  it("goes on at the manager that its VM has moved to, after the last event, and tells of the new link", async () => {
    lab.known = [web1];
    lab.whereabouts.put(web1, { type: "here" });
    const [here, kvm2] = [localSources(), sourcesOf("kvm2")];
    const told = watch();
    here[0]?.give(snapshot(3));
    await settle();
    lab.whereabouts.at(web1, lab.kvm2);
    await settle();
    kvm2[0]?.give(changed(4));
    await settle();
    expect(streamsAsked()).toEqual([`kvm2 after ${EPOCH}:3`]);
    expect(told.events.map(({ event }) => event)).toEqual(["changed", "link", "changed"]);
    expect(told.events[1]?.data).toMatchObject({ host: "kvm2", link: { state: "up" } });
  });

  it("comes home with its VM", async () => {
    const [here, kvm2] = [localSources(), sourcesOf("kvm2")];
    lab.whereabouts.at(web1, lab.kvm2);
    lab.local.showVm = () => summaryOf(web1);
    const told = watch();
    await settle();
    kvm2[0]?.give(snapshot(3));
    await settle();
    lab.known = [web1];
    lab.whereabouts.put(web1, { type: "here" });
    await settle();
    here[0]?.give(changed(4));
    await settle();
    expect(told.ids).toEqual([`${EPOCH}:3`, `${EPOCH}:4`]);
    expect(lab.caller.asked.at(-1)?.options.signal.aborted).toBe(true);
  });

  it("tells once that the manager is lost, tries again less and less often, and tells when it is back", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const sources = sourcesOf("kvm2");
    const told = watch();
    await settle();
    sources[0]?.give(snapshot(3));
    await settle();
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(lostTo(lab.kvm2)) });
    sources[0]?.fail(lostTo(lab.kvm2, { isLost: true }));
    await settle();
    expect(told.links).toMatchObject([{ state: "down", reason: "the manager on kvm2 vanished" }]);
    const attempts = () => lab.caller.log.filter((row) => row === "kvm2 showVm").length;
    await vi.advanceTimersByTimeAsync(500);
    expect(attempts()).toBe(1);
    // Each attempt looks for the VM at another place for two seconds.
    await vi.advanceTimersByTimeAsync(60_000);
    expect(attempts()).toBeLessThan(12);
    expect(told.links).toHaveLength(1);
    sourcesOf("kvm2");
    await vi.advanceTimersByTimeAsync(7_000);
    expect(told.links.map(({ state }) => state)).toEqual(["down", "up"]);
    expect(streamsAsked().at(-1)).toBe(`kvm2 after ${EPOCH}:3`);
    expect(told.hasEnded).toBe(false);
  });

  it("goes on at once when the VM turns up at another manager", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const [kvm2, kvm3] = [sourcesOf("kvm2"), sourcesOf("kvm3")];
    const told = watch();
    await settle();
    kvm2[0]?.give(snapshot(3));
    await settle();
    kvm2[0]?.fail(new MisdirectedError(undefined));
    await settle();
    expect(told.links).toMatchObject([{ state: "down", reason: "no manager has 'web1' now; it was on kvm2" }]);
    lab.whereabouts.at(web1, lab.kvm3);
    await settle();
    kvm3[0]?.give(changed(4));
    await settle();
    expect(told.ids).toEqual([`${EPOCH}:3`, `${EPOCH}:4`]);
    expect(told.links.at(-1)).toMatchObject({ state: "up" });
  });

  it("goes at once where the lost manager says that the VM is", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const [kvm2, kvm3] = [sourcesOf("kvm2"), sourcesOf("kvm3")];
    watch();
    await settle();
    kvm2[0]?.give(snapshot(3));
    await settle();
    kvm2[0]?.fail(new MisdirectedError(lab.kvm3));
    await settle();
    expect(kvm3).toHaveLength(1);
  });

  it("waits for a VM that nobody has, and does not ask anybody meanwhile", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const sources = sourcesOf("kvm2");
    const told = watch();
    await settle();
    sources[0]?.give(snapshot(3));
    await settle();
    lab.whereabouts.put(web1, { type: "nowhere" });
    sources[0]?.fail(lostTo(lab.kvm2, { isLost: true }));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(lab.caller.log).toEqual(["kvm2 watchKeys"]);
    expect(told.links.at(-1)?.reason).toBe("no manager has 'web1' now; it was on kvm2");
    expect(told.hasEnded).toBe(false);
  });

  it("tells of a lost VM as it was last known, or by its name alone", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const sources = sourcesOf("kvm2");
    const [first, second] = [watch(), watch()];
    await settle();
    sources[0]?.give(snapshot(3));
    sources[0]?.give({ event: "link", data: summaryOf(web1, { host: "kvm2", pending: 4 }) });
    sources[1]?.give(snapshot(3));
    await settle();
    for (const source of sources) source.fail(lostTo(lab.kvm2));
    await settle();
    expect(first.events.at(-1)?.data).toMatchObject({ pending: 4, status: "Running", link: { state: "down" } });
    expect(second.events.at(-1)?.data).toMatchObject({ ...web1, host: "kvm2", status: "Unknown" });
  });

  it("passes over what another manager knows from earlier, or does not know yet", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const [kvm2, kvm3] = [sourcesOf("kvm2"), sourcesOf("kvm3")];
    const told = watch();
    await settle();
    kvm2[0]?.give(snapshot(7));
    await settle();
    lab.whereabouts.at(web1, lab.kvm3);
    await settle();
    kvm3[0]?.give(snapshot(0, { epoch: "0000000000000000" }));
    kvm3[0]?.give(snapshot(5));
    kvm3[0]?.give(snapshot(8));
    await settle();
    expect(told.ids).toEqual([`${EPOCH}:7`, `${EPOCH}:8`]);
  });

  it("tells a reader that has come back nothing by a manager that does not know the guest yet", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const kvm2 = sourcesOf("kvm2");
    const told = watch("web1", { query: { prefix: "", since: `${EPOCH}:7` } });
    const anew = watch();
    await settle();
    for (const source of kvm2) source.give(snapshot(0, { epoch: "0000000000000000" }));
    for (const source of kvm2) source.give(snapshot(8));
    await settle();
    expect([told.ids, anew.ids]).toEqual([[`${EPOCH}:8`], [`${EPOCH}:0`, `${EPOCH}:8`]]);
  });

  it("ends with what the other manager refuses", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const sources = sourcesOf("kvm2");
    const told = watch();
    await settle();
    sources[0]?.give(snapshot(3));
    await settle();
    const refusal = new CommandError("not-permitted", "alice may use no keys");
    sources[0]?.fail(refusal);
    await settle();
    expect(told.failure).toBe(refusal);
    expect(lab.whereabouts.listeners).toBe(0);
  });

  it("is looked for at most three times before it has begun, and then fails as a request does", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    lab.caller.streams.set("kvm2", { watchKeys: () => failing(new MisdirectedError(undefined)) });
    const told = watch();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(told.failure).toMatchObject({ code: "unreachable", message: "no manager has 'web1' now; it was on kvm2" });
    expect(lab.caller.log).toHaveLength(3);
  });

  it("fails at once when the manager cannot be asked before it has begun", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    lab.caller.streams.set("kvm2", { watchKeys: () => failing(lostTo(lab.kvm2)) });
    const told = watch();
    await settle();
    expect(told.failure).toMatchObject({ code: "unreachable" });
  });

  it("goes on when the other manager ends it, as one that stops does", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const sources = sourcesOf("kvm2");
    const told = watch();
    await settle();
    sources[0]?.give(snapshot(3));
    sources[0]?.end();
    await vi.advanceTimersByTimeAsync(600);
    expect(told.links).toMatchObject([{ state: "down", reason: "the manager on kvm2 ended it" }, { state: "up" }]);
    expect(sources).toHaveLength(2);
  });

  it("ends as at home when its VM is forgotten here, and when nobody reads it any more", async () => {
    lab.known = [web1];
    lab.whereabouts.put(web1, { type: "here" });
    const sources = localSources();
    const [first, second] = [watch(), watch()];
    await settle();
    for (const source of sources) source.give(snapshot(3));
    sources[0]?.end();
    await settle();
    expect([first.hasEnded, second.hasEnded]).toEqual([true, false]);
    lab.stop.abort();
    await settle();
    expect(second).toMatchObject({ hasEnded: true, failure: undefined });
    expect(lab.whereabouts.listeners).toBe(0);
  });

  it("of a VM that nobody has is refused as at home", async () => {
    lab.local.watchKeys = () => failing(unknownVm("web9"));
    const told = watch("web9");
    await settle();
    expect(told.failure).toMatchObject({ code: "failed", details: { unknownVm: true } });
    lab.connection = { state: "disconnected", reason: "ECONNRESET" };
    const later = watch("web9");
    await settle();
    expect(later.failure).toMatchObject({ code: "unreachable" });
  });
});

describe("events of one VM", () => {
  const event = (id: string): StreamEvent => ({ event: "position", data: { next: id }, id });

  function follow(vm: string[] | undefined): Told {
    return new Told(lab.handlers.followEvents(lab.request({ query: { vm } })));
  }

  it("are followed after the last one when the manager is back", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const sources = sourcesOf("kvm2", "followEvents");
    const told = follow(["web1"]);
    await settle();
    sources[0]?.give(event(`${LOG2}:7`));
    await settle();
    sources[0]?.fail(lostTo(lab.kvm2, { isLost: true }));
    await vi.advanceTimersByTimeAsync(600);
    expect(streamsAsked()).toEqual(["kvm2 after nothing", `kvm2 after ${LOG2}:7`]);
    expect(lab.caller.asked[0]?.asked.query).toEqual({ vm: [web1.id] });
    expect(told.hasEnded).toBe(false);
  });

  it("end when the VM moves, for the cursor is of another manager's log", async () => {
    lab.known = [web1];
    lab.whereabouts.put(web1, { type: "here" });
    const here = localSources("followEvents");
    const conflict = new CommandError("conflict", "the cursor is of another log of events; begin anew without one");
    lab.caller.streams.set("kvm2", { followEvents: () => failing(conflict) });
    const told = follow(["web1"]);
    here[0]?.give(event("00000000000000a1:7"));
    await settle();
    lab.whereabouts.at(web1, lab.kvm2);
    await settle();
    expect(told.failure).toMatchObject({ code: "conflict", details: { host: "kvm2" } });
    expect((told.failure as Error).message).toBe(
      "'web1' is at the manager on kvm2 now; its events are in the log of that one, and the cursor is of another: begin anew without one",
    );
  });

  it("are refused in the same words when they are listed after a cursor of another log", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const conflict = new CommandError("conflict", "the cursor is of another log");
    lab.caller.answers.set("kvm2", { listEvents: () => Promise.reject(conflict) });
    const query = { vm: ["web1"], since: "00000000000000a1:7" };
    const failure = await failureOf(lab.handlers.listEvents(lab.request({ query })));
    expect(failure.message).toContain("is at the manager on kvm2 now");
  });

  it("of a pattern, of all and of a VM that nobody has are this manager's", async () => {
    const sources = localSources("followEvents");
    for (const vm of [["web*"], undefined, ["web9"]]) follow(vm);
    await settle();
    expect(sources).toHaveLength(3);
    expect(lab.caller.log).toEqual([]);
  });
});

async function* failing(error: Error): AsyncGenerator<StreamEvent> {
  await Promise.resolve();
  yield* [];
  throw error;
}
