/** {@link MonitorService}: how guests are, of VMs that the principal may see. */
import type { VmHealth } from "../../shared/api/monitor-schemas.ts";
import type { Principal } from "../access/principal.ts";
import type { Monitor } from "../monitor/monitor.ts";
import type { Recoveries } from "../monitor/recovery/recoveries.ts";
import type { ManagedVm } from "../vms/managed-vm.ts";
import type { Vms } from "../vms/vms.ts";
import type { MonitorService } from "./service.ts";

export interface MonitorServiceParts {
  vms: Vms;
  monitor: Monitor;
  recoveries: Recoveries;
}

export class ManagedMonitor implements MonitorService {
  readonly #parts: MonitorServiceParts;

  constructor(parts: MonitorServiceParts) {
    this.#parts = parts;
  }

  list(who: Principal): VmHealth[] {
    return this.#parts.vms.visibleTo(who).map((vm) => this.#healthOf(vm));
  }

  show(who: Principal, vm: string): VmHealth {
    return this.#healthOf(this.#parts.vms.resolve(who, vm));
  }

  #healthOf(vm: ManagedVm): VmHealth {
    const { monitor, recoveries } = this.#parts;
    return { ...monitor.shown(vm), recovery: recoveries.standing(vm.vm.id) };
  }
}
