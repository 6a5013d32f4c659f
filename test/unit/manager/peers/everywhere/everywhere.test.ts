/** Rows about one VM: who is asked, with what, and what becomes of it when the VM moves or its manager is lost. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MisdirectedError } from "../../../../../manager/peers/caller.ts";
import { ANSWER_TIMEOUT_MS, type Peer } from "../../../../../manager/peers/wire.ts";
import { CommandError } from "../../../../../shared/cli/failure.ts";
import { alice, failureOf, Lab, lostTo, receiptOf, summaryOf, unknownVm, web1, web2, web3 } from "./everywhere-lab.ts";

let lab: Lab;

beforeEach(() => {
  vi.useFakeTimers();
  lab = new Lab();
});

afterEach(() => {
  lab.stop.abort();
  vi.useRealTimers();
});

function show(vm: string) {
  return lab.handlers.showVm(lab.request({ params: { vm } }));
}

function set(vm: string, more: object = {}) {
  const body = { method: "set", params: { entries: [{ key: "a", value: "1" }] }, ...more };
  return lab.handlers.sendMessage(lab.request({ params: { vm }, body }));
}

/** kvm2 has web1, and kvm3 too if it is moved there. */
function atOthers(): void {
  lab.whereabouts.at(web1, lab.kvm2);
  for (const host of ["kvm2", "kvm3"]) {
    lab.caller.answers.set(host, { showVm: () => summaryOf(web1, { host }), sendMessage: () => receiptOf(web1) });
  }
}

describe("which VM is meant", () => {
  it("is our own by its name, also when others have one of that name", async () => {
    lab.known = [web1];
    lab.whereabouts.put(web1, { type: "here" });
    lab.whereabouts.at({ ...web2, name: "web1" }, lab.kvm2);
    lab.local.showVm = () => summaryOf(web1);
    expect(await show("web1")).toEqual(summaryOf(web1));
    expect(lab.caller.log).toEqual([]);
  });

  it("is another manager's by its name, and by its UUID in any case", async () => {
    atOthers();
    expect(await show("web1")).toMatchObject({ host: "kvm2" });
    expect(await show(web1.id.toUpperCase())).toMatchObject({ host: "kvm2" });
    expect(lab.localLog).toEqual([]);
  });

  it("is at another manager also when we know it from before", async () => {
    atOthers();
    lab.known = [web1];
    expect(await show("web1")).toMatchObject({ host: "kvm2" });
  });

  it("is our own when another manager has it running, too, and says so", async () => {
    lab.known = [web1];
    lab.whereabouts.put(web1, { type: "contested", vm: web1, peer: lab.kvm2 });
    lab.local.showVm = () => summaryOf(web1);
    expect(await show("web1")).toMatchObject({ contestedBy: "kvm2" });
  });

  it("is asked for by UUID when two managers have one of that name", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    lab.whereabouts.at({ ...web2, name: "web1" }, lab.kvm3);
    expect(await failureOf(show("web1"))).toMatchObject({ code: "usage", details: { ids: [web1.id, web2.id] } });
    expect((await failureOf(show("web1"))).message).toContain(`by its UUID: ${web1.id}, ${web2.id}`);
  });

  it("is not one that may not be seen", async () => {
    atOthers();
    lab.local.showVm = () => {
      throw unknownVm("web1");
    };
    const who = { ...alice, vms: ["db*"] };
    const failure = await failureOf(lab.handlers.showVm(lab.request({ who, params: { vm: "web1" } })));
    expect(failure).toMatchObject({ code: "failed", details: { unknownVm: true } });
    expect(lab.caller.log).toEqual([]);
  });

  it("is refused as at home when nobody has it, and as unreachable when nobody can be asked", async () => {
    lab.local.showVm = () => {
      throw unknownVm("web9");
    };
    expect(await failureOf(show("web9"))).toMatchObject({ code: "failed", details: { unknownVm: true } });
    lab.connection = { state: "disconnected", reason: "ECONNREFUSED 192.0.2.1:5672" };
    const failure = await failureOf(show("web9"));
    expect(failure).toMatchObject({ code: "unreachable", details: { reason: "ECONNREFUSED 192.0.2.1:5672" } });
    expect(failure.message).toBe(
      "there is no VM 'web9' here, and managers on other hosts cannot be asked now: ECONNREFUSED 192.0.2.1:5672",
    );
  });

  it("to forget is our own when we know it, wherever it is", async () => {
    atOthers();
    lab.known = [web1];
    lab.local.forgetVm = () => ({});
    await lab.handlers.forgetVm(lab.request({ params: { vm: "web1" } }));
    expect(lab.localLog).toEqual(["forgetVm"]);
    lab.known = [];
    lab.caller.answers.set("kvm2", { forgetVm: () => ({}) });
    await lab.handlers.forgetVm(lab.request({ params: { vm: "web1" } }));
    expect(lab.caller.asked).toMatchObject([{ host: "kvm2", options: { isChange: true } }]);
  });
});

