// A VM that goes from one host to another: live, or stopped here and started there; and one that two hosts have.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { EventPage, ShownEvent } from "../../shared/api/event-schemas.ts";
import type { KeyAnswer, Problem, Receipt } from "../../shared/api/schemas.ts";
import { RABBIT_HOOK_TIMEOUT_MS, RabbitUnderTest } from "../integration/support/rabbitmq.ts";
import type { Guest } from "./harness/guest.ts";
import { bootAt, migrate, movable, restoreAt } from "./harness/migrating-guest.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { waitFor } from "./harness/wait-for.ts";
import { saveGuestWithAgent } from "./support/guests.ts";
import { Host } from "./support/host.ts";
import { cacheOf, Sender, Watch } from "./support/numbered-traffic.ts";
import { everywhere, type PeerHost, PeerHosts, untilVm } from "./support/peer-hosts.ts";

const uuid = "172dd6f8-0000-4000-8000-0000000000a1";
const vm = "web1";
const minutes = { timeoutMs: 120_000 };

/** Messages that each sender sends before the migration begins, and after it. */
const SENT_BEFORE = 10;
const SENT_AFTER = 20;

let snapshot: Snapshot;
let rabbit: RabbitUnderTest;

beforeAll(async () => {
  // One after the other: both want the whole machine for their start.
  snapshot = await saveGuestWithAgent({ uuid, ...movable, agent: ["--limit", "262144"] });
  rabbit = await RabbitUnderTest.start();
}, RABBIT_HOOK_TIMEOUT_MS + 300_000);
afterAll(async () => {
  await rabbit.close();
  await snapshot.remove();
});

