import { expect, describe, it } from "vitest";
import {
  GuestAgentProber,
  type GuestAgentProberOptions,
} from "../../../../../manager/monitor/guest-agent/guest-agent-prober.ts";
import { type Probe, unknown } from "../../../../../manager/monitor/probe.ts";
import type { GuestAgent, Vm } from "../../../../../manager/vms/vm.ts";
import { aborted } from "../../../../../shared/abort.ts";

const NEVER = new AbortController().signal;
const answered: Probe = { type: "answered" };
const missed: Probe = { type: "missed" };
const neverAnswered = unknown("it has never answered");

const OVER_SOCKET: GuestAgent = { via: "socket", path: "/run/qga.sock", isOpenInGuest: true };
const OVER_LIBVIRT: GuestAgent = { via: "libvirt", uri: "qemu:///system", isOpenInGuest: true };

function vm(guestAgent: GuestAgent | undefined, id = "a"): Vm {
  return { id, name: "web1", status: "Running", host: "host1", channelPath: undefined, guestAgent };
}

/** A prober whose guests do as the test says, however they are reached. */
class Story {
  finds: Probe = answered;
  asked = 0;
  readonly prober: GuestAgentProber;

  constructor(options: Partial<GuestAgentProberOptions> = {}) {
    const ask = () => {
      this.asked += 1;
      return Promise.resolve(this.finds);
    };
    this.prober = new GuestAgentProber({ intervalMs: () => 10_000, pingSocket: ask, virshPing: ask, ...options });
  }

  /** Settles when nothing of it is under way any more. */
  async probe(described: Vm): Promise<Probe> {
    const probe = await this.prober.probe(described, 2_000, NEVER);
    await new Promise((resolve) => setImmediate(resolve));
    return probe;
  }

  /** What a guest that answered, and hangs now, is found to be. */
  async hangs(described: Vm): Promise<Probe> {
    this.finds = answered;
    await this.probe(described);
    this.finds = missed;
    return this.probe(described);
  }
}

describe.each([
  ["on a socket", OVER_SOCKET],
  ["through libvirt", OVER_LIBVIRT],
])("a guest agent %s", (_, guestAgent) => {
  it("is missed when it answered before", async () => {
    const story = new Story();
    expect(await story.probe(vm(guestAgent))).toEqual(answered);
    expect(await story.hangs(vm(guestAgent))).toEqual(missed);
  });

  it("that never answered is unknown, and so it is after the manager's restart", async () => {
    const story = new Story();
    story.finds = missed;
    expect(await story.probe(vm(guestAgent))).toEqual(neverAnswered);
    expect(await story.probe(vm(guestAgent))).toEqual(neverAnswered);
  });

  it("has to answer again in each life of its VM", async () => {
    const story = new Story();
    await story.hangs(vm(guestAgent));
    story.prober.begun("a");
    expect(await story.probe(vm(guestAgent))).toEqual(neverAnswered);
    expect(await story.hangs(vm(guestAgent))).toEqual(missed);
    story.prober.forget("a");
    expect(await story.probe(vm(guestAgent))).toEqual(neverAnswered);
  });

  it("is judged by its own answers, not by another VM's", async () => {
    const story = new Story();
    await story.hangs(vm(guestAgent, "a"));
    expect(await story.probe(vm(guestAgent, "b"))).toEqual(neverAnswered);
  });

  it("whose port nothing has open is not asked", async () => {
    const story = new Story();
    const closed = vm({ ...guestAgent, isOpenInGuest: false });
    expect(await story.probe(closed)).toEqual(unknown("qemu-ga does not run in the guest"));
    expect(story.asked).toBe(0);
  });

  it("that may have ended unseen is heard, and not missed", async () => {
    const story = new Story();
    const unseen = vm({ ...guestAgent, isOpenInGuest: undefined });
    expect(await story.probe(unseen)).toEqual(answered);
    expect(await story.hangs(unseen)).toEqual(unknown("nothing tells whether qemu-ga runs; its port has no id"));
  });

  it("is not missed by a question that an earlier life was asked", async () => {
    const { promise, resolve } = Promise.withResolvers<Probe>();
    const ask = () => promise;
    const { prober } = new Story({ pingSocket: ask, virshPing: ask });
    const probing = prober.probe(vm(guestAgent), 2_000, NEVER);
    prober.begun("a");
    resolve(missed);
    expect(await probing).toEqual(unknown("the VM began anew"));
  });

  it("is asked no more once the prober is closed, which may happen twice", async () => {
    const story = new Story();
    await story.prober.close();
    await story.prober.close();
    expect(await story.probe(vm(guestAgent))).toEqual(unknown("the manager stops"));
    expect(story.asked).toBe(0);
  });
});

it("a VM without the channel is not asked", async () => {
  expect(await new Story().probe(vm(undefined))).toEqual(unknown("the VM has no channel for qemu-ga"));
});

it("at most eight are asked through libvirt at once, and whoever waits longest is the next", async () => {
  const asked: string[] = [];
  const answers: PromiseWithResolvers<Probe>[] = [];
  const ask = (_uri: string, id: string): Promise<Probe> => {
    asked.push(id);
    const answer = Promise.withResolvers<Probe>();
    answers.push(answer);
    return answer.promise;
  };
  const { prober } = new Story({ virshPing: ask });
  const ids = Array.from({ length: 10 }, (_, index) => `vm${index}`);
  const probing = ids.map((id) => prober.probe(vm(OVER_LIBVIRT, id), 2_000, NEVER));
  expect(asked).toEqual(ids.slice(0, 8));
  answers[3]?.resolve(answered);
  expect(await probing[3]).toEqual(answered);
  expect(asked).toEqual(ids.slice(0, 9));
  prober.forget("vm9");
  answers[0]?.resolve(answered);
  await probing[0];
  expect(asked).toEqual(ids.slice(0, 9));
  expect(await probing[9]).toMatchObject({ type: "unknown" });
  for (const { resolve } of answers) resolve(answered);
  await Promise.all(probing);
});

it("an answer that comes between two rounds is one that was heard", async () => {
  const { promise, resolve } = Promise.withResolvers<Probe>();
  const finds = [promise, Promise.resolve(missed)];
  const { prober } = new Story({ virshPing: () => finds.shift() ?? Promise.resolve(missed) });
  const stop = new AbortController();
  const probing = prober.probe(vm(OVER_LIBVIRT), 2_000, stop.signal);
  stop.abort();
  expect(await probing).toMatchObject({ type: "unknown" });
  resolve(answered);
  await new Promise((settled) => setImmediate(settled));
  expect(await prober.probe(vm(OVER_LIBVIRT), 2_000, NEVER)).toEqual(missed);
});

it("closing ends what is asked, and waits for it", async () => {
  let isEnded = false;
  const virshPing = async (...[, , , signal]: [string, string, number, AbortSignal]): Promise<Probe> => {
    await aborted(signal);
    isEnded = true;
    return unknown("ended");
  };
  const { prober } = new Story({ virshPing });
  const probing = prober.probe(vm(OVER_LIBVIRT), 2_000, NEVER);
  await prober.close();
  expect(isEnded).toBe(true);
  expect(await probing).toMatchObject({ type: "unknown" });
});