describe("what the other manager is asked", () => {
  it("is by the VM's queue, for who asks here and with no more than their rights", async () => {
    atOthers();
    const who = { ...alice, role: "read", vms: ["web*"], keys: ["com."] } as const;
    await lab.handlers.showVm(lab.request({ who, params: { vm: "web1" } }));
    expect(lab.caller.asked).toMatchObject([
      {
        callee: { peer: lab.kvm2, by: { type: "vm", id: web1.id } },
        options: { timeoutMs: ANSWER_TIMEOUT_MS, isChange: false },
      },
    ]);
    expect(lab.caller.asked[0]?.asked).toEqual({
      endpoint: "showVm",
      who: { name: "alice", role: "read", vms: ["web*"], keys: ["com."] },
      params: { vm: web1.id },
    });
  });

  it("is a query as HTTP has it", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    lab.caller.answers.set("kvm2", {
      listEvents: () => ({ events: [], next: "00112233445566aa:7", more: false, missed: false }),
    });
    const query = { vm: ["web1"], values: true, limit: 5, type: ["VM.*"], since: undefined };
    await lab.handlers.listEvents(lab.request({ query }));
    expect(lab.caller.asked[0]?.asked.query).toEqual({ vm: [web1.id], values: "true", limit: "5", type: ["VM.*"] });
  });

  it("goes by the query's VM where the path has none, and stays here without one, with several of ours or with a pattern", async () => {
    lab.known = [web2, web3];
    lab.whereabouts.at(web1, lab.kvm2);
    lab.caller.answers.set("kvm2", { listAudit: () => ({ records: [] }), listImageSaves: () => ({ imageSaves: [] }) });
    await lab.handlers.listAudit(lab.request({ query: { vm: "web1" } }));
    await lab.handlers.listImageSaves(lab.request({ query: { vm: "web1" } }));
    expect(lab.caller.asked.map(({ asked }) => asked.query)).toEqual([{ vm: web1.id }, { vm: web1.id }]);
    lab.local = {
      listAudit: () => ({ records: [] }),
      listImageSaves: () => ({ imageSaves: [] }),
      listEvents: () => ({}),
    };
    await lab.handlers.listAudit(lab.request({ query: {} }));
    await lab.handlers.listImageSaves(lab.request({ query: {} }));
    for (const vm of [undefined, ["web2", "web3"], ["web*", "db*"]])
      await lab.handlers.listEvents(lab.request({ query: { vm } }));
    expect(lab.localLog).toEqual(["listAudit", "listImageSaves", "listEvents", "listEvents", "listEvents"]);
  });

  it("is refused for events where a VM of another host is one of several", async () => {
    lab.known = [web2];
    lab.whereabouts.at(web1, lab.kvm2);
    for (const vm of [
      ["web2", "web1"],
      ["web*", "web1"],
    ]) {
      expect(await failureOf(lab.handlers.listEvents(lab.request({ query: { vm } })))).toMatchObject({
        code: "usage",
        message: "events of VMs of other hosts are told one VM at a time; ask for 'web1' alone",
      });
      expect(() => lab.handlers.followEvents(lab.request({ query: { vm } }))).toThrow("ask for 'web1' alone");
    }
    expect([...lab.localLog, ...lab.caller.log]).toEqual([]);
  });

  it("is no change when it is a ping, and takes as long as it may hold back the answer", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", {
      pingVm: () => ({ vm: web1, roundTripMs: 1, uptimeMs: 5 }),
      sendMessage: () => receiptOf(web1),
    });
    await lab.handlers.pingVm(lab.request({ params: { vm: "web1" } }));
    await set("web1", { waitFor: "delivered", waitMs: 60_000 });
    await set("web1", { waitFor: "delivered" });
    expect(lab.caller.asked.map(({ options }) => [options.isChange, options.timeoutMs])).toEqual([
      [false, ANSWER_TIMEOUT_MS],
      [true, ANSWER_TIMEOUT_MS + 60_000],
      [true, ANSWER_TIMEOUT_MS + 10_000],
    ]);
  });

  it("is answered in this version's shape, or by nobody", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    lab.caller.answers.set("kvm2", { showVm: () => ({ id: web1.id }), sendMessage: () => ({}) });
    expect(await failureOf(show("web1"))).toMatchObject({ code: "failed" });
    expect((await failureOf(show("web1"))).message).toContain(
      "the manager on kvm2 does not answer as one of this version",
    );
    expect(await failureOf(set("web1"))).toMatchObject({ code: "unconfirmed" });
  });

  it("is refused as the other manager refuses it", async () => {
    lab.whereabouts.at(web1, lab.kvm2);
    const refusal = new CommandError("not-permitted", "alice@kvm1 has the role 'read', and this needs 'write'");
    lab.caller.answers.set("kvm2", { sendMessage: () => Promise.reject(refusal) });
    expect(await failureOf(set("web1"))).toBe(refusal);
  });
});

