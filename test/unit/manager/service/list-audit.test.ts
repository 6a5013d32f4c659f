import { expect, test } from "vitest";
import type { Principal } from "../../../../manager/access/principal.ts";
import { ManagerService, type ServiceParts } from "../../../../manager/service/manager-service.ts";
import type { AuditQuery } from "../../../../manager/store/store.ts";
import type { AuditRecord } from "../../../../shared/api/schemas.ts";

const admin: Principal = { name: "alice", via: "unix:/run/s", role: "admin", vms: ["web*"], keys: [""] };
const RECORDS = 10_000;

/** The records that are web1's; all others are db1's. */
const ofWeb = [9_000, 1_234, 7];

function record(id: number): AuditRecord {
  const vm = ofWeb.includes(id) ? { id: "1", name: "web1" } : { id: "2", name: "db1" };
  return {
    id,
    time: "2026-11-21T12:00:00Z",
    who: "bob",
    via: "unix:/run/s",
    action: "set",
    vm,
    keys: [],
    outcome: "ok",
  };
}

/** Its log has the records 1 to 10,000. */
function service(): ManagerService {
  const store = {
    audit: ({ before = RECORDS + 1, limit }: AuditQuery) => {
      const count = Math.min(limit, before - 1);
      return Promise.resolve(Array.from({ length: count }, (_, index) => record(before - 1 - index)));
    },
  };
  return new ManagerService({ store, vms: { byId: () => undefined }, events: {} } as unknown as ServiceParts);
}

test("an administrator of some VMs gets their records from anywhere in the log, and then its end", async () => {
  const records = await service().listAudit(admin, {});
  expect(records.map(({ id }) => id)).toEqual(ofWeb);
});

test("an administrator of some VMs gets no more records than were asked for, and goes on from there", async () => {
  const first = await service().listAudit(admin, { limit: 2 });
  expect(first.map(({ id }) => id)).toEqual([9_000, 1_234]);
  const rest = await service().listAudit(admin, { limit: 2, before: 1_234 });
  expect(rest.map(({ id }) => id)).toEqual([7]);
});
