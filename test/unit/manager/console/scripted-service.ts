import { CommandError } from "../../../../shared/cli/failure.ts";
import type { Receipt, ReceivedMessage, VmSummary } from "../../../../shared/api/schemas.ts";
import type { Principal } from "../../../../manager/access/principal.ts";
import type { Log } from "../../../../shared/log.ts";
import type { Service } from "../../../../manager/service/service.ts";

export const admin: Principal = { name: "admin", via: "ssh:127.0.0.1", role: "admin", vms: ["*"], keys: [""] };

export const VM_ID = "0004fb00-0006-4000-8000-a3d6c1e5f201";

export const ol6: VmSummary = {
  id: VM_ID,
  name: "ol6u3apitest",
  host: "kvm1",
  status: "Running",
  statusSince: "2012-12-27T16:00:00.000Z",
  inventory: "libvirt qemu:///system",
  channel: "/run/vms/ol6.sock",
  link: { state: "up", since: "2012-12-27T16:00:00.000Z" },
  pending: 0,
};

export function receipt(changes: Partial<Receipt> = {}): Receipt {
  return {
    messageId: "m1",
    vm: { id: VM_ID, name: "ol6u3apitest" },
    method: "set",
    keys: ["foo"],
    state: "delivered",
    by: "admin",
    queuedAt: "2012-12-27T17:04:29.890Z",
    ...changes,
  };
}

export function received(changes: Partial<ReceivedMessage> = {}): ReceivedMessage {
  return {
    vm: { id: VM_ID, name: "ol6u3apitest" },
    kind: "set",
    receivedAt: "2012-12-27T17:04:29.890Z",
    key: "newkey",
    value: "newvalue",
    ...changes,
  };
}

/** Does what the test says, and fails the test where it says nothing. */
export function scriptedService(script: Partial<Service>): Service {
  return new Proxy(script as Service, {
    get: (target, name) => (Reflect.get(target, name) as unknown) ?? notScripted(String(name)),
  });
}

function notScripted(name: string) {
  return () => {
    throw new Error(`the test does not say what ${name} does`);
  };
}

export function noSuchVm(name: string): CommandError {
  return new CommandError("failed", `there is no VM '${name}'`);
}

/** Keeps what is logged. */
export function memoryLog(): Log & { events: string[]; fields: Record<string, unknown>[] } {
  const events: string[] = [];
  const fields: Record<string, unknown>[] = [];
  const add = (event: string, more: Record<string, unknown> = {}): void => {
    events.push(event);
    fields.push(more);
  };
  return { events, fields, info: add, warn: add, error: add };
}
