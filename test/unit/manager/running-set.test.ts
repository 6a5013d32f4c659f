import { describe, expect, test, vi } from "vitest";
import { RunningSet } from "../../../manager/running-set.ts";

interface Thing {
  close: () => Promise<void>;
}

/** What is started and ended, in its order. */
function recorded(assertUsable: (name: string) => void = () => undefined) {
  const events: string[] = [];
  const set = new RunningSet<string, Thing>((name) => {
    assertUsable(name);
    return async () => {
      events.push(`start ${name}`);
      await new Promise(setImmediate);
      return {
        close: async () => {
          await new Promise(setImmediate);
          events.push(`end ${name}`);
        },
      };
    };
  });
  return { events, set };
}

describe("a new configuration", () => {
  test("ends what it does not name, then starts what is new, and leaves the rest alone", async () => {
    const { events, set } = recorded();
    await set.apply(["a", "b"]);
    await set.apply(["b", "c"]);
    expect(events).toEqual(["start a", "start b", "end a", "start c"]);
  });

  test("that comes while another is applied waits for it: nothing is started twice", async () => {
    const { events, set } = recorded();
    await Promise.all([set.apply(["a", "b"]), set.apply(["a", "b"])]);
    expect(events).toEqual(["start a", "start b"]);
    expect(set.all).toHaveLength(2);
  });

  test("with something that cannot be started starts everything else, and says so", async () => {
    const set = new RunningSet<string, Thing>((name) => () => {
      if (name === "bad") throw new Error("no bad");
      return { close: () => Promise.resolve() };
    });
    await expect(set.apply(["bad", "good"])).rejects.toThrow("no bad");
    expect(set.all).toHaveLength(1);
  });

  test("with something that cannot be prepared leaves all as it was", async () => {
    const { events, set } = recorded((name) => {
      if (name === "bad") throw new Error("no bad");
    });
    await set.apply(["old"]);
    await expect(set.apply(["new", "bad"])).rejects.toThrow("no bad");
    expect(events).toEqual(["start old"]);
    await set.apply(["new"]);
    expect(events).toEqual(["start old", "end old", "start new"]);
  });

  test("starts what was prepared, whatever has changed until what is not wanted any more has ended", async () => {
    let file = "as it was read";
    const started: string[] = [];
    const set = new RunningSet<string, Thing>((name) => {
      const read = file;
      return () => {
        started.push(`${name} ${read}`);
        return {
          close: () => {
            file = "as it is now";
            return Promise.resolve();
          },
        };
      };
    });
    await set.apply(["old"]);
    await set.apply(["new"]);
    expect(started).toEqual(["old as it was read", "new as it was read"]);
  });

  test("starts what is new also when what it ends cannot be ended", async () => {
    const close = () => Promise.reject(new Error("stuck"));
    const set = new RunningSet<string, Thing>(() => () => ({ close }));
    await set.apply(["old"]);
    await expect(set.apply(["new"])).rejects.toThrow("stuck");
    expect(set.all).toHaveLength(1);
  });
});

describe("closing", () => {
  test("while a configuration is applied leaves nothing running, and starts nothing more", async () => {
    const events: string[] = [];
    const gate = Promise.withResolvers<undefined>();
    const set = new RunningSet<string, Thing>((name) => async () => {
      events.push(`start ${name}`);
      await gate.promise;
      return {
        close: () => {
          events.push(`end ${name}`);
          return Promise.resolve();
        },
      };
    });
    const applied = expect(set.apply(["a", "b"])).rejects.toThrow("stops");
    await vi.waitUntil(() => events.length > 0, { interval: 1 });
    const closed = set.close();
    gate.resolve(undefined);
    await Promise.all([applied, closed]);
    expect(events).toEqual(["start a", "end a"]);
    expect(set.all).toEqual([]);
  });

  test("is for good, and may be asked for twice", async () => {
    const { events, set } = recorded();
    await set.close();
    await expect(set.apply(["a"])).rejects.toThrow("stops");
    await set.close();
    expect(events).toEqual([]);
  });

  test("ends everything else when one cannot be ended, and says so", async () => {
    const closed: string[] = [];
    const set = new RunningSet<string, Thing>((name) => () => ({
      close: async () => {
        if (name === "stuck") throw new Error("stuck");
        await new Promise(setImmediate);
        closed.push(name);
      },
    }));
    await set.apply(["stuck", "other"]);
    await expect(set.close()).rejects.toThrow("stuck");
    expect(closed).toEqual(["other"]);
  });
});
