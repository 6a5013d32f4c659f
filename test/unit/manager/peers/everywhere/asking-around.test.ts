/** Messages and savings of images, which are asked for by their own ids: whoever knows them answers. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { StreamEvent } from "../../../../../manager/api/event-stream.ts";
import { MisdirectedError } from "../../../../../manager/peers/caller.ts";
import { ANSWER_TIMEOUT_MS } from "../../../../../manager/peers/wire.ts";
import { pause, unlessAborted } from "../../../../../shared/abort.ts";
import type { Receipt } from "../../../../../shared/api/schemas.ts";
import { CommandError } from "../../../../../shared/cli/failure.ts";
import { type AskedOf, failureOf, Lab, lostTo, receiptOf, Source, TIME, web1 } from "./everywhere-lab.ts";

let lab: Lab;

beforeEach(() => {
  vi.useFakeTimers();
  lab = new Lab();
  lab.whereabouts.known.set(lab.kvm2.id, lab.kvm2);
  lab.whereabouts.known.set(lab.kvm3.id, lab.kvm3);
  lab.local = { getReceipt: unknownMessage, showImageSave: unknownSave };
});

afterEach(() => {
  lab.stop.abort();
  vi.useRealTimers();
});

function unknownMessage(): never {
  throw new CommandError("failed", "there is no message 'm1'", { messageId: "m1" });
}

function unknownSave(): never {
  throw new CommandError("failed", "there is no saving of an image 's1'", { unknown: true });
}

const waitMsOf = ({ asked }: AskedOf) => Number((asked.query as { waitMs?: string }).waitMs ?? 0);

/** Knows the message as it is, and holds back the answer as long as it is asked to. */
function knows(receipt: () => Receipt) {
  return async (of: AskedOf): Promise<Receipt> => {
    const { signal } = of.options;
    const waitMs = receipt().state === "queued" ? waitMsOf(of) : 0;
    if (waitMs > 0) await unlessAborted(signal, pause(waitMs, signal));
    return receipt();
  };
}

function receipt(query: object = {}) {
  return lab.handlers.getReceipt(lab.request({ params: { messageId: "m1" }, query }));
}

function others(kvm2: (of: AskedOf) => unknown, kvm3: (of: AskedOf) => unknown = unknownMessage): void {
  lab.caller.answers.set("kvm2", { getReceipt: kvm2 });
  lab.caller.answers.set("kvm3", { getReceipt: kvm3 });
}

describe("a receipt", () => {
  it("is this manager's when it knows the message", async () => {
    lab.local.getReceipt = () => receiptOf(web1);
    expect(await receipt()).toEqual(receiptOf(web1));
    expect(lab.caller.log).toEqual([]);
  });

  it("is of the first manager that knows the message; the others are not waited for", async () => {
    others(
      () => receiptOf(web1),
      () => new Promise(() => undefined),
    );
    expect(await receipt()).toEqual(receiptOf(web1));
    expect(lab.caller.asked[0]?.callee).toEqual({ peer: lab.kvm2, by: { type: "manager", id: lab.kvm2.id } });
    expect(lab.caller.asked.every(({ options }) => options.signal.aborted)).toBe(true);
  });

  it("is refused as at home when nobody knows the message", async () => {
    others(unknownMessage);
    expect(await failureOf(receipt())).toMatchObject({ code: "failed", message: "there is no message 'm1'" });
    lab.whereabouts.known.clear();
    expect(await failureOf(receipt())).toMatchObject({ code: "failed", message: "there is no message 'm1'" });
  });

  it("may be at a manager that cannot be asked, which is named", async () => {
    others(unknownMessage, () => Promise.reject(lostTo(lab.kvm3)));
    const failure = await failureOf(receipt());
    expect(failure).toMatchObject({ code: "unreachable", details: { hosts: ["kvm3"] } });
    expect(failure.message).toBe("there is no message 'm1' at the managers that answer, and those on kvm3 do not");
    others(() => Promise.reject(new MisdirectedError(undefined)));
    expect(await failureOf(receipt())).toMatchObject({ code: "unreachable", details: { hosts: ["kvm2"] } });
  });

  it("is unreachable when it is not here and the broker is away", async () => {
    lab.connection = { state: "disconnected", reason: "ECONNRESET" };
    const failure = await failureOf(receipt());
    expect(failure).toMatchObject({ code: "unreachable" });
    expect(failure.message).toBe(
      "there is no message 'm1' here, and managers on other hosts cannot be asked now: ECONNRESET",
    );
    expect(lab.caller.log).toEqual([]);
  });

  it("is waited for by the manager that knows the message, as long as is asked for", async () => {
    let state: Receipt["state"] = "queued";
    others(knows(() => receiptOf(web1, { state, ...(state === "delivered" && { deliveredAt: TIME }) })));
    lab.whereabouts.at(web1, lab.kvm2);
    const waited = receipt({ waitFor: "delivered", waitMs: 30_000 });
    await vi.advanceTimersByTimeAsync(29_000);
    state = "delivered";
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await waited).toMatchObject({ state: "delivered" });
    expect(lab.caller.asked.at(-1)).toMatchObject({ host: "kvm2", asked: { query: { waitFor: "delivered" } } });
    expect(lab.caller.asked.at(-1)?.options.timeoutMs).toBeGreaterThan(ANSWER_TIMEOUT_MS + 29_000);
  });

  it("is as it is then when the time is up", async () => {
    others(knows(() => receiptOf(web1)));
    const waited = receipt({ waitFor: "delivered", waitMs: 5_000 });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await waited).toMatchObject({ state: "queued" });
  });

  it("is asked of all again when the message goes after its VM to another manager", async () => {
    lab.known = [web1];
    lab.whereabouts.put(web1, { type: "here" });
    lab.local.getReceipt = ({ signal, query }) => {
      if ((query as { waitFor?: string }).waitFor === undefined) return receiptOf(web1);
      return new Promise((resolve) => {
        const answer = (): void => {
          resolve(receiptOf(web1));
        };
        signal.addEventListener("abort", answer);
        setTimeout(answer, (query as { waitMs: number }).waitMs);
      });
    };
    others(unknownMessage, () => receiptOf(web1, { state: "delivered", deliveredAt: TIME }));
    const waited = receipt({ waitFor: "delivered", waitMs: 30_000 });
    await vi.advanceTimersByTimeAsync(1_000);
    lab.whereabouts.at(web1, lab.kvm3);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(lab.caller.log).toEqual([]);
    // It has been handed over.
    lab.local.getReceipt = unknownMessage;
    await vi.advanceTimersByTimeAsync(3_000);
    expect(await waited).toMatchObject({ state: "delivered" });
  });

  it("is as it was last seen when the manager that knew it is lost for good", async () => {
    others(knows(() => receiptOf(web1)));
    lab.whereabouts.at(web1, lab.kvm2);
    const waited = receipt({ waitFor: "delivered", waitMs: 20_000 });
    await vi.advanceTimersByTimeAsync(1_000);
    others(() => Promise.reject(lostTo(lab.kvm2)));
    lab.whereabouts.put(web1, { type: "here" });
    await vi.advanceTimersByTimeAsync(19_000);
    expect(await waited).toMatchObject({ state: "queued" });
    expect(lab.caller.log.length).toBeLessThan(100);
  });

  it("that may not be asked for there is refused as there", async () => {
    others(() => Promise.reject(new CommandError("not-permitted", "alice@kvm1 may do nothing here")));
    expect(await failureOf(receipt())).toMatchObject({ code: "not-permitted" });
  });
});

