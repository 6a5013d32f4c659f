import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { CommandError } from "../../../../../shared/cli/failure.ts";
import { web1, web2 } from "../../store/tables.ts";
import { type Contested, Host } from "../hosts.ts";
import { MemoryBroker } from "../memory-broker.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

const SECOND = 1_000;
const pass = (ms = SECOND) => vi.advanceTimersByTimeAsync(ms);

function hosts() {
  const broker = new MemoryBroker();
  const contested: [string, ...Contested][] = [];
  const host = (name: string) => new Host(name, broker, { contested: (said) => contested.push([name, ...said]) });
  return { broker, contested, a: host("a"), b: host("b"), c: host("c") };
}

/** What its manager has warned of. */
function warnings({ logged }: Host) {
  return logged.flatMap(({ level, event, fields }) => (level === "warn" ? [{ event, ...fields }] : []));
}

const late = new CommandError("unreachable", "the request came 9 s after its time was up");

describe("a VM of one host's inventory", () => {
  test("is held there, and the others know where", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 1);
    await pass();
    expect([a.place(web1), b.place(web1), b.place(web2)]).toEqual(["here", "at a", "nowhere"]);
    expect(b.running.claims.elsewhere()).toEqual([{ vm: web1, peer: a.running.transport.self }]);
    expect(a.running.claims.elsewhere()).toEqual([]);
  });

  test("is announced under its new name, and not any more when it is forgotten", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 1);
    await pass();
    a.vms.set({ ...web1, name: "db1" }, 1);
    await pass();
    expect(b.running.claims.of(web1.id)).toMatchObject({ type: "elsewhere", vm: { name: "db1" } });
    a.vms.remove(web1.id);
    await pass(2 * SECOND);
    expect([a.holds(web1), b.place(web1)]).toEqual([false, "nowhere"]);
  });

  test("that is only remembered is claimed when everybody had the time to say that he has it", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 0);
    await pass();
    expect([a.holds(web1), a.place(web1)]).toEqual([false, "here"]);
    await pass(10 * SECOND);
    expect([a.holds(web1), b.place(web1)]).toEqual([true, "at a"]);
  });

  test("is held again when somebody deleted its queue", async () => {
    const { broker, a } = hosts();
    a.vms.set(web1, 1);
    await pass();
    broker.release(web1.id, a.running.transport);
    a.running.claims.lost(web1.id);
    await pass();
    expect(a.holds(web1)).toBe(true);
  });
});

describe("a VM that two hosts know", () => {
  test.each([
    ["runs", 2, 1],
    ["answers", 3, 2],
    ["is defined", 1, 0],
  ] as const)("goes to the one where it %s", async (_, stronger, weaker) => {
    const { a, b } = hosts();
    a.vms.set(web1, weaker);
    await pass(10 * SECOND);
    expect(a.holds(web1)).toBe(true);
    b.vms.set(web1, stronger);
    await pass();
    expect([a.holds(web1), a.place(web1), b.holds(web1), b.place(web1)]).toEqual([false, "at b", true, "here"]);
    await pass(60 * SECOND);
    expect([a.place(web1), b.holds(web1)]).toEqual(["at b", true]);
  });

  test("goes back and forth with what runs", async () => {
    const { a, b } = hosts();
    for (const [from, to] of [
      [b, a],
      [a, b],
      [b, a],
    ] as const) {
      from.vms.set(web1, 1);
      to.vms.set(web1, 2);
      await pass(6 * SECOND);
      expect([to.holds(web1), from.place(web1)]).toEqual([true, `at ${to.name}`]);
    }
  });

  test("and runs at none stays where it is, and nobody asks again and again", async () => {
    const { broker, a, b } = hosts();
    a.vms.set(web1, 1);
    await pass();
    b.vms.set(web1, 1);
    await pass(10 * SECOND);
    let asked = 0;
    broker.fateOf = ({ type }) => {
      if (type === "request") asked += 1;
      return "arrives";
    };
    await pass(120 * SECOND);
    expect([a.holds(web1), b.place(web1), asked]).toEqual([true, "at a", 0]);
  });

  test("is left by a manager whose guest does not answer, though it has not seen the end of it", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 3);
    await pass();
    a.vms.set(web1, 3, false);
    b.vms.set(web1, 2);
    await pass();
    expect([a.place(web1), b.holds(web1)]).toEqual(["at b", true]);
  });

  test("is not taken by who cannot prove that its guest answers, nor is a guest asked for the sake of a VM that is off", async () => {
    const { a, b, c } = hosts();
    a.vms.set(web1, 2);
    await pass();
    b.vms.set(web1, 3, false);
    await pass(10 * SECOND);
    expect([a.holds(web1), b.place(web1)]).toEqual([true, "at a"]);
    a.vms.set(web1, 3);
    const { proofs } = a.vms;
    c.vms.set(web1, 1);
    b.vms.remove(web1.id);
    await pass(20 * SECOND);
    expect([a.vms.proofs, c.place(web1)]).toEqual([proofs, "at a"]);
  });
});

