import { beforeEach, describe, expect, it } from "vitest";
import { MisdirectedError } from "../../../../../manager/peers/caller.ts";
import type { VmList, VmSummary } from "../../../../../shared/api/schemas.ts";
import { failureOf, Lab, lostTo, summaryOf, web1, web2, web3 } from "./everywhere-lab.ts";

let lab: Lab;

beforeEach(() => {
  lab = new Lab();
  lab.whereabouts.known.set(lab.kvm3.id, lab.kvm3);
  lab.whereabouts.known.set(lab.kvm2.id, lab.kvm2);
});

function tell(vms: Record<"kvm1" | "kvm2" | "kvm3", VmSummary[]>): void {
  lab.local.listVms = () => ({ vms: vms.kvm1 });
  for (const host of ["kvm2", "kvm3"] as const) lab.caller.answers.set(host, { listVms: () => ({ vms: vms[host] }) });
}

async function list(): Promise<VmList> {
  return await lab.handlers.listVms(lab.request({ query: { everywhere: true } }));
}

const shown = ({ vms }: VmList) => vms.map(({ name, inventory }) => `${name} by ${inventory}`);
const by = (inventory: string, different: Partial<VmSummary> = {}) => summaryOf(web1, { inventory, ...different });

describe("the VMs of all managers", () => {
  it("are asked for at once, each manager for its own, with who was asked", async () => {
    tell({ kvm1: [summaryOf(web1)], kvm2: [summaryOf(web2)], kvm3: [summaryOf(web3)] });
    const { vms, managers } = await list();
    expect(vms.map(({ name }) => name)).toEqual(["web1", "web2", "web3"]);
    expect(managers).toEqual([lab.self, lab.kvm2, lab.kvm3].map(({ host, id }) => ({ host, id })));
    expect(lab.caller.asked.map(({ asked }) => asked.query)).toEqual([{}, {}]);
  });

  it("are told with a reason for each manager that does not answer", async () => {
    tell({ kvm1: [summaryOf(web1)], kvm2: [], kvm3: [] });
    lab.caller.answers.set("kvm2", { listVms: () => Promise.reject(lostTo(lab.kvm2)) });
    lab.caller.answers.set("kvm3", { listVms: () => Promise.reject(new MisdirectedError(undefined)) });
    const { vms, managers } = await list();
    expect(vms).toHaveLength(1);
    expect(managers?.map(({ reason }) => reason)).toEqual([
      undefined,
      "the manager on kvm2 vanished",
      "it is gone, or was started again",
    ]);
  });

  it("are refused as a whole when the broker is away", async () => {
    tell({ kvm1: [summaryOf(web1)], kvm2: [], kvm3: [] });
    lab.connection = { state: "disconnected", reason: "ECONNRESET" };
    expect(await failureOf(list())).toMatchObject({
      code: "unreachable",
      message: "managers on other hosts cannot be asked now: ECONNRESET",
    });
  });

  it("are each shown once, by who has it, when another manager remembers it", async () => {
    tell({ kvm1: [by("memory")], kvm2: [by("libvirt")], kvm3: [by("memory too", { heldBy: "kvm2" })] });
    lab.whereabouts.at(web1, lab.kvm2);
    expect(shown(await list())).toEqual(["web1 by libvirt"]);
  });

  it("are shown by who is known to have it when several say so", async () => {
    tell({ kvm1: [], kvm2: [by("one")], kvm3: [by("two")] });
    lab.whereabouts.at(web1, lab.kvm3);
    expect(shown(await list())).toEqual(["web1 by two"]);
  });

  it("are shown by who remembers it when its holder does not answer", async () => {
    tell({ kvm1: [by("memory")], kvm2: [], kvm3: [] });
    lab.whereabouts.at(web1, lab.kvm2);
    lab.caller.answers.set("kvm2", { listVms: () => Promise.reject(lostTo(lab.kvm2)) });
    expect((await list()).vms).toMatchObject([{ name: "web1", heldBy: "kvm2" }]);
  });

  it("are shown twice when two managers have it running", async () => {
    tell({ kvm1: [by("one")], kvm2: [by("two", { contestedBy: "kvm1" })], kvm3: [] });
    lab.whereabouts.put(web1, { type: "contested", vm: web1, peer: lab.kvm2 });
    const told = await list();
    expect(shown(told)).toEqual(["web1 by one", "web1 by two"]);
    expect(told.vms[0]).toMatchObject({ contestedBy: "kvm2" });
  });
});
