import { describe, expect, test } from "vitest";
import type { NewSubscription } from "../../../../shared/api/event-schemas.ts";
import type { Principal } from "../../../../manager/access/principal.ts";
import { type EventsConfig, parseConfig } from "../../../../manager/config.ts";
import type { Dispatcher, SinkOptions } from "../../../../manager/events/outbox/dispatcher.ts";
import { Subscriptions } from "../../../../manager/events/subscriptions.ts";
import type { Event } from "../../../../manager/events/event.ts";
import { Mailer } from "../../../../manager/sinks/mailer.ts";
import { newRateLimits } from "../../../../manager/sinks/rate-limits.ts";
import type { StoredSubscription } from "../../../../manager/store/store.ts";
import { aVmEvent } from "./event-makers.ts";

const alice: Principal = { name: "alice", via: "https:192.0.2.1", role: "write", vms: ["*"], keys: [""] };
const web1 = { id: "2a0c5dc1-1111-4222-8333-944445555666", name: "web1" };
const [one, two] = ["https://one.example/", "https://two.example/"];
const wish = { vm: web1, coordinates: "broker.example,/,guest,guest,states", vmId: undefined };

function eventsConfig(events: object): EventsConfig {
  return parseConfig({ events }, "manager.json").events;
}

function subscriptionTo(...endpoints: string[]): NewSubscription {
  return { name: "s", filter: {}, values: false, format: "cloudevents", endpoints };
}

/** What is kept and what runs: a manager that is started again on it has what it had. */
class Disk {
  readonly subscriptions = new Map<string, StoredSubscription>();
  readonly feeds = new Set<string>();
  rights: Pick<Principal, "role" | "vms" | "keys"> | undefined = alice;
  rightsOfOthers: Pick<Principal, "role" | "vms" | "keys"> | undefined = { role: "admin", vms: ["*"], keys: [""] };

  async start(
    events: object,
  ): Promise<{ registry: Subscriptions; running: Map<string, SinkOptions>; warnings: string[] }> {
    const running = new Map<string, SinkOptions>();
    const warnings: string[] = [];
    const dispatcher = {
      add: (options: SinkOptions) =>
        Promise.resolve(void (running.set(options.id, options), this.feeds.add(options.id))),
      remove: (id: string) => Promise.resolve(void running.delete(id)),
      forget: (id: string) => Promise.resolve(void (running.delete(id), this.feeds.delete(id))),
      feed: (id: string) => running.get(id),
    } as unknown as Dispatcher;
    let config = eventsConfig(events);
    const log = {
      info: () => undefined,
      warn: (name: string) => void warnings.push(name),
      error: () => undefined,
    };
    const registry = await Subscriptions.load({
      store: {
        subscriptions: () => Promise.resolve([...this.subscriptions.values()]),
        saveSubscription: (stored) => Promise.resolve(void this.subscriptions.set(stored.id, stored)),
        removeSubscription: (id) => Promise.resolve(this.subscriptions.delete(id)),
        feedNames: () => Promise.resolve([...this.feeds]),
      },
      dispatcher,
      context: {
        host: "host1",
        config: () => config,
        mailer: new Mailer(() => config.mail),
        limits: newRateLimits(),
        journal: {
          journal: () => Promise.resolve([]),
          saveJournalEntry: () => Promise.resolve(),
          removeJournalEntry: () => Promise.resolve(),
        },
        stands: () => true,
        log,
      },
      log,
      rightsOf: () => this.rights,
      rightsOfOthers: () => this.rightsOfOthers,
      lastPosition: () => 42,
    });
    const apply = registry.apply.bind(registry);
    registry.apply = (next) => apply((config = next));
    await registry.apply(config);
    return { registry, running, warnings };
  }
}

const bus = { sinks: [{ name: "bus", type: "amqp", url: "amqp://broker.example/" }] };

describe("what sinks have kept", () => {
  test("is there again after a restart, of the configuration's and of users'", async () => {
    const disk = new Disk();
    const { registry } = await disk.start(bus);
    const { id } = await registry.create(subscriptionTo(one), alice);
    await registry.addNotify(web1, { coordinates: wish.coordinates }, alice);
    const before = new Set(disk.feeds);
    const again = await disk.start(bus);
    await again.registry.inventoriesSpoke();
    expect(disk.feeds).toEqual(before);
    expect([...again.running.keys()]).toEqual(expect.arrayContaining(["config:bus", `${id}.0`]));
  });

  test("is forgotten with what the configuration names no more, and of what nobody has any more", async () => {
    const disk = new Disk();
    disk.feeds.add("of-nobody.0").add("notify:of-nobody");
    const { registry } = await disk.start(bus);
    expect([...disk.feeds].sort()).toEqual(["config:bus", "notify:of-nobody"]);
    await registry.inventoriesSpoke();
    await registry.apply(eventsConfig({}));
    expect([...disk.feeds]).toEqual([]);
  });

  test("stays when its endpoints cannot be decrypted, which is said", async () => {
    const disk = new Disk();
    disk.subscriptions.set("s1", { id: "s1", kind: "subscription", createdAt: 1, record: {}, secrets: undefined });
    disk.feeds.add("s1.0");
    const { warnings } = await disk.start({});
    expect([...disk.feeds]).toEqual(["s1.0"]);
    expect(warnings).toEqual(["subscription-not-started"]);
  });
});

