/** Runs sources in an inventory and remembers every change. */
import { vi } from "vitest";
import { Inventory, type InventoryChange, type KnownVm } from "../../../../manager/inventory/inventory.ts";
import type { InventorySource } from "../../../../manager/inventory/source.ts";
import type { Vm } from "../../../../manager/vms/vm.ts";

export class RunningInventory implements AsyncDisposable {
  readonly changes: InventoryChange[] = [];
  readonly log: [string, unknown][] = [];
  readonly inventory: Inventory;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  constructor(sources: readonly InventorySource[], known: readonly KnownVm[] = []) {
    const note = (event: string, fields?: unknown) => this.log.push([event, fields]);
    this.inventory = new Inventory({
      known,
      onChange: (change) => this.changes.push(change),
      log: { info: note, warn: note, error: note },
    });
    this.#ended = this.inventory.run(sources, this.#stop.signal);
  }

  vm(nameOrId: string): Vm | undefined {
    const found = this.inventory.find(nameOrId);
    return found.type === "found" ? found.vm.vm : undefined;
  }

  /** Settles when the VM is as these properties say. */
  async until(nameOrId: string, expected: Partial<Vm> | undefined): Promise<void> {
    await vi.waitFor(
      () => {
        const vm = this.vm(nameOrId);
        if (expected !== undefined && vm !== undefined && isAs(vm, expected)) return;
        if (expected === undefined && vm === undefined) return;
        throw new Error(`'${nameOrId}' is ${JSON.stringify(vm)}, and not ${JSON.stringify(expected)}`);
      },
      { timeout: 20_000, interval: 20 },
    );
  }

  /** Settles when each source is connected and has spoken. */
  async untilConnected(): Promise<void> {
    await vi.waitUntil(() => this.inventory.sources().every(({ isConnected }) => isConnected), { timeout: 20_000 });
  }

  async untilReason(reason: RegExp): Promise<void> {
    await vi.waitUntil(() => this.inventory.sources().some((source) => reason.test(source.reason ?? "")), {
      timeout: 20_000,
    });
  }

  /** What became of one VM, as it was told: `added Stopped`, `changed Running`. */
  history(id: string): string[] {
    return this.changes.filter(({ vm }) => vm.id === id).map(({ type, vm }) => `${type} ${vm.status}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }
}

function isAs(vm: Vm, expected: Partial<Vm>): boolean {
  return Object.entries(expected).every(([name, value]) => vm[name as keyof Vm] === value);
}