describe("a VM that has moved meanwhile", () => {
  it("is asked for at once where the wrong manager says that it is", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(new MisdirectedError(lab.kvm3)) });
    expect(await show("web1")).toMatchObject({ host: "kvm3" });
    expect(lab.whereabouts.of(web1.id)).toMatchObject({ peer: lab.kvm3 });
  });

  it("is waited for, two seconds at a time, and asked for when it is found", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(new MisdirectedError(undefined)) });
    const shown = show("web1");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(lab.caller.log).toEqual(["kvm2 showVm"]);
    lab.whereabouts.at(web1, lab.kvm3);
    expect(await shown).toMatchObject({ host: "kvm3" });
    expect(lab.whereabouts.listeners).toBe(0);
  });

  it("is asked for here when it has come here", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(new MisdirectedError(lab.self)) });
    lab.local.showVm = () => summaryOf(web1);
    const shown = show("web1");
    await vi.advanceTimersByTimeAsync(100);
    lab.known = [web1];
    lab.whereabouts.put(web1, { type: "here" });
    expect(await shown).toMatchObject({ host: "kvm1" });
  });

  it("is given up after three attempts", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(new MisdirectedError(undefined)) });
    const failure = failureOf(show("web1"));
    await vi.advanceTimersByTimeAsync(4_000);
    expect((await failure).message).toBe("no manager has 'web1' now; it was on kvm2");
    expect(await failure).toMatchObject({ code: "unreachable" });
    expect(lab.caller.log).toHaveLength(3);
  });

  it("is given up when nobody is known to have it any more", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(new MisdirectedError(undefined)) });
    const failure = failureOf(show("web1"));
    await vi.advanceTimersByTimeAsync(100);
    lab.whereabouts.put(web1, { type: "nowhere" });
    await vi.advanceTimersByTimeAsync(2_000);
    expect((await failure).message).toBe("no manager has 'web1' now; it was on kvm2");
    expect(lab.caller.log).toHaveLength(1);
  });

  it("is not waited for when whoever asks has gone", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(new MisdirectedError(undefined)) });
    const failure = failureOf(show("web1"));
    await vi.advanceTimersByTimeAsync(100);
    lab.stop.abort(new CommandError("unreachable", "the client went away"));
    expect((await failure).message).toBe("the client went away");
  });
});

