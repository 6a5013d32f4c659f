import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Directory } from "../../../../../manager/peers/holders/directory.ts";
import type { Addressee, Passing } from "../../../../../manager/peers/transport.ts";
import type { WireMessage } from "../../../../../manager/peers/wire.ts";
import { jsonLog, type Log } from "../../../../../shared/log.ts";
import { web1, web2 } from "../../store/tables.ts";
import { newPeer } from "../memory-broker.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

const [self, peer, other] = [newPeer("a"), newPeer("b"), newPeer("c")];
const everyone: Addressee = { type: "everyone" };
const toPeer: Addressee = { type: "manager", id: peer.id };
const announce = (revision: number, vms?: (typeof web1)[], wants = false) => {
  return { type: "announce", revision, wants, ...(vms && { vms }) } as const;
};
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** `sent`: what it sent since that was read last. */
function open(log: Log = jsonLog(undefined)) {
  const sent: [Addressee, WireMessage][] = [];
  const passing: { now: Passing } = { now: { type: "passed" } };
  const send = (to: Addressee, message: WireMessage): Promise<Passing> => {
    sent.push([to, message]);
    return Promise.resolve(passing.now);
  };
  const directory = new Directory({ transport: { self, send }, log });
  const changed: string[] = [];
  directory.onChange((vmId) => changed.push(vmId));
  return { directory, changed, passing, read: () => sent.splice(0, sent.length) };
}

describe("what we hold", () => {
  test("is announced to everyone at a connection, who are to announce theirs", () => {
    const { directory, read } = open();
    directory.hold(web1);
    expect(read()).toEqual([]);
    directory.connected();
    expect(read()).toEqual([[everyone, announce(1, [web1], true)]]);
  });

  test("is announced once for changes that come together, and what is let go a while later", async () => {
    const { directory, read } = open();
    directory.connected();
    read();
    directory.hold(web1);
    directory.hold(web1);
    directory.hold(web2);
    await pass(199);
    expect(read()).toEqual([]);
    await pass(1);
    expect(read()).toEqual([[everyone, announce(2, [web1, web2])]]);
    directory.letGo(web1.id);
    directory.letGo(web1.id);
    await pass(999);
    expect(read()).toEqual([]);
    await pass(1);
    expect(read()).toEqual([[everyone, announce(3, [web2])]]);
  });

  test("is called to mind every 30 s, by its revision alone, while we are connected", async () => {
    const { directory, read } = open();
    directory.hold(web1);
    directory.connected();
    read();
    await pass(60_000);
    expect(read()).toEqual([
      [everyone, announce(1)],
      [everyone, announce(1)],
    ]);
    directory.disconnected();
    directory.hold(web2);
    await pass(60_000);
    expect(read()).toEqual([]);
  });

  test("is told to who wants to know it, and ends with a good-bye", async () => {
    const { directory, read } = open();
    directory.hold(web1);
    directory.take(announce(4, [], true), peer);
    expect(read()).toEqual([[toPeer, announce(1, [web1])]]);
    await directory.close();
    expect(read()).toEqual([[everyone, { type: "bye" }]]);
  });
});

