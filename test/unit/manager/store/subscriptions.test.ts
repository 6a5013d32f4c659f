import { describe, expect, test } from "vitest";
import type { StoredJob, StoredSubscription } from "../../../../manager/store/store.ts";
import { boxWithKey, NOW, openTables, reopen, web1 } from "./tables.ts";

const subscription = (id: string, more: Partial<StoredSubscription> = {}): StoredSubscription => {
  const record = { name: "dns", owner: "alice" };
  return { id, kind: "subscription", createdAt: NOW, record, secrets: ["hunter2"], ...more };
};

describe("subscriptions", () => {
  test("are kept as they were saved last, until they are removed", () => {
    const { tables } = openTables();
    tables.saveSubscription(subscription("b", { createdAt: NOW + 1, kind: "notify", secrets: undefined }));
    tables.saveSubscription(subscription("a"));
    const changed = subscription("a", { record: { name: "cmdb" }, secrets: { password: "x" } });
    tables.saveSubscription(changed);
    expect(tables.subscriptions()).toEqual([
      changed,
      subscription("b", { createdAt: NOW + 1, kind: "notify", secrets: undefined }),
    ]);
    expect([tables.removeSubscription("a"), tables.removeSubscription("a")]).toEqual([true, false]);
    expect(tables.subscriptions()).toHaveLength(1);
  });

  test("have their secrets encrypted, each bound to its own", () => {
    const { tables, database } = openTables();
    tables.saveSubscription(subscription("a"));
    tables.saveSubscription(subscription("b", { secrets: ["other"] }));
    expect(JSON.stringify(database.prepare("SELECT * FROM subscriptions").all())).not.toContain("hunter2");
    database.exec(
      "UPDATE subscriptions SET sealed_secrets = (SELECT sealed_secrets FROM subscriptions WHERE id = 'a')",
    );
    expect(tables.subscriptions().map(({ secrets }) => secrets)).toEqual([["hunter2"], undefined]);
  });

  test("outlive the key of their secrets, without them", () => {
    const { tables, database } = openTables();
    tables.saveSubscription(subscription("a"));
    expect(reopen(database, {}, boxWithKey(2)).subscriptions()).toEqual([subscription("a", { secrets: undefined })]);
  });
});

describe("jobs", () => {
  const job = (id: string, more: Partial<StoredJob> = {}): StoredJob => {
    return { id, vmId: web1.id, createdAt: NOW, isOver: false, job: { progress: 0 }, ...more };
  };

  test("are kept as they were saved last", () => {
    const { tables } = openTables();
    tables.saveJob(job("a"));
    tables.saveJob(job("a", { job: { progress: 50 } }));
    tables.saveJob(job("b", { createdAt: NOW + 1, isOver: true }));
    expect(tables.jobs()).toEqual([
      job("a", { job: { progress: 50 } }),
      job("b", { createdAt: NOW + 1, isOver: true }),
    ]);
  });

  test("that are over are the newest thousand; one that goes on is kept however old", () => {
    const { tables } = openTables();
    tables.saveJob(job("running", { createdAt: 0 }));
    for (let index = 1; index <= 1005; index += 1) tables.saveJob(job(`j${index}`, { createdAt: index, isOver: true }));
    const ids = tables.jobs().map(({ id }) => id);
    expect(ids).toHaveLength(1001);
    expect(ids.slice(0, 2)).toEqual(["running", "j6"]);
  });
});
