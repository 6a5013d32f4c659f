/** Which manager has which VM, as far as this one knows: what it holds itself, and what the others have announced. */
import type { VmRef } from "../../shared/api/schemas.ts";
import type { Peer } from "./wire.ts";

/**
 * `here`: we have it, or nobody is known to have it and it is one of ours. `contested`: we and another manager both see it
 * run, or its guest answer. `elsewhere`: another one has it, whether we know it too or not. `nowhere`: nobody is known to.
 */
export type Place =
  | { type: "here" }
  | { type: "contested"; vm: VmRef; peer: Peer }
  | { type: "elsewhere"; vm: VmRef; peer: Peer }
  | { type: "nowhere" };

export interface PeerVm {
  vm: VmRef;
  peer: Peer;
}

export interface Whereabouts {
  of(vmId: string): Place;
  /** All that others have announced and hold, whether we know the VM too or not. */
  elsewhere(): PeerVm[];
  /** Those of them with this name. */
  elsewhereNamed(name: string): PeerVm[];
  /** Where VMs of this UUID or name were, whose manager is gone, and of which nobody has spoken since. */
  lastSeen(nameOrId: string): PeerVm[];
  /** We have met the others just now, and they may not have said yet what they hold. */
  readonly isSettling: boolean;
  /** Managers that have announced themselves and are not known to be gone. */
  peers(): Peer[];
  /** That manager says that it holds the VM. */
  isHeldBy(vm: VmRef, peer: Peer): void;
  /** Calls back whenever the VM's place is another one, till the returned function is called. */
  onMoved(vmId: string, listener: () => void): () => void;
}

/** 3: its guest answers · 2: it runs · 1: an inventory has it · 0: only we remember it. */
export type Strength = 0 | 1 | 2 | 3;

/** A VM that this manager knows by its own inventory, seen from who claims it. */
export interface LocalVm {
  readonly ref: VmRef;
  readonly strength: Strength;
  /** Messages that wait for it here. */
  readonly pending: number;
  /** Whether its guest answers now, by a round trip of at most this long. Never rejects. */
  answers(timeoutMs: number): Promise<boolean>;
}

export interface LocalVms {
  all(): LocalVm[];
  byId(vmId: string): LocalVm | undefined;
  /** Called when a VM came, was forgotten, was renamed, or has another strength or another number of pending messages. */
  onChange(listener: (vmId: string) => void): () => void;
}