describe("a manager that does not say whether it lets a VM go", () => {
  test("is said in the log, with its reason, once a minute at most while it goes on", async () => {
    const { a, b } = hosts();
    for (const vm of [web1, web2]) a.vms.set(vm, 1);
    await pass();
    const asked = vi.spyOn(a.running.claims, "yield").mockRejectedValue(late);
    for (const vm of [web1, web2]) b.vms.set(vm, 2);
    await pass(50 * SECOND);
    const warning = { event: "vm-claim-unanswered", host: "a", reason: late.message, suppressed: 0 };
    expect(warnings(b)).toEqual([web1, web2].map(({ name, id }) => ({ ...warning, vm: name, id })));
    await pass(60 * SECOND);
    expect(warnings(b).slice(2)).toMatchObject([web1, web2].map(({ id }) => ({ id, suppressed: 11 })));
    asked.mockRestore();
    await pass(10 * SECOND);
    expect([b.holds(web1), warnings(b).length]).toEqual([true, 4]);
  });

  test("and does so when it is asked again is nothing to be told", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 1);
    await pass();
    vi.spyOn(a.running.claims, "yield").mockRejectedValueOnce(late);
    b.vms.set(web1, 2);
    await pass(10 * SECOND);
    expect([b.holds(web1), warnings(b)]).toEqual([true, []]);
  });
});

describe("a VM that runs at two hosts", () => {
  test("is contested, which both say once, till it is at one of them", async () => {
    const { contested, a, b, c } = hosts();
    a.vms.set(web1, 2);
    await pass();
    b.vms.set(web1, 2);
    await pass(3 * SECOND);
    expect(contested).toEqual([]);
    await pass(30 * SECOND);
    expect([a.place(web1), b.place(web1), c.place(web1)]).toEqual(["contested by b", "contested by a", "at a"]);
    expect(contested.sort()).toEqual([
      ["a", "web1", "b"],
      ["b", "web1", "a"],
    ]);
    contested.length = 0;
    a.vms.set(web1, 1);
    await pass(6 * SECOND);
    expect([a.place(web1), b.place(web1)]).toEqual(["at b", "here"]);
    expect(contested.sort()).toEqual([
      ["a", "web1", undefined],
      ["b", "web1", undefined],
    ]);
  });

  test("is contested no more when one of them is gone, or does not run it any more", async () => {
    for (const end of ["gone", "off"] as const) {
      const endsWithin = end === "gone" ? 30 * SECOND : SECOND;
      const { contested, a, b } = hosts();
      a.vms.set(web1, 3);
      await pass();
      b.vms.set(web1, 3);
      await pass(30 * SECOND);
      expect(a.place(web1)).toBe("contested by b");
      if (end === "gone") b.kill();
      else b.vms.set(web1, 1);
      await pass(endsWithin);
      expect([a.place(web1), a.holds(web1)]).toEqual(["here", true]);
      expect(contested.filter(([name]) => name === "a")).toEqual([
        ["a", "web1", "b"],
        ["a", "web1", undefined],
      ]);
    }
  });

  test("for the moment in which it is migrated is not said to be contested", async () => {
    const { contested, a, b } = hosts();
    a.vms.set(web1, 2);
    await pass();
    b.vms.set(web1, 2);
    await pass();
    b.vms.set(web1, 3);
    await pass();
    expect([a.place(web1), b.holds(web1)]).toEqual(["at b", true]);
    a.vms.set(web1, 0);
    await pass(60 * SECOND);
    expect(contested).toEqual([]);
  });
});

