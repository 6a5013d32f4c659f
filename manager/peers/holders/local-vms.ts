/** The VMs of this manager's own inventory, as who claims them sees them. */
import { unlessAborted } from "../../../shared/abort.ts";
import { RequestError } from "../../../shared/protocol/errors.ts";
import type { ManagedVm } from "../../vms/managed-vm.ts";
import { NO_INVENTORY, type Vms } from "../../vms/vms.ts";
import type { LocalVm, LocalVms, Strength } from "../whereabouts.ts";

export class ManagedLocalVms implements LocalVms {
  readonly #vms: Pick<Vms, "all" | "byId">;
  readonly #listeners = new Set<(vmId: string) => void>();

  constructor(vms: Pick<Vms, "all" | "byId">) {
    this.#vms = vms;
  }

  all(): LocalVm[] {
    return this.#vms.all.map(localVm);
  }

  byId(vmId: string): LocalVm | undefined {
    const vm = this.#vms.byId(vmId);
    return vm && localVm(vm);
  }

  onChange(listener: (vmId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(vmId: string): void {
    for (const listener of this.#listeners) listener(vmId);
  }
}

function localVm(vm: ManagedVm): LocalVm {
  return {
    ref: vm.ref,
    strength: strengthOf(vm),
    pending: vm.pending,
    answers: (timeoutMs) => answers(vm, timeoutMs),
  };
}

async function answers(vm: ManagedVm, timeoutMs: number): Promise<boolean> {
  if (!vm.isUp) return false;
  try {
    await unlessAborted(AbortSignal.timeout(timeoutMs), vm.link.read("ping", {}));
    return true;
  } catch (error) {
    // It was there to refuse.
    return error instanceof RequestError;
  }
}

/** Of a VM that no inventory has spoken of yet (Unknown) we know no more than of one that is only remembered. */
function strengthOf({ isUp, vm, inventory }: Pick<ManagedVm, "isUp" | "vm" | "inventory">): Strength {
  if (isUp) return 3;
  if (vm.status === "Running") return 2;
  return inventory === NO_INVENTORY || vm.status === "Unknown" ? 0 : 1;
}
