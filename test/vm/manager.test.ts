// The manager's link to a real guest over its real port, through everything that happens to machines.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { EventPage, ShownEvent } from "../../shared/api/event-schemas.ts";
import type { VmSummary } from "../../shared/api/schemas.ts";
import { ManagerUnderTest } from "../integration/support/managers.ts";
import { type Guest, restoreSnapshot } from "./harness/guest.ts";
import type { Snapshot } from "./harness/snapshot.ts";
import { waitFor } from "./harness/wait-for.ts";
import { saveGuestWithAgent } from "./support/guests.ts";
import { Host } from "./support/host.ts";
import { agent, agentSays } from "./support/programs.ts";

const uuid = "172dd6f8-0000-4000-8000-0000000000a1";
const cloneUuid = "172dd6f8-0000-4000-8000-0000000000b2";
const minutes = { timeoutMs: 120_000 };

let qmpDirectory: string;
let snapshot: Snapshot;
let guest: Guest;

beforeAll(async () => {
  qmpDirectory = await mkdtemp(join(tmpdir(), "vmm-qmp-"));
  const qmp = `unix:${join(qmpDirectory, "web1.sock")},server=on,wait=off`;
  snapshot = await saveGuestWithAgent({ uuid, qemuArgs: ["-qmp", qmp] });
});
afterAll(async () => {
  await snapshot.remove();
  await rm(qmpDirectory, { recursive: true });
});

beforeEach(async () => {
  guest = await restoreSnapshot(snapshot);
  return () => guest.stop();
});

const listed = (machine: Guest, name = "web1", id = uuid) => ({ name, uuid: id, socket: machine.channelPath });

/** A manager that knows the guest by a file. */
async function manage(): Promise<ManagerUnderTest> {
  const manager = await ManagerUnderTest.start([listed(guest)]);
  onTestFinished(() => manager[Symbol.asyncDispose]());
  return manager;
}

async function untilVm(manager: ManagerUnderTest, what: string, isSo: (vm: VmSummary) => boolean): Promise<VmSummary> {
  let seen = await manager.vm("web1");
  await waitFor(what, async () => isSo((seen = await manager.vm("web1"))), minutes);
  return seen;
}

/** The last event of that type, once there is one. */
async function untilEvent(manager: ManagerUnderTest, type: string): Promise<ShownEvent> {
  let last: ShownEvent | undefined;
  await waitFor(
    type,
    async () => {
      const { body } = await manager.get<EventPage>(`/v1/events?type=${type}`);
      last = body.events.at(-1);
      return last !== undefined;
    },
    minutes,
  );
  if (last === undefined) throw new Error(`no ${type}`);
  return last;
}

async function untilGreeted(manager: ManagerUnderTest, finding: string): Promise<void> {
  await waitFor(
    `a greeting with '${finding}'`,
    async () => (await manager.logged("greeted")).some(({ findings }) => (findings as string[]).includes(finding)),
    minutes,
  );
}

