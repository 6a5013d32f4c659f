/** One request for VMs of several managers. */
import { beforeEach, describe, expect, it } from "vitest";
import type { StreamEvent } from "../../../../../manager/api/event-stream.ts";
import { messageIdFor } from "../../../../../manager/delivery/messages.ts";
import { MisdirectedError } from "../../../../../manager/peers/caller.ts";
import type { FleetResult, VmRef } from "../../../../../shared/api/schemas.ts";
import { CommandError } from "../../../../../shared/cli/failure.ts";
import type { AskedOf } from "./everywhere-lab.ts";
import {
  alice,
  allOf,
  failureOf,
  Lab,
  lostTo,
  receiptOf,
  TIME,
  unknownVm,
  web1,
  web2,
  web3,
} from "./everywhere-lab.ts";

const web4: VmRef = { id: "6ba7b810-9dad-11d1-80b4-00c04fd430c4", name: "db4" };
const all = [web1, web2, web3, web4];

interface Fleet {
  names: string[];
  request: { method: string; params: { messageId?: string } };
}

let lab: Lab;

/** web1 is here, web2 and web3 are on kvm2, db4 on kvm3. */
beforeEach(() => {
  lab = new Lab();
  lab.known = [web1];
  lab.whereabouts.put(web1, { type: "here" });
  lab.whereabouts.at(web2, lab.kvm2);
  lab.whereabouts.at(web3, lab.kvm2);
  lab.whereabouts.at(web4, lab.kvm3);
  lab.local.sendFleet = ({ body }) => answered(fleetIn(body));
  for (const host of ["kvm2", "kvm3"])
    lab.caller.streams.set(host, { sendFleet: ({ asked }) => answered(fleetIn(asked.body)) });
});

function fleetIn(body: unknown): Fleet {
  const { vms, request } = body as { vms: { names: string[] }; request: Fleet["request"] };
  return { names: vms.names, request };
}

function resultFor(id: string, { method }: Fleet["request"]): FleetResult {
  const vm = all.find((one) => one.id === id) ?? web1;
  if (method === "ping") return { vm, status: "Running", ping: { vm, roundTripMs: 1, uptimeMs: 5 } };
  return { vm, status: "Running", receipt: receiptOf(vm, { state: "delivered", deliveredAt: TIME }) };
}

/** As a manager does for VMs that it has. */
async function* answered({ names, request }: Fleet): AsyncGenerator<StreamEvent> {
  await Promise.resolve();
  yield { event: "begin", data: { vms: names.length } };
  for (const id of names) yield { event: "result", data: resultFor(id, request) };
  yield { event: "summary", data: { vms: names.length, done: names.length, queued: 0, failed: 0 } };
}

async function* failing(error: Error, before: StreamEvent[] = []): AsyncGenerator<StreamEvent> {
  await Promise.resolve();
  yield* before;
  throw error;
}

const set = (messageId?: string) => ({
  method: "set",
  params: { entries: [{ key: "a", value: "1" }], ...(messageId !== undefined && { messageId }) },
});

async function send(vms: object, request: object = set("f1"), who = alice) {
  const events = await allOf(lab.handlers.sendFleet(lab.request({ who, body: { vms, request } })));
  const told = events as StreamEvent[];
  const results = told.filter(({ event }) => event === "result").map(({ data }) => data as FleetResult);
  return { told, results, byName: new Map(results.map((result) => [result.vm.name, result])) };
}

const partOf = (host: string) => lab.caller.asked.filter((asked) => asked.host === host).map(bodyOf);

function bodyOf({ asked }: AskedOf): unknown {
  return asked.body;
}

