/** Lifecycle events as one line each, and what inventories and hypervisors say in few words. */
import type { NewEvent } from "../../../../manager/events/event.ts";
import type { FoundChange, RemovedChange } from "../../../../manager/events/lifecycle.ts";
import type { LibvirtEvent } from "../../../../manager/inventory/libvirt-events.ts";
import type { QmpEvent } from "../../../../manager/inventory/qmp.ts";
import type { VmStatus } from "../../../../shared/vm-status.ts";

export const LIBVIRT = "libvirt qemu:///system";
export const QMP = "qmp /run/vms";
export const FILE = "file /etc/vms.json";

export const vm = { id: "5e0d9c5c-6f4e-4d0b-9a39-1d8f3a5f1c11", name: "web1" };
export const startedAt = Date.parse("2026-11-20T12:00:00Z");

/** `VM.RUNNING Stopped>Running CREATE,RUNNING resync`; what is not there is left out. */
export function told(events: readonly NewEvent[]): string[] {
  return events.map(({ type, oldState, newState, isResync, data }) => {
    const states = oldState === undefined && newState === undefined ? "" : `${oldState ?? ""}>${newState ?? ""}`;
    const stages = Array.isArray(data["stages"]) ? data["stages"].join(",") : "";
    return [type, states, stages, isResync ? "resync" : ""].filter((part) => part !== "").join(" ");
  });
}

/** What virsh prints: `Stopped Destroyed`, or the kind of another event: `reboot`. */
export function virshSays(text: string, at = startedAt): LibvirtEvent {
  const [word = "", ...detail] = text.split(" ");
  const isLifecycle = word !== word.toLowerCase();
  return isLifecycle
    ? { at, kind: "lifecycle", domain: vm.name, lifecycle: { word, detail: detail.join(" ") } }
    : { at, kind: word, domain: vm.name };
}

export function qemuSays(name: string, data: Record<string, unknown> = {}, at = startedAt): QmpEvent {
  return { at, name, data };
}

interface Read {
  inventory?: string;
  isResync?: boolean;
  /** What the inventory had before; undefined for a VM that it did not know. */
  was?: VmStatus | undefined;
  name?: string;
  isPausedByUser?: boolean;
}

export function found(status: VmStatus, read: Read = {}): FoundChange {
  const { inventory = LIBVIRT, isResync = false, was, name = vm.name, isPausedByUser } = read;
  const described = { id: vm.id, name, status, host: "host1", channelPath: undefined, isPausedByUser };
  const known = { isResync, vm: described, inventory, statusSince: startedAt };
  if (was === undefined) return { type: "added", ...known, previous: undefined };
  return { type: "changed", ...known, previous: { ...described, status: was } };
}

export function removed(status: VmStatus, { inventory = LIBVIRT, isResync = false }: Read = {}): RemovedChange {
  const described = { ...vm, status, host: "host1", channelPath: undefined };
  return { type: "removed", isResync, vm: described, inventory, statusSince: startedAt, previous: described };
}