describe("a manager that is lost before it answers", () => {
  it("is asked again once by who only asks, when somebody else has the VM", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(lostTo(lab.kvm2)) });
    const shown = show("web1");
    await vi.advanceTimersByTimeAsync(500);
    lab.whereabouts.at(web1, lab.kvm3);
    expect(await shown).toMatchObject({ host: "kvm3" });
  });

  it("is not asked again a second time", async () => {
    atOthers();
    const lostAndMoved = (peer: Peer, next: Peer) => ({
      showVm: () => {
        lab.whereabouts.at(web1, next);
        return Promise.reject(lostTo(peer));
      },
    });
    lab.caller.answers.set("kvm2", lostAndMoved(lab.kvm2, lab.kvm3));
    lab.caller.answers.set("kvm3", lostAndMoved(lab.kvm3, lab.kvm2));
    expect(await failureOf(show("web1"))).toMatchObject({
      code: "unreachable",
      message: "the manager on kvm3 vanished",
    });
    expect(lab.caller.log).toEqual(["kvm2 showVm", "kvm3 showVm"]);
  });

  it("is one that lost the VM while it was asked, too", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", {
      showVm: () => {
        lab.whereabouts.at(web1, lab.kvm3);
        return Promise.reject(lostTo(lab.kvm3, { isMoved: true }));
      },
    });
    expect(await show("web1")).toMatchObject({ host: "kvm3" });
  });

  it("fails who only asks, when the VM is nowhere else", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(lostTo(lab.kvm2)) });
    const failure = failureOf(show("web1"));
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await failure).toMatchObject({ code: "unreachable", message: "the manager on kvm2 vanished" });
    expect(lab.caller.log).toHaveLength(1);
  });

  it("fails at once when the broker is away", async () => {
    atOthers();
    lab.connection = { state: "disconnected", reason: "ECONNRESET" };
    lab.caller.answers.set("kvm2", { showVm: () => Promise.reject(lostTo(lab.kvm2)) });
    expect(await failureOf(show("web1"))).toMatchObject({ code: "unreachable" });
  });

  it("is not asked again for a guest that does not answer", async () => {
    atOthers();
    const silent = new CommandError("unreachable", "'web1' does not answer: its link is silent", { vm: "web1" });
    lab.caller.answers.set("kvm2", { infoVm: () => Promise.reject(silent) });
    expect(await failureOf(lab.handlers.infoVm(lab.request({ params: { vm: "web1" } })))).toBe(silent);
  });

  it("leaves a change unconfirmed, with the id under which it can be sent again", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", {
      sendMessage: () => Promise.reject(new CommandError("unconfirmed", "kvm2 vanished", { host: "kvm2" })),
    });
    const failure = await failureOf(set("web1"));
    const { messageId } = (lab.caller.asked[0]?.asked.body as { params: { messageId: string } }).params;
    expect(messageId).toMatch(/^[0-9a-f]{32}$/);
    expect(failure).toMatchObject({ code: "unconfirmed", details: { host: "kvm2", messageId } });
    expect(failure.message).toBe(
      `kvm2 vanished; sent again to this VM with the messageId ${messageId} it has one effect`,
    );
    expect(lab.caller.log).toHaveLength(1);
  });

  it("keeps the id that a change has, also where it is sent to the next manager", async () => {
    atOthers();
    lab.caller.answers.set("kvm2", { sendMessage: () => Promise.reject(new MisdirectedError(lab.kvm3)) });
    await set("web1", { params: { messageId: "job-1", entries: [] } });
    lab.whereabouts.at(web1, lab.kvm2);
    await set("web1");
    const ids = lab.caller.asked.map(({ asked }) => (asked.body as { params: { messageId: string } }).params.messageId);
    expect(ids).toEqual(["job-1", "job-1", ids[2], ids[2]]);
    expect(lab.caller.log).toEqual(["kvm2 sendMessage", "kvm3 sendMessage", "kvm2 sendMessage", "kvm3 sendMessage"]);
  });
});

describe("a change that waits here", () => {
  it("is answered as it is when its VM moves away", async () => {
    lab.known = [web1];
    lab.whereabouts.put(web1, { type: "here" });
    lab.local.sendMessage = ({ signal }) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          resolve(receiptOf(web1));
        });
      });
    const sent = set("web1", { waitFor: "delivered", waitMs: 60_000 });
    await vi.advanceTimersByTimeAsync(10);
    lab.whereabouts.at(web1, lab.kvm2);
    expect(await sent).toMatchObject({ state: "queued" });
    expect(lab.whereabouts.listeners).toBe(0);
  });
});

describe("the list of one manager", () => {
  it("says of its VMs who else has them", async () => {
    lab.local.listVms = () => ({ vms: [summaryOf(web1), summaryOf(web2)] });
    lab.whereabouts.at(web1, lab.kvm2);
    lab.whereabouts.put(web2, { type: "contested", vm: web2, peer: lab.kvm3 });
    expect(await lab.handlers.listVms(lab.request({ query: {} }))).toEqual({
      vms: [summaryOf(web1, { heldBy: "kvm2" }), summaryOf(web2, { contestedBy: "kvm3" })],
    });
  });
});
