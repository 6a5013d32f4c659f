/** What libvirt's and QEMU's own events say of a VM: one table for each, for the lifecycle and for the guide. */
import type { EventType } from "../../shared/event-types.ts";
import type { LibvirtEvent } from "../inventory/libvirt-events.ts";
import type { QmpEvent } from "../inventory/qmp.ts";

/** What a VM does: of its statuses, all but Unknown, which is what we know of it. */
export const knownStatuses = ["Running", "Paused", "Suspended", "Stopped", "Crashed"] as const;
export type KnownStatus = (typeof knownStatuses)[number];

export interface Meaning {
  /** What the VM does from then on. `Begun`: there is a QEMU for it; its CPUs may run already or not yet. */
  status?: KnownStatus | "Begun";
  /** What somebody did. */
  action?: EventType;
  alert?: EventType;
  isReset?: true;
  /** It is part of a move to or from another host, which goes on after it or is over. */
  move?: "goes-on" | "over";
}

/**
 * By a lifecycle event's word and detail (`virDomainEventType` of libvirt and the details of each, as virsh prints them),
 * by its word for any other detail, or by the kind of another event. That a domain was defined or undefined, libvirt's
 * events say without its UUID: VM.DEFINED and VM.UNDEFINED come from the list of domains. `reboot` does not say whether
 * the guest or somebody outside asked for it, so there is no VM.REBOOT; nor does anything say that a guest was asked to
 * shut down by ACPI.
 */
export const libvirtMeanings = {
  "Started Booted": { status: "Begun", action: "VM.START" },
  "Started Migrated": { status: "Begun", action: "VM.MIGRATE", move: "goes-on" },
  "Started Restored": { status: "Begun", action: "VM.RESTORE" },
  "Started Snapshot": { status: "Begun", action: "VM.RESTORE" },
  "Started Event wakeup": { status: "Running" },
  Started: { status: "Begun" },
  "Suspended Paused": { status: "Paused", action: "VM.PAUSE" },
  "Suspended Migrated": { status: "Paused", action: "VM.MIGRATE", move: "goes-on" },
  "Suspended Post-copy": { status: "Paused", action: "VM.MIGRATE", move: "goes-on" },
  "Suspended Post-copy Error": { status: "Paused", move: "goes-on" },
  "Suspended I/O Error": { status: "Paused", alert: "VM.IO-ERROR" },
  "Suspended Watchdog": { status: "Paused", alert: "VM.WATCHDOG" },
  Suspended: { status: "Paused" },
  "Resumed Unpaused": { status: "Running", action: "VM.RESUME" },
  "Resumed Migrated": { status: "Running", move: "over" },
  "Resumed Post-copy": { status: "Running", move: "goes-on" },
  "Resumed Post-copy Error": { status: "Running", move: "goes-on" },
  Resumed: { status: "Running" },
  "Shutdown Finished after host request": { action: "VM.STOP" },
  "Stopped Destroyed": { status: "Stopped", action: "VM.STOP" },
  "Stopped Saved": { status: "Stopped", action: "VM.SAVE" },
  "Stopped Migrated": { status: "Stopped", action: "VM.MIGRATE", move: "over" },
  "Stopped Crashed": { status: "Crashed" },
  "Stopped Failed": { status: "Crashed" },
  Stopped: { status: "Stopped" },
  PMSuspended: { status: "Suspended" },
  "Crashed Panicked": { status: "Crashed", alert: "VM.PANIC" },
  Crashed: { alert: "VM.PANIC" },
  reboot: { isReset: true },
  watchdog: { alert: "VM.WATCHDOG" },
  "io-error": { alert: "VM.IO-ERROR" },
  "io-error-reason": { alert: "VM.IO-ERROR" },
} as const satisfies Record<string, Meaning>;

/**
 * By QEMU's event (qapi/run-state.json, qapi/block-core.json) and its `reason` or `action`; by the event and `host` where
 * its `guest` is false; or by the event alone. STOP and RESUME do not say who asked for them. Nothing announces a QEMU
 * that begins, or one that is killed: the inventory sees its socket, and the end of its connection.
 */
export const qmpMeanings = {
  "SHUTDOWN host-error": { status: "Crashed" },
  "SHUTDOWN guest-panic": { status: "Crashed" },
  "SHUTDOWN host": { status: "Stopped", action: "VM.STOP" },
  SHUTDOWN: { status: "Stopped" },
  POWERDOWN: { action: "VM.STOP" },
  "RESET host": { isReset: true, action: "VM.REBOOT" },
  RESET: { isReset: true },
  STOP: { status: "Paused" },
  RESUME: { status: "Running" },
  SUSPEND: { status: "Suspended" },
  WAKEUP: { status: "Running" },
  "GUEST_PANICKED run": { alert: "VM.PANIC" },
  GUEST_PANICKED: { status: "Crashed", alert: "VM.PANIC" },
  GUEST_CRASHLOADED: { alert: "VM.PANIC" },
  WATCHDOG: { alert: "VM.WATCHDOG" },
  BLOCK_IO_ERROR: { alert: "VM.IO-ERROR" },
} as const satisfies Record<string, Meaning>;

/** One of their events, as far as it matters to a VM's lifecycle. */
export interface Observation {
  /** Milliseconds since 1970, by the clock of whoever saw it. */
  at: number;
  /** The source's name. */
  observedBy: string;
  /** In their words: `Stopped Destroyed`, `SHUTDOWN host-qmp-quit`. */
  detail: string;
  meaning: Meaning;
}

/** Undefined for an event that says nothing of the lifecycle. */
export function observedByLibvirt(source: string, { at, kind, lifecycle }: LibvirtEvent): Observation | undefined {
  const detail = lifecycle === undefined ? kind : `${lifecycle.word} ${lifecycle.detail}`;
  const meaning = firstOf(libvirtMeanings, lifecycle === undefined ? [kind] : [detail, lifecycle.word]);
  return meaning && { at, observedBy: source, detail: bounded(detail), meaning };
}

/** Undefined for an event that says nothing of the lifecycle. */
export function observedByQmp(source: string, { at, name, data }: QmpEvent): Observation | undefined {
  const said = data["action"] ?? data["reason"];
  const detail = typeof said === "string" ? `${name} ${said}` : name;
  const meaning = firstOf(qmpMeanings, [detail, ...(data["guest"] === false ? [`${name} host`] : []), name]);
  return meaning && { at, observedBy: source, detail: bounded(detail), meaning };
}

function firstOf(table: Readonly<Record<string, Meaning>>, keys: readonly string[]): Meaning | undefined {
  const key = keys.find((candidate) => Object.hasOwn(table, candidate));
  return key === undefined ? undefined : table[key];
}

/** A QEMU may be in its guest's hands, and say anything. */
const MAX_DETAIL_LENGTH = 100;

function bounded(detail: string): string {
  return detail.slice(0, MAX_DETAIL_LENGTH).toWellFormed();
}