describe("a saving of an image", () => {
  const save = {
    id: "s1",
    vm: web1,
    directory: "/srv/images",
    format: "qcow2",
    by: "alice@kvm1",
    state: "saving",
    createdAt: TIME,
  };
  const change = (progress: number): StreamEvent => ({ event: "changed", data: { ...save, progress } });

  beforeEach(() => {
    lab.caller.answers.set("kvm2", { showImageSave: unknownSave });
    lab.caller.answers.set("kvm3", {
      showImageSave: () => save,
      cancelImageSave: () => ({ ...save, state: "cancelled" }),
    });
  });

  it("is shown by whoever knows it, and cancelled there alone", async () => {
    expect(await lab.handlers.showImageSave(lab.request({ params: { id: "s1" } }))).toMatchObject({ state: "saving" });
    const cancelled = await lab.handlers.cancelImageSave(lab.request({ params: { id: "s1" } }));
    expect(cancelled).toMatchObject({ state: "cancelled" });
    expect(lab.caller.log.filter((row) => row.endsWith("cancelImageSave"))).toEqual(["kvm3 cancelImageSave"]);
  });

  it("is refused as at home when nobody knows it", async () => {
    lab.caller.answers.set("kvm3", { showImageSave: unknownSave });
    const failure = await failureOf(lab.handlers.cancelImageSave(lab.request({ params: { id: "s1" } })));
    expect(failure).toMatchObject({ code: "failed", details: { unknown: true } });
  });

  it("is followed to its end, also when its manager is lost in between", async () => {
    const sources: Source[] = [];
    lab.caller.streams.set("kvm3", {
      followImageSave: ({ options }) => {
        sources.push(new Source().until(options.signal));
        return sources.at(-1) ?? new Source();
      },
    });
    const told: unknown[] = [];
    const followed = (async () => {
      for await (const { data } of lab.handlers.followImageSave(lab.request({ params: { id: "s1" } }))) told.push(data);
    })();
    await vi.advanceTimersByTimeAsync(1);
    sources[0]?.give(change(10));
    await vi.advanceTimersByTimeAsync(1);
    sources[0]?.fail(lostTo(lab.kvm3, { isLost: true }));
    await vi.advanceTimersByTimeAsync(1_100);
    sources[1]?.give(change(20));
    sources[1]?.give({ event: "changed", data: { ...save, state: "done", endedAt: TIME } });
    await followed;
    expect(told).toMatchObject([{ progress: 10 }, { progress: 20 }, { state: "done" }]);
  });
});
