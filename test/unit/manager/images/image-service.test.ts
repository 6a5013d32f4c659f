import { describe, expect, test, vi } from "vitest";
import type { AuditLog } from "../../../../manager/access/audit-log.ts";
import type { Principal } from "../../../../manager/access/principal.ts";
import { auditedBy } from "../../../../manager/service/audited.ts";
import { ManagedImages } from "../../../../manager/service/image-service.ts";
import type { ManagedVm } from "../../../../manager/vms/managed-vm.ts";
import { CommandError } from "../../../../shared/cli/failure.ts";
import { known, Scene, web1 } from "./scene.ts";

const admin: Principal = { name: "alice", via: "unix:/s", role: "admin", vms: ["*"], keys: [""] };
const writer: Principal = { ...admin, name: "bob", role: "write" };
const elsewhere: Principal = { ...admin, name: "carol", vms: ["db*"] };

async function openService() {
  const scene = await Scene.open();
  const images = await scene.openSaver();
  const vm = { ...known("Running"), ref: web1 } as unknown as ManagedVm;
  const resolve = (who: Principal): ManagedVm => {
    if (who.vms.includes("*")) return vm;
    throw new CommandError("failed", "there is no VM 'web1'");
  };
  const record = vi.fn(() => Promise.resolve());
  const { audited } = auditedBy({ record } as unknown as AuditLog);
  const service = new ManagedImages({ images, vms: { resolve, byId: () => vm }, audited });
  return { scene, service, record, request: { directory: scene.allowed, format: "qcow2" } as const };
}

describe("saving images", () => {
  test("is for admins, and the audit log has who did and who might not", async () => {
    const { service, record, request, scene } = await openService();
    await expect(service.save(writer, "web1", request)).rejects.toMatchObject({ code: "not-permitted" });
    expect(scene.jobs.size).toBe(0);
    const { id } = await service.save(admin, "web1", request);
    await service.cancel(admin, id);
    expect(record.mock.calls).toEqual([
      [{ who: writer, action: "image.save", vm: web1, outcome: "not-permitted" }],
      [{ who: admin, action: "image.save", vm: web1, outcome: "ok" }],
      [{ who: admin, action: "image.cancel", vm: web1, outcome: "ok" }],
    ]);
    for (const look of [() => service.list(writer, undefined), () => service.show(writer, id)]) {
      expect(look).toThrow(expect.objectContaining({ code: "not-permitted" }));
    }
  });

  test("of a VM that one may not see is not there", async () => {
    const { service, request, record } = await openService();
    const { id } = await service.save(admin, "web1", request);
    expect(service.list(elsewhere, undefined)).toEqual([]);
    expect(() => service.list(elsewhere, "web1")).toThrow("there is no VM");
    expect(() => service.show(elsewhere, id)).toThrow("there is no saving of an image");
    await expect(service.cancel(elsewhere, id)).rejects.toThrow("there is no saving of an image");
    await expect(service.save(elsewhere, "web1", request)).rejects.toThrow("there is no VM");
    expect(record).toHaveBeenCalledTimes(1);
    expect(service.list(admin, "web1").map((save) => save.id)).toEqual([id]);
  });

  test("is followed from what it is now to its end", async () => {
    const { service, request } = await openService();
    const { id } = await service.save(admin, "web1", request);
    const states: string[] = [];
    for await (const { state } of service.follow(admin, id, new AbortController().signal)) {
      states.push(state);
      if (states.length === 1) await service.cancel(admin, id);
    }
    expect(states).toEqual(["waiting", "cancelled"]);
  });

  test("is followed until one has seen enough", async () => {
    const { service, request } = await openService();
    const { id } = await service.save(admin, "web1", request);
    const enough = new AbortController();
    const states: string[] = [];
    for await (const { state } of service.follow(admin, id, enough.signal)) {
      states.push(state);
      enough.abort();
    }
    expect(states).toEqual(["waiting"]);
  });
});
