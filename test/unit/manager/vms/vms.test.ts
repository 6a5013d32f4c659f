import { describe, expect, test } from "vitest";
import { vmSelection } from "../../../../shared/api/schemas.ts";
import type { VmStatus } from "../../../../shared/vm-status.ts";
import { jsonLog } from "../../../../shared/log.ts";
import type { Store } from "../../../../manager/store/store.ts";
import { Metrics } from "../../../../manager/metrics.ts";
import type { Vm } from "../../../../manager/vms/vm.ts";
import { Vms } from "../../../../manager/vms/vms.ts";

const everybody = { name: "root", via: "test", role: "admin", vms: ["*"], keys: [""] } as const;
const noQuota = { perSecond: 1, burst: 1 };

function idOf(number: number): string {
  return `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
}

function vm(number: number, name: string): Vm {
  return { id: idOf(number), name, status: "Stopped", host: "h", channelPath: undefined };
}

/** Those of these names, numbered from 0. */
async function vmsNamed(...names: string[]): Promise<Vms> {
  return vmsKept({}, ...names);
}

async function vmsKept(part: Partial<Store>, ...names: string[]): Promise<Vms> {
  const store = {
    loadMirrors: () => Promise.resolve([]),
    pendingCounts: () => Promise.resolve({}),
    saveVms: () => Promise.resolve(),
    forgetVm: () => Promise.resolve(),
    ...part,
  } satisfies Partial<Store>;
  const known = names.map((name, number) => ({ vm: vm(number, name), inventory: "file", statusSince: 0 }));
  return Vms.load(known, {
    store: store as Partial<Store> as Store,
    log: jsonLog(undefined),
    metrics: new Metrics(),
    quotas: () => ({ bytes: noQuota, messages: noQuota }),
    receiptChanged: () => undefined,
    standingChanged: () => undefined,
    mirrorChanged: () => undefined,
    failed: (error) => {
      throw error;
    },
  });
}

function describeAs(vms: Vms, number: number, name: string): void {
  const { vm: previous } = vms.byId(idOf(number)) ?? { vm: vm(number, name) };
  vms.update({ type: "changed", isResync: false, vm: vm(number, name), inventory: "file", statusSince: 0, previous });
}

test("a guest agent that comes and goes is known, and not written down each time", async () => {
  const saved: (VmStatus | undefined)[] = [];
  const saveVms: Store["saveVms"] = ([known]) => {
    saved.push(known?.vm.status);
    return Promise.resolve();
  };
  const vms = await vmsKept({ saveVms }, "web1");
  const running: Vm = { ...vm(0, "web1"), status: "Running" };
  for (const isOpenInGuest of [false, true, false, undefined]) {
    const guestAgent = { via: "socket", path: "/run/qga.sock", isOpenInGuest } as const;
    const known = { vm: { ...running, guestAgent }, inventory: "file", statusSince: 7 };
    vms.update({ type: "changed", isResync: false, ...known, previous: running });
    expect(vms.byId(idOf(0))?.vm.guestAgent).toEqual(guestAgent);
  }
  expect(saved).toEqual(["Running"]);
  const gone = { vm: running, inventory: "file", statusSince: 7 };
  vms.update({ type: "removed", isResync: false, ...gone, previous: running });
  expect(saved).toEqual(["Running", "Stopped"]);
});

describe("a VM is found", () => {
  test("by its UUID in either case, and by its name", async () => {
    const vms = await vmsNamed("web1", "web2");
    expect(vms.resolve(everybody, idOf(1)).vm.name).toBe("web2");
    expect(vms.resolve(everybody, "web1").vm.id).toBe(idOf(0));
  });

  test("by its new name, and not by the old one, when it was renamed", async () => {
    const vms = await vmsNamed("web1", "web2");
    describeAs(vms, 0, "db1");
    expect(vms.resolve(everybody, "db1").vm.id).toBe(idOf(0));
    expect(() => vms.resolve(everybody, "web1")).toThrow("there is no VM 'web1'");
  });

  test("not any more when it was forgotten; another of its name is", async () => {
    const vms = await vmsNamed("web", "web");
    expect(() => vms.resolve(everybody, "web")).toThrow("2 VMs are named 'web'");
    await vms.forget(vms.resolve(everybody, idOf(0)));
    expect(vms.resolve(everybody, "web").vm.id).toBe(idOf(1));
    await vms.forget(vms.resolve(everybody, "web"));
    expect(() => vms.resolve(everybody, "web")).toThrow("there is no VM");
  });

  test("among those of its name that may be seen", async () => {
    const vms = await vmsNamed("web", "web");
    expect(vms.resolve({ ...everybody, vms: [idOf(1)] }, "web").vm.id).toBe(idOf(1));
  });
});

describe("a selection", () => {
  test("has each VM once, however often it is named", async () => {
    const vms = await vmsNamed("web1", "web2", "db1");
    const selected = vms.select(everybody, { names: ["web2", "web*", idOf(1), "web2"] });
    expect(selected.map(({ vm: { name } }) => name)).toEqual(["web2", "web1"]);
  });

  test("of names alone asks for each of these once whether it may be seen, and for no other", async () => {
    const names = Array.from({ length: 1_000 }, (_, number) => `vm${number}`);
    const vms = await vmsNamed(...names);
    let asked = 0;
    const who = {
      ...everybody,
      get vms() {
        asked += 1;
        return ["*"];
      },
    };
    expect(vms.select(who, { names: names.slice(0, 10) })).toHaveLength(10);
    expect(asked).toBe(10);
  });

  test("may name 10,000 VMs, and have 100 patterns", () => {
    const names = [...Array.from({ length: 9_900 }, (_, number) => `vm${number}`), ...patterns(100)];
    expect(vmSelection.safeParse({ names }).success).toBe(true);
  });

  test("may not name more than 10,000", () => {
    expect(vmSelection.safeParse({ names: Array.from({ length: 10_001 }, () => "vm") }).success).toBe(false);
  });

  test.each([
    [patterns(101), /at most 100 of the names may be patterns/],
    [["a".repeat(257)], /at most 256 characters/],
  ])("beyond that is refused, and says what is allowed", (names, reason) => {
    expect(
      vmSelection
        .safeParse({ names })
        .error?.issues.map(({ message }) => message)
        .join(),
    ).toMatch(reason);
  });
});

function patterns(count: number): string[] {
  return Array.from({ length: count }, (_, number) => `vm${number}*`);
}