describe("what another manager says", () => {
  test("is known, until it says otherwise, and each change is told", () => {
    const { directory, changed } = open();
    directory.take(announce(1, [web1]), peer);
    expect(directory.byId(web1.id)).toEqual({ vm: web1, peer });
    expect([directory.peers(), directory.all()]).toEqual([[peer], [{ vm: web1, peer }]]);
    directory.take(announce(2, [web1, web2]), peer);
    directory.take(announce(3, [{ ...web2, name: "db" }]), peer);
    expect(directory.all()).toEqual([{ vm: { ...web2, name: "db" }, peer }]);
    expect(changed).toEqual([web1.id, web2.id, web1.id, web2.id]);
  });

  test("is passed over when it is older than what is known, or our own", () => {
    const { directory, read } = open();
    directory.take(announce(2, [web1]), peer);
    directory.take(announce(1, [web2]), peer);
    directory.take(announce(1), peer);
    directory.take(announce(9, [web2], true), self);
    expect(directory.all()).toEqual([{ vm: web1, peer }]);
    expect(read()).toEqual([]);
  });

  test("with a revision that is not known has it asked for its list", async () => {
    const { directory, read } = open();
    directory.take(announce(0), peer);
    expect(read()).toEqual([[toPeer, announce(0, undefined, true)]]);
    directory.take(announce(1, [web1]), peer);
    directory.take(announce(1), peer);
    expect(read()).toEqual([]);
    await pass(1_000);
    directory.take(announce(2), peer);
    expect(read()).toEqual([[toPeer, announce(0, undefined, true)]]);
    await pass(1_000);
    directory.take(announce(3, undefined, true), peer);
    expect(read()).toEqual([[toPeer, announce(0, [], true)]]);
  });

  test("finds VMs by their names as they are now, whoever announces them", () => {
    const { directory } = open();
    const names = (name: string): string[] => directory.byName(name).map(({ vm }) => vm.id);
    directory.take(announce(1, [web1, web2]), peer);
    directory.take(announce(1, [{ ...web2, name: web1.name }]), other);
    expect(names(web1.name)).toEqual([web1.id, web2.id]);
    expect(names(web2.name)).toEqual([]);
    directory.take({ type: "bye" }, other);
    expect([names(web1.name), names(web2.name)]).toEqual([[web1.id], [web2.id]]);
    directory.take(announce(2, [{ ...web1, name: "renamed" }]), peer);
    expect([names(web1.name), names("renamed"), names(web2.name)]).toEqual([[], [web1.id], []]);
    directory.drop(peer.id);
    expect(names("renamed")).toEqual([]);
  });

  test("is remembered as having been there when its manager is gone, till somebody says more", () => {
    const { directory } = open();
    const left = () => directory.lastSeen(web1.name).map(({ peer: { host } }) => host);
    directory.take(announce(1, [web1, web2]), peer);
    expect(left()).toEqual([]);
    directory.take({ type: "bye" }, peer);
    expect([left(), directory.lastSeen(web2.id)]).toEqual([[peer.host], [{ vm: web2, peer }]]);
    directory.take(announce(1, [web1]), other);
    expect([left(), directory.lastSeen(web2.id).length]).toEqual([[], 1]);
    const again = { ...newPeer("b"), host: peer.host };
    directory.take(announce(1, []), again);
    expect(directory.lastSeen(web2.id)).toEqual([]);
  });

  test("of a VM that two announce counts for who said so last", () => {
    const { directory } = open();
    directory.take(announce(1, [web1]), peer);
    directory.take(announce(1, [web1]), other);
    directory.take(announce(2, [web1, web2]), peer);
    expect(directory.byId(web1.id)?.peer).toEqual(other);
    directory.isHeldBy(web1, peer);
    expect(directory.byId(web1.id)?.peer).toEqual(peer);
    directory.isNotHeldBy(web1.id, peer.id);
    expect(directory.all().map(({ vm, peer: { host } }) => [vm.name, host])).toEqual([
      ["web1", "c"],
      ["web2", "b"],
    ]);
  });
});

describe("what somebody says again in another's name", () => {
  const first = Date.UTC(2026, 0, 1);

  test("is passed over: it has the time of what was heard, or an older one", () => {
    const { directory, read } = open();
    directory.take(announce(2, [web1], true), peer, first);
    read();
    directory.take(announce(2, [web1], true), peer, first);
    directory.take(announce(5, [web2], true), peer, first - 1);
    directory.take({ type: "bye" }, peer, first - 1);
    expect([read(), directory.all()]).toEqual([[], [{ vm: web1, peer }]]);
    directory.take(announce(3, [web2]), peer, first + 1);
    expect(directory.all()).toEqual([{ vm: web2, peer }]);
  });

  test("is passed over when that one has said good-bye, too", async () => {
    const { directory, read } = open();
    directory.take(announce(2, [web1], true), peer, first);
    directory.take({ type: "bye" }, peer, first + 1);
    read();
    directory.take(announce(2, [web1], true), peer, first);
    await pass(1_000);
    expect([read(), directory.peers()]).toEqual([[], []]);
  });

  test("keeps nobody here who says nothing new, nor is anybody away for long whose clock was set back", async () => {
    const { directory } = open();
    directory.connected();
    directory.take(announce(1, [web1]), peer, first);
    for (let reminders = 0; reminders < 4; reminders += 1) {
      directory.take(announce(1, [web1]), peer, first);
      await pass(30_000);
    }
    expect(directory.peers()).toEqual([]);
    directory.take(announce(1, [web1]), peer, first - 3_600_000);
    expect(directory.peers()).toEqual([peer]);
  });
});