describe("a fleet", () => {
  it("is one request to each manager, by the UUIDs of its VMs, and one stream of all results", async () => {
    const { told, byName } = await send({ all: true });
    expect(told[0]).toEqual({ event: "begin", data: { vms: 4 } });
    expect(told.at(-1)).toEqual({ event: "summary", data: { vms: 4, done: 4, queued: 0, failed: 0 } });
    expect([...byName.keys()].sort()).toEqual(["db4", "web1", "web2", "web3"]);
    expect(partOf("kvm2")).toEqual([{ vms: { names: [web2.id, web3.id] }, request: set("f1") }]);
    expect(partOf("kvm3")).toEqual([{ vms: { names: [web4.id] }, request: set("f1") }]);
    expect(lab.caller.asked[0]?.callee.by).toEqual({ type: "manager", id: lab.kvm2.id });
  });

  it("has one messageId for all managers when it had none", async () => {
    await send({ all: true }, set());
    const ids = ["kvm2", "kvm3"].map((host) => (partOf(host)[0] as Fleet).request.params.messageId);
    expect(ids[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(ids[1]).toBe(ids[0]);
  });

  it("of VMs that are all here is this manager's own", async () => {
    const { results } = await send({ names: [web1.id] });
    expect(results).toHaveLength(1);
    expect(lab.caller.log).toEqual([]);
  });

  it("takes patterns, names and UUIDs, each VM once, and only those that may be seen", async () => {
    const mixed = await send({ names: ["web*", "web2", web3.id.toUpperCase()] });
    expect([...mixed.byName.keys()].sort()).toEqual(["web1", "web2", "web3"]);
    expect(mixed.results).toHaveLength(3);
    const few = await send({ all: true }, set("f2"), { ...alice, vms: ["db*"] });
    expect([...few.byName.keys()]).toEqual(["db4"]);
  });

  it("is sent to nobody when a name is nowhere, or this manager refuses it", async () => {
    expect(await failureOf(send({ names: ["web1", "web2", "web9"] }))).toMatchObject({ details: { unknownVm: true } });
    lab.local.sendFleet = () => failing(new CommandError("not-permitted", "alice has the role 'read'"));
    expect(await failureOf(send({ all: true }))).toMatchObject({ code: "not-permitted" });
    expect(lab.caller.log).toEqual([]);
  });

  it("says that a name may be elsewhere when the broker is away", async () => {
    lab.connection = { state: "disconnected", reason: "ECONNRESET" };
    expect(await failureOf(send({ names: ["web9"] }))).toMatchObject({ code: "unreachable" });
  });

  it("has a result for each VM of a manager that is lost: unconfirmed for a change", async () => {
    const before = [
      { event: "begin", data: { vms: 2 } },
      { event: "result", data: resultFor(web2.id, set()) },
    ];
    lab.caller.streams.set("kvm2", { sendFleet: () => failing(lostTo(lab.kvm2, { isLost: true }), before) });
    const { told, byName } = await send({ all: true });
    expect(byName.get("web2")?.error).toBeUndefined();
    expect(byName.get("web3")?.error).toMatchObject({
      code: "unconfirmed",
      message: expect.stringMatching(
        /; it may .*, and sent again to many VMs with the messageId f1 it has one effect$/,
      ) as string,
      details: { messageId: "f1" },
    });
    expect(told.at(-1)?.data).toEqual({ vms: 4, done: 3, queued: 0, failed: 1 });
  });

  it("has a result for each VM of a manager that is lost: unreachable for a question", async () => {
    lab.caller.streams.set("kvm2", { sendFleet: () => failing(lostTo(lab.kvm2, { isLost: true })) });
    const { byName } = await send({ all: true }, { method: "ping" });
    expect(byName.get("web2")?.error).toMatchObject({ code: "unreachable", message: "the manager on kvm2 vanished" });
    expect(byName.get("web1")?.ping).toBeDefined();
  });

  it("has a result for a VM that its manager has left out", async () => {
    lab.caller.streams.set("kvm2", {
      sendFleet: ({ asked }) => answered({ ...fleetIn(asked.body), names: [web2.id] }),
    });
    const { byName } = await send({ all: true });
    expect(byName.get("web3")?.error).toMatchObject({ code: "unconfirmed" });
  });

  it("has a manager's refusal as the result of each of its VMs", async () => {
    lab.caller.streams.set("kvm2", { sendFleet: () => failing(new CommandError("not-permitted", "not here")) });
    const { byName } = await send({ all: true });
    expect(byName.get("web2")?.error).toMatchObject({ code: "not-permitted" });
    expect(byName.get("db4")?.error).toBeUndefined();
  });

  it("does not reach anybody else when the broker is away", async () => {
    lab.connection = { state: "disconnected", reason: "ECONNRESET" };
    for (const peer of [lab.kvm2, lab.kvm3])
      lab.caller.streams.set(peer.host, { sendFleet: () => failing(lostTo(peer)) });
    const { byName } = await send({ all: true });
    expect(byName.get("web1")?.error).toBeUndefined();
    expect(byName.get("web2")?.error).toMatchObject({ code: "unreachable" });
    expect(lab.caller.log).toEqual(["kvm2 sendFleet", "kvm3 sendFleet"]);
  });

  it.each([
    ["refuses it because a VM has moved", unknownVm(web3.id)],
    ["is another one by now", new MisdirectedError(undefined)],
  ])("asks VM by VM when a manager %s, under the ids that the fleet gives", async (_, refusal) => {
    lab.caller.streams.set("kvm2", {
      sendFleet: () => {
        lab.whereabouts.at(web3, lab.kvm3);
        return failing(refusal);
      },
    });
    for (const host of ["kvm2", "kvm3"])
      lab.caller.answers.set(host, { sendMessage: ({ asked }) => receiptFor(asked.params) });
    const { byName, told } = await send({ all: true });
    const one = lab.caller.asked.filter(({ asked }) => asked.endpoint === "sendMessage");
    expect(one.map(({ host, asked }) => [host, (asked.body as Fleet["request"]).params.messageId])).toEqual([
      ["kvm2", messageIdFor("f1", web2.id)],
      ["kvm3", messageIdFor("f1", web3.id)],
    ]);
    expect(byName.get("web3")).toMatchObject({ receipt: { state: "delivered" } });
    expect(told.at(-1)?.data).toEqual({ vms: 4, done: 4, queued: 0, failed: 0 });
  });

  it("says of a VM that is nowhere any more where it was", async () => {
    lab.caller.streams.set("kvm2", {
      sendFleet: () => {
        lab.whereabouts.put(web3, { type: "nowhere" });
        return failing(lostTo(lab.kvm2));
      },
    });
    lab.local.pingVm = () => {
      throw unknownVm(web3.id);
    };
    lab.caller.answers.set("kvm2", { pingVm: () => ({ vm: web2, roundTripMs: 1, uptimeMs: 1 }) });
    const { byName } = await send({ all: true }, { method: "ping" });
    expect(byName.get("web2")?.ping).toBeDefined();
    expect(byName.get("web3")?.error).toMatchObject({ message: "no manager has 'web3' now; it was on kvm2" });
  });

  it("passes on results as they come, and stops everybody when nobody reads on", async () => {
    let isStopped = false;
    lab.caller.streams.set("kvm2", {
      async *sendFleet({ options }) {
        yield { event: "begin", data: { vms: 2 } };
        await new Promise<void>((resolve) => {
          options.signal.addEventListener("abort", () => {
            isStopped = true;
            resolve();
          });
        });
      },
    });
    const body = { vms: { names: ["web1", "web2"] }, request: set("f1") };
    for await (const event of lab.handlers.sendFleet(lab.request({ body }))) if (event.event === "result") break;
    expect(isStopped).toBe(true);
  });
});

function receiptFor(params: unknown) {
  const { vm } = params as { vm: string };
  return receiptOf(all.find(({ id }) => id === vm) ?? web1, { state: "delivered", deliveredAt: TIME });
}
