/** Where VMs are found: libvirt, a directory of QMP sockets, a file. */
import type { Vm } from "../vms/vm.ts";

/** What a source tells the inventory. VMs are known by id; a source speaks of its own alone. */
export interface InventorySink {
  /** All that this source has, now: the others of this source are gone. What changed meanwhile was missed (`resync`). */
  synchronized(vms: readonly Vm[]): void;
  /** One VM is new or changed, just now. */
  changed(vm: Vm): void;
  /** One VM is no longer defined. */
  removed(id: string): void;
  /** The source cannot be asked, and why; what it said before stands. Undefined when it can be asked again. */
  disconnected(reason: string | undefined): void;
}

/** `libvirt` and `qmp` announce what happens; a `file` is only looked at. */
export type SourceKind = "libvirt" | "qmp" | "file";

export interface InventorySource {
  /** Its kind and its place: `libvirt qemu:///system`, `qmp /run/vms`, `file /etc/vmmessage/vms.json`. */
  readonly name: string;
  /**
   * True when the source sees only VMs that run (QMP): one that it does not name when it is synchronized is not running, and
   * not gone. Without it such a VM is no longer defined.
   */
  readonly seesOnlyRunning?: boolean;
  /**
   * Keeps the sink up to date until aborted, through any failure of what it asks. Resolves when everything it opened or
   * started is closed. Never rejects.
   */
  run(sink: InventorySink, signal: AbortSignal): Promise<void>;
  /**
   * Somebody doubts what it said of a VM: it is read again within seconds, and told if it is different. Only of a source for
   * which changes may go unannounced.
   */
  look?(id: string): void;
  /** Asks once and says what it would do, for `vmmessaged check`. Rejects with CommandError. */
  probe(signal: AbortSignal): Promise<readonly Vm[]>;
}

/** Of a source's name. What is no source of ours announces nothing either. */
export function sourceKind(name: string): SourceKind {
  if (name.startsWith("libvirt ")) return "libvirt";
  return name.startsWith("qmp ") ? "qmp" : "file";
}