describe("who wants our list", () => {
  test("gets it once a second at most, and at last as it is then", async () => {
    const { directory, read } = open();
    directory.hold(web1);
    directory.take(announce(0, [], true), peer);
    expect(read()).toEqual([[toPeer, announce(1, [web1])]]);
    for (let count = 0; count < 100; count += 1) directory.take(announce(0, [], true), peer);
    directory.take(announce(0, [], true), other);
    expect(read()).toEqual([[{ type: "manager", id: other.id }, announce(1, [web1])]]);
    directory.hold(web2);
    await pass(999);
    expect(read()).toEqual([]);
    await pass(1);
    expect(read()).toEqual([[toPeer, announce(2, [web1, web2])]]);
    directory.take(announce(0, [], true), peer);
    expect(read()).toEqual([]);
    await pass(1_000);
    expect(read()).toEqual([[toPeer, announce(2, [web1, web2])]]);
    await pass(10_000);
    expect([read(), vi.getTimerCount()]).toEqual([[], 0]);
  });

  test("and is asked for its own meanwhile is asked if that has not come by then", async () => {
    const { directory, read } = open();
    directory.take(announce(1, undefined), peer);
    directory.take(announce(2, undefined), peer);
    expect(read()).toEqual([[toPeer, announce(0, undefined, true)]]);
    await pass(1_000);
    expect(read()).toEqual([[toPeer, announce(0, undefined, true)]]);
    directory.take(announce(3, undefined), peer);
    directory.take(announce(3, [web1]), peer);
    await pass(1_000);
    expect(read()).toEqual([]);
  });

  test("gets nothing more when we are not connected", async () => {
    const { directory, read } = open();
    directory.connected();
    for (let count = 0; count < 2; count += 1) directory.take(announce(0, [], true), peer);
    read();
    directory.disconnected();
    await pass(1_000);
    expect([read(), vi.getTimerCount()]).toEqual([[], 0]);
  });
});

describe("a manager", () => {
  test.each<[string, (made: ReturnType<typeof open>) => unknown]>([
    [
      "that says good-bye",
      ({ directory }) => {
        directory.take({ type: "bye" }, peer);
      },
    ],
    [
      "of which somebody says that it is gone",
      ({ directory }) => {
        directory.drop(peer.id);
      },
    ],
    [
      "to which an answer cannot be sent",
      async ({ directory, passing }) => {
        passing.now = { type: "nobody" };
        directory.take(announce(9), peer);
        await pass(0);
      },
    ],
    [
      "that missed three reminders",
      async ({ directory }) => {
        directory.connected();
        await pass(120_000);
      },
    ],
  ])("%s is gone, with what it held", async (_, end) => {
    const made = open();
    made.directory.take(announce(1, [web1]), peer);
    await end(made);
    expect([made.directory.peers(), made.directory.all()]).toEqual([[], []]);
    expect(made.changed).toEqual([web1.id, web1.id]);
  });

  test("is not gone while its reminders come, nor while we hear nobody", async () => {
    const { directory } = open();
    directory.take(announce(1, [web1]), peer);
    await pass(600_000);
    directory.connected();
    for (let reminders = 0; reminders < 10; reminders += 1) {
      await pass(30_000);
      directory.take(announce(1), peer);
    }
    expect(directory.all()).toHaveLength(1);
  });

  test("of the same host is another one", () => {
    const { directory } = open();
    directory.take(announce(1, [web1]), peer);
    directory.take(announce(1, [web2]), newPeer(peer.host));
    expect(directory.all()).toHaveLength(2);
  });
});

describe("too much", () => {
  const vm = (number: number) => ({ id: `vm-${number}`, name: `vm${number}` });
  const warnings = () => {
    const warned: string[] = [];
    return { warned, log: { ...jsonLog(undefined), warn: (event: string) => void warned.push(event) } };
  };

  test("of VMs is passed over, and said once; there is room again when some are gone", () => {
    const { warned, log } = warnings();
    const { directory } = open(log);
    directory.take(
      announce(
        1,
        Array.from({ length: 100_000 }, (_, number) => vm(number)),
      ),
      peer,
    );
    directory.take(announce(1, [web1, web2]), other);
    directory.isHeldBy(web1, other);
    expect([directory.all().length, directory.byId(web1.id), warned]).toEqual([
      100_000,
      undefined,
      ["peers-over-limit"],
    ]);
    directory.drop(peer.id);
    directory.take(announce(2, [web1]), other);
    expect(directory.all()).toEqual([{ vm: web1, peer: other }]);
  });

  test("of managers is passed over, and asked for nothing", () => {
    const { warned, log } = warnings();
    const { directory, read } = open(log);
    for (let managers = 0; managers < 1_000; managers += 1) directory.take(announce(1, []), newPeer("d"));
    directory.take(announce(1, [web1]), peer);
    directory.take(announce(2), peer);
    expect([directory.peers().length, directory.all(), read(), warned]).toEqual([1_000, [], [], ["peers-over-limit"]]);
  });
});