describe("the manager", () => {
  test("follows a guest through QMP: a message there, an answer back, and its end", async () => {
    const manager = await ManagerUnderTest.start([], { inventory: { qmp: [qmpDirectory] } });
    onTestFinished(() => manager[Symbol.asyncDispose]());
    const vm = await manager.untilLink(uuid, "up");
    expect(vm).toMatchObject({ id: uuid, status: "Running", channel: guest.channelPath, agent: { uuid } });

    const { messageId } = await manager.set(uuid, "job", "42", { waitFor: "delivered", waitMs: 60_000 });
    expect(await agentSays(guest, ["-g", "job"])).toBe("42");
    await agent(guest, ["--ack", "job", "--result", "done"]);
    await manager.untilReceipt(messageId, "acknowledged");
    await agent(guest, ["-p", "ready=yes"]);
    const answer = await manager.get(`/v1/vms/${uuid}/keys/ready`);
    expect(answer.body).toMatchObject({ from: "guest", entry: { value: "yes", setBy: "guest" } });
    await agent(guest, ["-e", "BACKUP.DONE"]);
    await untilEvent(manager, "GUEST.BACKUP.DONE");
    expect((await untilEvent(manager, "KEY.SET")).data).toMatchObject({ key: "ready", setBy: "guest" });

    await guest.kill();
    await waitFor("the crash", async () => (await manager.vm(uuid)).status === "Crashed", minutes);
    const crash = await untilEvent(manager, "VM.CRASHED");
    expect(crash).toMatchObject({ oldState: "Running", newState: "Crashed", data: { stages: ["DONE"] } });
    const last = await manager.get(`/v1/vms/${uuid}/keys/ready`);
    expect(last.body).toMatchObject({ from: "mirror", status: "Crashed", entry: { value: "yes" } });
  });

  test("notices a reboot, and delivers what was sent meanwhile", async () => {
    const manager = await manage();
    await manager.untilLink("web1", "up");
    const rebooted = guest.reset();
    const { messageId } = await manager.set("web1", "during", "1");
    await rebooted;
    await manager.untilReceipt(messageId, "delivered");
    await untilGreeted(manager, "rebooted");
    expect(await agentSays(guest, ["-g", "during"])).toBe("1");
  });

  test("notices a machine that went back to a snapshot, and begins a new epoch with it", async () => {
    const manager = await manage();
    const { agent: before } = await manager.untilLink("web1", "up");
    await manager.set("web1", "later", "1", { waitFor: "delivered", waitMs: 60_000 });
    await guest.kill();
    await using reverted = await restoreSnapshot(snapshot);
    await manager.list([listed(reverted)]);
    await untilGreeted(manager, "reverted");
    const { agent: after } = await manager.untilLink("web1", "up");
    expect(after?.bootId).toBe(before?.bootId);
    expect(after?.epoch).not.toBe(before?.epoch);
    await waitFor("the mirror", async () => (await manager.get("/v1/vms/web1/keys/later")).status === 404);
    await manager.set("web1", "again", "1", { waitFor: "delivered", waitMs: 60_000 });
    expect(await agentSays(reverted, ["-l"])).toBe('{"again":"1"}');
  });

  test("knows a clone as another VM, and says what it was cloned from", async () => {
    const manager = await manage();
    await manager.untilLink("web1", "up");
    await manager.set("web1", "role", "db", { waitFor: "delivered", waitMs: 60_000 });
    await guest.kill();
    await using clone = await guest.clone(cloneUuid);
    await manager.list([listed(guest), listed(clone, "web2", cloneUuid)]);
    await manager.untilLink("web2", "up");
    const greetings = await manager.logged("greeted");
    expect(greetings.find(({ id }) => id === cloneUuid)).toMatchObject({ clonedFrom: uuid });
    expect((await manager.get("/v1/vms/web2/keys")).body).toMatchObject({ entries: [] });
  });

  test("calls a channel that somebody else has held, never down, and takes it when it is free", async () => {
    const host = await Host.connect(guest.channelPath);
    await host.hello();
    const manager = await manage();
    const held = await untilVm(manager, "the holder", ({ link }) => link.state === "held");
    expect(held.link.holder?.pid).toBe(process.pid);
    const { messageId } = await manager.set("web1", "patient", "1");
    await host.client.close();
    await manager.untilReceipt(messageId, "delivered");
    const states = (await manager.logged("link")).map(({ state }) => state);
    expect(states).not.toContain("down");
  });

  test("follows an agent that is killed and started again", async () => {
    const manager = await manage();
    await manager.untilLink("web1", "up");
    await guest.shell("kill -9 $(cat /run/agent.pid)");
    await untilGreeted(manager, "agent-restarted");
    const { state } = await manager.set("web1", "still", "here", { waitFor: "delivered", waitMs: 60_000 });
    expect(state).toBe("delivered");
  });
});