describe("where endpoints may lead", () => {
  test("is asked when they are made, and again when the configuration says otherwise", async () => {
    const disk = new Disk();
    const { registry, running, warnings } = await disk.start({ targets: { allow: ["127.0.0.0/8"] } });
    await expect(registry.create(subscriptionTo("https://10.0.0.1/"), alice)).rejects.toMatchObject({
      code: "not-permitted",
    });
    const { id } = await registry.create(subscriptionTo("https://127.0.0.1/", two), alice);
    await registry.apply(eventsConfig({}));
    expect([...running.keys()]).toEqual([`${id}.1`]);
    expect(warnings).toEqual(["subscription-not-started"]);
    expect(disk.feeds.has(`${id}.0`)).toBe(true);
    await registry.apply(eventsConfig({ targets: { allow: ["127.0.0.0/8"] } }));
    expect([...running.keys()].sort()).toEqual([`${id}.0`, `${id}.1`]);
  });
});

describe("a subscription", () => {
  test("that is changed keeps the sinks of the endpoints that stay", async () => {
    const disk = new Disk();
    const { registry } = await disk.start({});
    const { id } = await registry.create(subscriptionTo(one, two), alice);
    await registry.change(id, { endpoints: [two] });
    expect([...disk.feeds]).toEqual([`${id}.1`]);
    await registry.change(id, { endpoints: [one, two] });
    expect([...disk.feeds].sort()).toEqual([`${id}.1`, `${id}.2`]);
  });

  test("that would be changed to what cannot be meant stays as it was", async () => {
    const disk = new Disk();
    const { registry } = await disk.start({});
    const { id } = await registry.create(subscriptionTo(one), alice);
    await expect(registry.change(id, { endpoints: [two, "gopher://x/"] })).rejects.toMatchObject({ code: "usage" });
    expect(registry.subscription(id)?.endpoints).toEqual([{ number: 0, url: one }]);
    expect([...disk.feeds]).toEqual([`${id}.0`]);
  });

  test("carries what its owner may have now, and nothing for one who may only read or is gone", async () => {
    const disk = new Disk();
    const { registry, running } = await disk.start({});
    const { id } = await registry.create(subscriptionTo(one), alice);
    const event: Event = { ...aVmEvent("u", { resourceName: "web1" }), id: "e", sequence: 1, position: 1 };
    const mayHave = (): boolean | undefined => running.get(`${id}.0`)?.mayHave?.(event);
    expect(mayHave()).toBe(true);
    disk.rights = { ...alice, vms: ["db*"] };
    expect(mayHave()).toBe(false);
    disk.rights = { ...alice, role: "read" };
    expect(mayHave()).toBe(false);
    disk.rights = undefined;
    expect(mayHave()).toBe(false);
  });

  test("of one who asked through another manager carries what they might have then, within what limited them", async () => {
    const disk = new Disk();
    disk.rights = undefined;
    const { registry, running } = await disk.start({});
    const owner = { ...alice, name: "alice@kvm2", via: "amqp:kvm2", limits: [{ vms: ["web*"], keys: [""] }] };
    const { id } = await registry.create(subscriptionTo(one), owner);
    const ofVm = (name: string): Event => ({
      ...aVmEvent("u", { resourceName: name }),
      id: "e",
      sequence: 1,
      position: 1,
    });
    const mayHave = (name: string): boolean | undefined => running.get(`${id}.0`)?.mayHave?.(ofVm(name));
    expect([mayHave("web1"), mayHave("db1")]).toEqual([true, false]);
    disk.rightsOfOthers = { role: "read", vms: ["*"], keys: [""] };
    expect(mayHave("web1")).toBe(false);
    disk.rightsOfOthers = undefined;
    expect(mayHave("web1")).toBe(false);
    const again = await disk.start({});
    expect(again.registry.subscription(id)?.owner.limits).toEqual(owner.limits);
  });

  test("ends with its owner: another of that name has none of it", async () => {
    const disk = new Disk();
    const { registry } = await disk.start({});
    await registry.create(subscriptionTo(one), alice);
    const { id } = await registry.create(subscriptionTo(two), { ...alice, name: "bob" });
    await registry.addNotify(web1, { coordinates: wish.coordinates }, alice);
    await registry.removeOwnedBy("alice");
    expect([...disk.feeds]).toEqual([`${id}.0`]);
    expect([...disk.subscriptions.keys()]).toEqual([id]);
  });

  test("is one of so many that one user may have", async () => {
    const { registry } = await new Disk().start({});
    for (let made = 0; made < 2_000; made += 1) await registry.create(subscriptionTo(one), alice);
    await expect(registry.create(subscriptionTo(one), alice)).rejects.toMatchObject({ code: "over-limit" });
    await registry.create(subscriptionTo(one), { ...alice, name: "bob" });
  });
});

describe("a notification that an inventory wishes", () => {
  test("begins with what the inventory says next, and goes on undisturbed when it is wished again", async () => {
    const { registry, running } = await new Disk().start({});
    await registry.inventorySays("file a", [wish]);
    const [[id, options] = []] = running;
    expect(options?.from).toBe(42);
    await registry.inventorySays("file a", [wish]);
    expect(running.get(id ?? "")).toBe(options);
  });

  test("is shown under an id that tells nothing of its password, and leads on with another one", async () => {
    const { registry, running } = await new Disk().start({});
    await registry.inventorySays("file a", [wish]);
    const [[id, options] = []] = running;
    await registry.inventorySays("file a", [
      { ...wish, coordinates: wish.coordinates.replace("guest,guest", "guest,other") },
    ]);
    expect([...running.keys()]).toEqual([id]);
    expect(running.get(id ?? "")).not.toBe(options);
  });

  test("ends when the inventory wishes it no more", async () => {
    const disk = new Disk();
    const { registry } = await disk.start({});
    await registry.inventorySays("file a", [wish]);
    await registry.inventorySays("file a", []);
    expect([...disk.feeds]).toEqual([]);
  });
});