test("a migrated guest's agent answers on its new QEMU's socket, with all it had, while the old QEMU stands still", async () => {
  const directory = await mkdtemp(join(tmpdir(), "vmm-qmp-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  await using source = await restoreAt(snapshot, join(directory, "source.sock"));
  await using before = await Host.connect(source.channelPath);
  const { bootId, epoch } = await before.hello();
  await before.set("where", "here");
  await using target = await migrate(source, snapshot, join(directory, "target.sock"));
  expect(await source.qmp.execute("query-status")).toMatchObject({ status: "postmigrate", running: false });
  await using after = await Host.connect(target.channelPath);
  expect(await after.hello()).toMatchObject({ uuid, bootId, epoch, revision: 1 });
  expect(await after.keys()).toEqual({ where: "here" });
});

describe("a VM that is migrated live while messages flow", () => {
  test("does each that was accepted once, and watches on both hosts miss none", { timeout: 600_000 }, async () => {
    const { hosta, hostb } = await twoHosts();
    const source = stoppedAfterwards(await restoreAt(snapshot, hosta.qmpPath(vm)));
    await untilLinked(hosta);
    await untilVm(hostb, uuid, `${vm} of the other host`, ({ host }) => host === hosta.name);
    const watches = await Promise.all([hosta, hostb].map((host) => Watch.open(host, vm)));
    onTestFinished(() => {
      for (const watch of watches) watch[Symbol.dispose]();
    });
    const senders = [new Sender(hosta, vm), new Sender(hostb, vm)] as const;
    const over = new AbortController();
    const sending = Promise.all(senders.map((sender) => sender.run(over.signal)));
    const allSent = async (many: number): Promise<void> => {
      const goals = senders.map(({ accepted }) => accepted.length + many);
      const isDone = (): boolean => senders.every(({ accepted }, index) => accepted.length >= (goals[index] ?? 0));
      await Promise.race([waitFor(`${many} more messages`, isDone, minutes), sending]);
    };

    await allSent(SENT_BEFORE);
    const sentBefore = senders.map(({ accepted }) => accepted.length);
    const target = stoppedAfterwards(await migrate(source, snapshot, hostb.qmpPath(vm)));
    const sentMeanwhile = senders.map(({ accepted }, index) => accepted.length - (sentBefore[index] ?? 0));
    await source.qmp.execute("quit").catch(() => undefined); // the answer may get lost
    await allSent(SENT_AFTER);
    over.abort();
    await sending;
    const accepted = senders.flatMap((sender) => sender.accepted).sort();

    expect(Math.min(...sentMeanwhile), "messages were sent during the migration").toBeGreaterThan(0);
    await untilVm(hostb, uuid, "all delivered", ({ host, pending }) => host === hostb.name && pending === 0);
    await expectDoneOnce(target, accepted);
    await untilVm(hosta, uuid, "nothing that waits", ({ pending }) => pending === 0);
    expect(await everywhere(hosta)).toMatchObject([{ id: uuid, host: hostb.name, status: "Running" }]);
    for (const watch of watches) await expectNoneMissed(watch, accepted);
    for (const host of [hosta, hostb]) {
      await expectDelivered(host, accepted);
      await expectNumberedWithoutGap(host);
    }
  });
});

describe("a VM that is stopped here and started there", () => {
  test("does what was sent to it meanwhile there, once", { timeout: 600_000 }, async () => {
    const { hosta, hostb } = await twoHosts();
    const here = stoppedAfterwards(await restoreAt(snapshot, hosta.qmpPath(vm)));
    await untilLinked(hosta);
    await here.powerOff();
    await untilVm(hosta, uuid, "its end", ({ status }) => status === "Stopped");
    await untilVm(hostb, uuid, "its end", ({ status }) => status === "Stopped");
    const senders = [new Sender(hosta, vm), new Sender(hostb, vm)] as const;
    for (const sender of senders) for (let count = 0; count < 3; count += 1) await sender.send();
    const accepted = senders.flatMap((sender) => sender.accepted).sort();
    await untilVm(hosta, uuid, "messages that wait", ({ pending }) => pending === accepted.length);
    expect(await everywhere(hostb)).toMatchObject([{ id: uuid, host: hosta.name, status: "Stopped" }]);

    const there = stoppedAfterwards(await bootAt(here, snapshot, hostb.qmpPath(vm)));
    await untilVm(hostb, uuid, "all delivered", ({ host, link, pending }) => {
      return host === hostb.name && link.state === "up" && pending === 0;
    });
    await untilVm(hosta, uuid, "nothing that waits", ({ pending }) => pending === 0);
    await expectDoneOnce(there, accepted);
    const moved = (await ownEvents(hosta)).filter(({ type }) => type === "MESSAGE.MOVED");
    expect(moved.map(({ data }) => data["messageId"]).sort()).toEqual(accepted);
    for (const host of [hosta, hostb]) {
      await expectDelivered(host, accepted);
      await expectNumberedWithoutGap(host);
    }
    expect(await everywhere(hosta)).toMatchObject([{ id: uuid, host: hostb.name, status: "Running" }]);
  });
});

describe("a VM that runs on two hosts under one UUID", () => {
  test("is contested: both say so, others are refused, and users of each host reach their own", async () => {
    const hosts = await startHosts("hosta", "hostb", "hostc");
    const [hosta, hostb, hostc] = [hosts.at("hosta"), hosts.at("hostb"), hosts.at("hostc")];
    const guestOfA = stoppedAfterwards(await restoreAt(snapshot, hosta.qmpPath(vm)));
    await untilLinked(hosta);
    const guestOfB = stoppedAfterwards(await restoreAt(snapshot, hostb.qmpPath(vm)));
    await untilVm(hosta, uuid, "the other one", ({ contestedBy }) => contestedBy === hostb.name);
    await untilVm(hostb, uuid, "the other one", ({ contestedBy }) => contestedBy === hosta.name);

    const refused = await hostc.manager.post<Problem>(`/v1/vms/${uuid}/messages`, {
      method: "set",
      params: { entries: [{ key: "from", value: hostc.name }] },
    });
    expect(refused).toMatchObject({ status: 409, body: { code: "conflict" } });
    for (const [host, guest] of [
      [hosta, guestOfA],
      [hostb, guestOfB],
    ] as const) {
      expect(await host.manager.logged("vm-contested")).toMatchObject([{ id: uuid }]);
      await host.manager.set(vm, "from", host.name, { waitFor: "delivered", waitMs: 60_000 });
      const { body } = await host.manager.get<KeyAnswer>(`/v1/vms/${vm}/keys/from`);
      expect(body).toMatchObject({ from: "guest", entry: { value: host.name } });
      expect(await cacheOf(guest)).toMatchObject({ revision: 1, entries: [{ key: "from", value: host.name }] });
    }

    await guestOfB.kill();
    await untilVm(hosta, uuid, "itself alone", ({ contestedBy }) => contestedBy === undefined);
    await waitFor(
      `${vm} from ${hostc.name}`,
      async () => {
        const { status, body } = await hostc.manager.get<KeyAnswer>(`/v1/vms/${uuid}/keys/from`);
        return status === 200 && body.entry.value === hosta.name;
      },
      minutes,
    );
  });
});

async function startHosts(...names: string[]): Promise<PeerHosts> {
  const hosts = await PeerHosts.start(rabbit, names);
  onTestFinished(async ({ task }) => {
    if (task.result?.state === "fail") {
      for (const name of names) console.log(`${name}: ${(await hosts.at(name).manager.log()).slice(-8_000)}`);
    }
    await hosts[Symbol.asyncDispose]();
  });
  return hosts;
}

async function twoHosts(): Promise<{ hosta: PeerHost; hostb: PeerHost }> {
  const hosts = await startHosts("hosta", "hostb");
  return { hosta: hosts.at("hosta"), hostb: hosts.at("hostb") };
}

function stoppedAfterwards(guest: Guest): Guest {
  onTestFinished(() => guest.stop());
  return guest;
}

async function untilLinked(host: PeerHost): Promise<void> {
  await untilVm(host, uuid, "a link", ({ link }) => link.state === "up");
}

/** Each of them set its own key, and nothing counted the revision up beside them. */
async function expectDoneOnce(guest: Guest, accepted: readonly string[]): Promise<void> {
  const { revision, entries } = await cacheOf(guest);
  expect(entries.map(({ messageId }) => messageId).sort()).toEqual(accepted);
  expect(entries.map(({ key }) => key).sort()).toEqual(accepted);
  expect(revision).toBe(accepted.length);
}

/** Each key once, in the order of the changes. */
async function expectNoneMissed(watch: Watch, accepted: readonly string[]): Promise<void> {
  await waitFor("the watch to have told of all", () => watch.changes.length >= accepted.length, minutes);
  expect(watch.changes.map(({ key }) => key).sort()).toEqual(accepted);
  expect(watch.changes.map(({ revision }) => revision)).toEqual(accepted.map((_, index) => index + 1));
  expect(watch.hasEnded).toBe(false);
}

/** Whichever host is asked. */
async function expectDelivered({ manager }: PeerHost, accepted: readonly string[]): Promise<void> {
  for (const messageId of accepted) {
    const { status, body } = await manager.get<Receipt>(`/v1/messages/${messageId}`);
    expect({ messageId, status, state: body.state }).toEqual({ messageId, status: 200, state: "delivered" });
  }
}

async function expectNumberedWithoutGap(host: PeerHost): Promise<void> {
  const events = await ownEvents(host);
  expect(events.length).toBeGreaterThan(0);
  expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, index) => index + 1));
}

/** Of the VM, those that this manager made itself; asked for by the VM, they would be those of the manager that has it. */
async function ownEvents({ manager }: PeerHost): Promise<ShownEvent[]> {
  const { body: newest } = await manager.get<EventPage>("/v1/events?limit=1");
  const events: ShownEvent[] = [];
  let since = newest.next.replace(/\d+$/, "0");
  for (let hasMore = true; hasMore;) {
    const { body } = await manager.get<EventPage>(`/v1/events?since=${since}&limit=1000`);
    events.push(...body.events.filter(({ resourceUUID }) => resourceUUID === uuid));
    since = body.next;
    hasMore = body.more;
  }
  return events;
}
