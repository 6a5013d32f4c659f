/**
 * Every type of event and what it means: one table for who makes events, who filters them, and the guide. The categories
 * are those of CloudStack's event bus (cwiki.apache.org/confluence/display/CLOUDSTACK/Event+Framework).
 */
export const eventCategories = [
  "ActionEvent",
  "AlertEvent",
  "UsageEvent",
  "ResourceStateEvent",
  "AsyncJobEvent",
] as const;
export type EventCategory = (typeof eventCategories)[number];

/** What an event is of. A manager's own events are of the management server, and have no UUID. */
export const resourceTypes = ["VirtualMachine", "ManagementServer", "AsyncJob"] as const;
export type ResourceType = (typeof resourceTypes)[number];

interface EventTypeRow {
  category: EventCategory;
  resource: ResourceType;
  meaning: string;
}

const state = (meaning: string) => ({ category: "ResourceStateEvent", resource: "VirtualMachine", meaning }) as const;
const action = (meaning: string) => ({ category: "ActionEvent", resource: "VirtualMachine", meaning }) as const;
const alert = (meaning: string) => ({ category: "AlertEvent", resource: "VirtualMachine", meaning }) as const;

export const eventTypes = {
  "VM.DEFINED": state("an inventory has a VM that was not known"),
  "VM.UNDEFINED": state("no inventory has the VM any more"),
  "VM.RUNNING": state("its CPUs run"),
  "VM.PAUSED": state("its CPUs stand still, its memory is there"),
  "VM.SUSPENDED": state("its guest sleeps (ACPI S3)"),
  "VM.STOPPED": state("it has ended as somebody wished"),
  "VM.CRASHED": state("it has ended as nobody wished: its kernel panicked, or QEMU died"),
  "VM.RESET": state("it was reset or rebooted; its state is what it was"),
  "KEY.SET": state("a key of its cache was set"),
  "KEY.DELETED": state("a key of its cache was deleted, or its time ended"),
  "KEY.GONE": state("a secret's value did not survive the guest's boot"),
  "MESSAGE.QUEUED": state("a message for it was accepted and waits"),
  "MESSAGE.DELIVERED": state("its guest has done what a message asked"),
  "MESSAGE.READ": state("a program in it fetched what a message set"),
  "MESSAGE.ACKNOWLEDGED": state("a program in it acknowledged a message"),
  "MESSAGE.EXPIRED": state("a message for it waited too long"),
  "MESSAGE.REFUSED": state("its guest refused a message"),
  "MESSAGE.MOVED": state("a message that waited here waits at the manager that has it now"),
  "VM.START": action("somebody started it"),
  "VM.STOP": action("somebody stopped it, or asked its guest to shut down"),
  "VM.REBOOT": action("somebody reset it, from outside"),
  "VM.PAUSE": action("somebody paused it"),
  "VM.RESUME": action("somebody let it go on"),
  "VM.SAVE": action("somebody saved its state and stopped it"),
  "VM.RESTORE": action("somebody restored it from a saved state or a snapshot"),
  "VM.MIGRATE": action("somebody moved it to or from another host"),
  "VM.FORGET": action("somebody had the manager forget it"),
  "MESSAGE.SEND": action("somebody sent it a message"),
  "GUEST.*": action("a program in it said so (agent -e); the rest of the type is the guest's word"),
  "VM.IO-ERROR": alert("a disk of it failed"),
  "VM.PANIC": alert("its kernel panicked"),
  "VM.WATCHDOG": alert("its watchdog fired"),
  "VM.HUNG": alert("its guest answered before, and does so no more"),
  "VM.RECOVERED": alert("its guest answers again"),
  "VM.AGENT-MISSING": alert("the agent that is expected in it does not answer"),
  "VM.AGENT-RECOVERED": alert("the agent that was missing answers"),
  "VM.APPLICATION-FAILED": alert("an application in it does not beat any more, or its check fails"),
  "VM.APPLICATION-RECOVERED": alert("the application is well again"),
  "RECOVERY.STARTED": action("the manager began to run a command that is to recover it"),
  "RECOVERY.ENDED": action("the command has ended; the data say how"),
  "RECOVERY.SUSPENDED": alert("no command is run to recover it any more: too many did not help"),
  "BOOTSTRAP.STARTED": action("its guest began to configure itself from its keys"),
  "BOOTSTRAP.MODULE": action("a configuration module of its guest has ended; the data say which and how"),
  "BOOTSTRAP.SUCCEEDED": action("its guest has configured itself"),
  "BOOTSTRAP.FAILED": alert("its guest could not configure itself, wholly or in part; the data say why"),
  "ALERT.*": {
    category: "AlertEvent",
    resource: "ManagementServer",
    meaning: "the manager's log warned; the rest of the type is the name in the log, in capitals",
  },
  "SINK.DISABLED": {
    category: "AlertEvent",
    resource: "ManagementServer",
    meaning: "an endpoint failed too often, or does not want any more, and gets nothing until it is enabled",
  },
  "SINK.DEAD-LETTER": {
    category: "AlertEvent",
    resource: "ManagementServer",
    meaning: "an event could not be delivered to a sink, for the last time",
  },
  "SINK.MISSED": {
    category: "AlertEvent",
    resource: "ManagementServer",
    meaning: "a sink was away for so long that events it should have had are no longer kept",
  },
  "SINK.TEST": {
    category: "AlertEvent",
    resource: "ManagementServer",
    meaning: "somebody tries a sink; only that sink gets it",
  },
  "FLEET.SEND": { category: "AsyncJobEvent", resource: "AsyncJob", meaning: "a request for many VMs began or ended" },
  "IMAGE.SAVE": {
    category: "AsyncJobEvent",
    resource: "VirtualMachine",
    meaning: "the saving of its disk image was asked for, began, or ended",
  },
} as const satisfies Record<string, EventTypeRow>;

/** A type of the table; the rest of a `.*` row is somebody else's word. */
export type EventType = Exclude<keyof typeof eventTypes, `${string}.*`> | `GUEST.${string}` | `ALERT.${string}`;

/** Of a type that the table has; ours always are. */
export function eventTypeRow(type: EventType): EventTypeRow {
  const rows: Partial<Record<string, EventTypeRow>> = eventTypes;
  const row = rows[type] ?? rows[`${type.slice(0, type.indexOf("."))}.*`];
  if (row === undefined) throw new Error(`no event has the type '${type}'`);
  return row;
}
