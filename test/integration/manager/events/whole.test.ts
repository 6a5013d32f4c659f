/** What happens in a real guest and in a real manager, as events: to whom they are shown, and what they never carry. */
import { execFile } from "node:child_process";
import { mkdir, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { EventPage, ImageSave, ShownEvent, Subscription } from "../../../../shared/api/event-schemas.ts";
import { AgentUnderTest } from "../../support/agents.ts";
import { type Credentials, ManagerUnderTest } from "../../support/managers.ts";

const SOON = { timeout: 30_000, interval: 50 };
const password = "correct horse battery";
const uuid = "2a0c5dc1-1111-4222-8333-944445555666";

let agent: AgentUnderTest;
let manager: ManagerUnderTest;

/** A command sink that writes down every event it is given, a line each. */
const written = (): string => join(agent.directory, "written");

beforeEach(async () => {
  agent = await AgentUnderTest.start();
  const commands = { write: { run: ["/bin/sh", "-c", `cat >> ${written()}`] } };
  manager = await ManagerUnderTest.start([{ name: "web1", uuid, socket: agent.channelPath }], { events: { commands } });
  await manager.untilLink("web1", "up");
});

afterEach(async () => {
  await manager[Symbol.asyncDispose]();
  await agent[Symbol.asyncDispose]();
});

async function events(query = "", who?: Credentials): Promise<ShownEvent[]> {
  const { status, body } = await manager.call<EventPage>("GET", `/v1/events?limit=1000${query}`, undefined, who);
  expect(status).toBe(200);
  return body.events;
}

function untilEvent(query: string, isIt: (event: ShownEvent) => boolean = () => true): Promise<ShownEvent> {
  return vi.waitFor(async () => {
    const found = (await events(query)).findLast(isIt);
    if (found === undefined) throw new Error(`no such event: ${query}`);
    return found;
  }, SOON);
}

async function user(name: string, rights: object): Promise<Credentials> {
  expect((await manager.call("PUT", `/v1/users/${name}`, { ...rights, password })).status).toBe(200);
  return { user: name, password };
}

describe("events of a guest", () => {
  test("a key that a program sets is KEY.SET, without its value unless that is asked for", async () => {
    await agent.run("-p", "com.example.ready=yes");
    const event = await untilEvent("&type=KEY.SET");
    expect(event).toMatchObject({
      source: "management-server",
      category: "ResourceStateEvent",
      resourceType: "VirtualMachine",
      resourceUUID: uuid,
      resourceName: "web1",
      data: { key: "com.example.ready", setBy: "guest" },
    });
    expect(event.data).not.toHaveProperty("value");
    const [withValue] = await events("&type=KEY.SET&values=true");
    expect(withValue?.data["value"]).toBe("yes");
    expect(withValue?.id).toBe(event.id);

    await agent.run("-r", "com.example.ready");
    await untilEvent("&type=KEY.DELETED", ({ data }) => data["key"] === "com.example.ready");
  });

  test("what a program says with agent -e comes with the manager's source and the manager's name of the VM", async () => {
    const event = untilEvent("&type=GUEST.*");
    await agent.run("-e", "BACKUP.DONE");
    expect(await event).toMatchObject({
      source: "guest",
      category: "ActionEvent",
      type: "GUEST.BACKUP.DONE",
      resourceUUID: uuid,
      resourceName: "web1",
    });
  });

  test("an event of a guest is never one of another type, however it is called", async () => {
    const client = await agent.run("-e", "VM.STOPPED");
    expect(client.exitCode).toBe(0);
    const event = await untilEvent("&type=GUEST.*");
    expect(event.type).toBe("GUEST.VM.STOPPED");
    expect(await events("&type=VM.STOPPED")).toEqual([]);
    expect((await agent.run("-e", "lower case")).exitCode).not.toBe(0);
  });

  test("said while the manager was away is an event when it is back, once", async () => {
    await manager.kill("SIGKILL");
    await agent.run("-e", "WHILE.AWAY");
    await agent.run("-p", "com.example.while=away");
    await manager.start();
    await untilEvent("&type=GUEST.*");
    const set = await untilEvent("&type=KEY.SET", ({ data }) => data["key"] === "com.example.while");
    expect(set.isResync).toBe(true);
    await manager.kill("SIGTERM");
    await manager.start();
    await manager.untilLink("web1", "up");
    expect(await events("&type=GUEST.*")).toHaveLength(1);
    expect((await events("&type=KEY.SET")).filter(({ data }) => data["key"] === "com.example.while")).toHaveLength(1);
  });

  test("a secret is named and never shown, nor kept in the log of events", async () => {
    const secret = "tHe-secret-Of-this-test";
    const entries = [{ key: "com.example.password", value: secret, secret: true }];
    await manager.send("web1", { method: "set", params: { entries } });
    const event = await untilEvent("&type=KEY.SET&values=true");
    expect(event.data).toMatchObject({ key: "com.example.password", secret: true });
    expect(JSON.stringify(await events("&values=true"))).not.toContain(secret);
    await manager.kill("SIGTERM");
    for (const file of await readdir(manager.stateDirectory)) {
      expect((await readFile(join(manager.stateDirectory, file))).includes(secret), file).toBe(false);
    }
  });
});

describe("events of a message", () => {
  test("tell its way from being sent to being acknowledged, each with a number of the VM's own", async () => {
    const { messageId } = await manager.set("web1", "com.example.role", "frontend");
    await manager.untilReceipt(messageId, "delivered");
    await agent.run("-g", "com.example.role");
    await agent.run("--ack", "com.example.role", "--result", "done");
    await manager.untilReceipt(messageId, "acknowledged");
    const types = ["MESSAGE.SEND", "MESSAGE.QUEUED", "MESSAGE.DELIVERED", "MESSAGE.READ", "MESSAGE.ACKNOWLEDGED"];
    const told = await vi.waitFor(async () => {
      const ofIt = (await events()).filter(({ type, data }) => type !== "KEY.SET" && data["messageId"] === messageId);
      expect(ofIt.map(({ type }) => type).sort()).toEqual([...types].sort());
      return ofIt;
    }, SOON);
    expect(told.find(({ type }) => type === "MESSAGE.DELIVERED")).toMatchObject({
      oldState: "queued",
      newState: "delivered",
    });
    expect(JSON.stringify(told)).not.toContain("frontend");
    const sequences = (await events("&vm=web1")).map(({ sequence }) => sequence);
    expect(sequences).toEqual(sequences.map((_, index) => index + 1));
  });
});

describe("who sees events", () => {
  test("somebody limited to keys and VMs sees no others, nor those of the manager", async () => {
    const who = await user("app", { role: "read", keys: ["app."], vms: ["web*"] });
    await agent.run("-p", "app.a=1");
    await agent.run("-p", "other.b=1");
    await untilEvent("&type=KEY.SET", ({ data }) => data["key"] === "other.b");
    const keys = (await events("&type=KEY.SET", who)).map(({ data }) => data["key"]);
    expect(keys).toEqual(["app.a"]);
    const nobody = await user("elsewhere", { role: "read", vms: ["db*"] });
    expect(await events("", nobody)).toEqual([]);
  });

  test("a subscription carries what its owner may see, as their rights are now, and nothing once they are gone", async () => {
    const who = await user("app", { role: "write", keys: ["app."] });
    const subscription = { name: "mine", endpoints: ["command:write"], filter: { types: ["KEY.SET"] }, values: true };
    const made = await manager.call<Subscription>("POST", "/v1/subscriptions", subscription, who);
    expect(made.status).toBe(200);
    const lines = async (): Promise<Record<string, unknown>[]> => {
      const text = await readFile(written(), "utf8").catch(() => "");
      return text
        .split("\n")
        .slice(0, -1)
        .map((line) => (JSON.parse(line) as { data: Record<string, unknown> }).data);
    };
    const settled = async (): Promise<void> => {
      const last = await manager.get<EventPage>("/v1/events?limit=1");
      await vi.waitFor(async () => {
        const { body } = await manager.get<{ sinks: { id: string; backlog: number }[] }>("/v1/sinks");
        expect(body.sinks.find(({ id }) => id.startsWith(made.body.id))?.backlog).toBe(0);
      }, SOON);
      expect(last.status).toBe(200);
    };
    await agent.run("-p", "other.b=1");
    await agent.run("-p", "app.a=1");
    await untilEvent("&type=KEY.SET", ({ data }) => data["key"] === "app.a");
    await settled();
    expect(await lines()).toMatchObject([{ key: "app.a", value: "1" }]);

    await user("app", { keys: ["nothing."] });
    await agent.run("-p", "app.a=2");
    await untilEvent("&type=KEY.SET&values=true", ({ data }) => data["value"] === "2");
    await settled();
    expect(await lines()).toHaveLength(1);
    expect((await manager.call("DELETE", "/v1/users/app")).status).toBe(200);
    expect((await manager.get<{ subscriptions: [] }>("/v1/subscriptions")).body.subscriptions).toEqual([]);
    await user("app", { role: "write" });
    await agent.run("-p", "nothing.at=all");
    await untilEvent("&type=KEY.SET", ({ data }) => data["key"] === "nothing.at");
    expect((await manager.get<{ sinks: [] }>("/v1/sinks")).body.sinks).toEqual([]);
    expect(await lines()).toHaveLength(1);
  });

  test("nobody sees or changes the subscription of somebody else, but an admin", async () => {
    const [one, other] = [await user("one", { role: "write" }), await user("other", { role: "write" })];
    const reader = await user("reader", { role: "read" });
    const made = await manager.call<Subscription>(
      "POST",
      "/v1/subscriptions",
      { name: "x", endpoints: ["command:write"] },
      one,
    );
    const path = `/v1/subscriptions/${made.body.id}`;
    expect((await manager.call("GET", path, undefined, other)).status).toBe(404);
    expect((await manager.call("DELETE", path, undefined, other)).status).toBe(404);
    expect((await manager.call("POST", `/v1/sinks/${made.body.id}.0/test`, {}, other)).status).toBe(404);
    expect((await manager.call("GET", path)).status).toBe(200);
    const refused = await manager.call(
      "POST",
      "/v1/subscriptions",
      { name: "y", endpoints: ["command:write"] },
      reader,
    );
    expect(refused.status).toBe(403);
  });

  test.each([
    ["https://127.0.0.1/", "a loopback address"],
    ["https://[::ffff:10.0.0.1]/", "a private address"],
    ["http://example.com/", "https"],
    ["command:/bin/sh", "name"],
    ["command:constructor", "constructor"],
    ["file:///etc/passwd", "https"],
    ["mailto:a@example.com", "mail"],
    ["amqp://guest:sEcret@127.0.0.1/", "127.0.0.1"],
  ])("an endpoint %s is refused, which changes nothing", async (endpoint, reason) => {
    const { status, body } = await manager.post<{ detail: string }>("/v1/subscriptions", {
      name: "x",
      endpoints: [endpoint],
    });
    expect(status).toBeGreaterThanOrEqual(400);
    expect(body.detail).toContain(reason);
    expect(body.detail).not.toContain("sEcret");
    expect((await manager.get<{ subscriptions: [] }>("/v1/subscriptions")).body.subscriptions).toEqual([]);
  });
});

describe("saving an image", () => {
  test("of a VM that only the configuration knows the disk of, when it is off", async () => {
    const disk = join(manager.directory, "web2.raw");
    const images = join(manager.directory, "images");
    await mkdir(images);
    await promisify(execFile)("qemu-img", ["create", "-q", "-f", "raw", disk, "8M"]);
    await manager.list([{ name: "web2", uuid, socket: join(manager.directory, "none") }]);
    const disks = { web2: [{ name: "vda", path: disk, format: "raw" }] };
    await manager.configure({ images: { directories: [images], disks } });
    manager.signal("SIGHUP");
    await vi.waitFor(async () => {
      expect((await manager.vm(uuid)).name).toBe("web2");
      expect(await manager.logged("reloaded")).toHaveLength(1);
    }, SOON);
    const asked = await manager.post<ImageSave>(`/v1/vms/${uuid}/image-saves`, { directory: images });
    expect(asked.status).toBe(200);
    const saved = await vi.waitFor(async () => {
      const { body } = await manager.get<ImageSave>(`/v1/image-saves/${asked.body.id}`);
      expect(body).toMatchObject({ state: "done" });
      return body;
    }, SOON);
    const { stdout } = await promisify(execFile)("qemu-img", ["compare", disk, saved.image?.path ?? ""]);
    expect(stdout).toContain("identical");
    const told = (await events("&type=IMAGE.SAVE")).map(({ newState }) => newState);
    expect(told).toEqual(["Scheduled", "Started", "Completed"]);
  });
});

describe("a sink of a subscription", () => {
  test("is tried, gives up, keeps dead letters, delivers again, and stands where it stood after a restart", async () => {
    const made = await manager.post<Subscription>("/v1/subscriptions", {
      name: "x",
      endpoints: ["command:write"],
      filter: { types: ["GUEST.*"] },
    });
    const sink = `/v1/sinks/${made.body.id}.0`;
    const tested = await manager.post<{ outcome: string }>(`${sink}/test`, {});
    expect(tested.body.outcome).toBe("delivered");
    await agent.run("-e", "ONE");
    const one = await untilEvent("&type=GUEST.ONE");
    const deliveries = async (): Promise<unknown[]> => {
      return (await manager.get<{ deliveries: unknown[] }>(`${sink}/deliveries`)).body.deliveries;
    };
    await vi.waitUntil(async () => (await deliveries()).length === 2, SOON);
    expect(
      (await manager.post<{ redelivered: number }>(`${sink}/redeliver`, { events: [one.id] })).body.redelivered,
    ).toBe(1);
    await vi.waitUntil(async () => (await deliveries()).length === 3, SOON);
    const ids = (await readFile(written(), "utf8"))
      .split("\n")
      .slice(0, -1)
      .map((line) => (JSON.parse(line) as ShownEvent).id);
    expect(ids.slice(1)).toEqual([one.id, one.id]);

    await manager.kill("SIGTERM");
    await manager.start();
    await manager.untilLink("web1", "up");
    await agent.run("-e", "TWO");
    await vi.waitUntil(async () => (await deliveries()).length === 4, SOON);
    expect((await manager.post(`${sink}/redeliver`, { events: ["no-such-event"] })).status).toBeGreaterThanOrEqual(400);
  });
});