describe("a manager that is gone", () => {
  test("is followed by another that knows the VM, and gets it back when it runs there", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 2);
    b.vms.set(web1, 1);
    await pass(10 * SECOND);
    expect(b.place(web1)).toBe("at a");
    a.kill();
    await pass(16 * SECOND);
    expect([b.holds(web1), b.running.claims.peers().map(({ host }) => host)]).toEqual([true, ["c"]]);
    a.start();
    await pass(6 * SECOND);
    expect([a.holds(web1), b.place(web1)]).toEqual([true, "at a"]);
  });

  test("is found out by whoever calls it", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 1);
    await pass();
    b.running.directory.drop(a.running.transport.self.id);
    expect(b.place(web1)).toBe("nowhere");
  });
});

describe("while the broker is away", () => {
  test("everything stays where it was, and is there again afterwards", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 2);
    b.vms.set(web1, 1);
    await pass(10 * SECOND);
    for (const host of [b, a]) host.running.transport.disconnect("the broker stopped");
    await pass(300 * SECOND);
    a.vms.set(web2, 2);
    expect([a.place(web1), b.place(web1), a.place(web2)]).toEqual(["here", "at a", "here"]);
    for (const host of [b, a]) {
      host.running.transport.reconnect();
      await pass();
    }
    expect([a.holds(web1), b.place(web1), b.place(web2)]).toEqual([true, "at a", "at a"]);
  });

  test("a VM that another took meanwhile goes to the stronger", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 1);
    await pass();
    a.running.transport.disconnect("cable");
    b.vms.set(web1, 2);
    await pass(20 * SECOND);
    expect(b.holds(web1)).toBe(true);
    a.running.transport.reconnect();
    await pass(10 * SECOND);
    expect([a.place(web1), b.holds(web1)]).toEqual(["at b", true]);
  });
});

describe("what the broker answers", () => {
  test("on a connection that has ended says nothing of the next", async () => {
    const { broker, a, b } = hosts();
    const { transport } = a.running;
    const late = Promise.withResolvers<"held">();
    vi.spyOn(transport, "claim").mockReturnValueOnce(late.promise);
    a.vms.set(web1, 2);
    await pass();
    transport.disconnect("cable");
    transport.reconnect();
    late.resolve("held");
    await pass();
    expect([a.holds(web1), broker.claim(web1.id, b.running.transport)]).toEqual([true, "taken"]);
  });

  test("to who was let have a VM may come late: whoever let it go does not take it back at once", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 1);
    b.vms.set(web2, 2);
    await pass();
    vi.spyOn(b.running.transport, "claim").mockResolvedValueOnce("taken");
    b.vms.set(web1, 2);
    b.vms.set({ ...web2, name: "db" }, 2);
    const claim = vi.spyOn(a.running.transport, "claim");
    await pass(3 * SECOND);
    expect([a.holds(web1), claim.mock.calls]).toEqual([false, []]);
    await pass(20 * SECOND);
    expect([a.place(web1), b.holds(web1)]).toEqual(["at b", true]);
  });
});

describe("a queue that is taken by nobody who speaks", () => {
  test("is tried again and again, and the VM is ours till somebody says otherwise", async () => {
    const { broker, a } = hosts();
    const other = broker.join({ id: "f".repeat(32), host: "f" });
    broker.claim(web1.id, other);
    a.vms.set(web1, 1);
    await pass(10 * SECOND);
    expect([a.place(web1), a.holds(web1)]).toEqual(["here", false]);
    broker.drop(other);
    await pass(25 * SECOND);
    expect(a.holds(web1)).toBe(true);
  });
});

describe("who follows a VM", () => {
  test("hears when its place is another one, and of nothing else", async () => {
    const { a, b, c } = hosts();
    const places: string[] = [];
    const stop = c.running.claims.onMoved(web1.id, () => places.push(c.place(web1)));
    a.vms.set(web1, 2);
    await pass();
    a.vms.set({ ...web1, name: "db1" }, 2);
    await pass();
    b.vms.set(web1, 3);
    await pass(2 * SECOND);
    b.running.transport.disconnect("cable");
    a.vms.remove(web1.id);
    await pass();
    c.running.directory.drop(b.running.transport.self.id);
    expect(places).toEqual(["at a", "at b", "nowhere"]);
    stop();
    c.vms.set(web1, 2);
    await pass();
    expect(places).toHaveLength(3);
  });

  test("does not hear of a contest: who uses it here goes on to use it here", async () => {
    const { a, b } = hosts();
    a.vms.set(web1, 2);
    await pass();
    let moves = 0;
    a.running.claims.onMoved(web1.id, () => (moves += 1));
    b.vms.set(web1, 2);
    await pass(30 * SECOND);
    expect([a.place(web1), moves]).toEqual(["contested by b", 0]);
  });
});
