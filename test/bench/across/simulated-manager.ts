/**
 * A manager without a machine: what is the real one's towards the other managers, with a service behind it that has its VMs
 * in memory and says of each message at once that it was delivered.
 */
import { randomUUID } from "node:crypto";
import { handlersOf } from "../../../manager/api/handlers/index.ts";
import type { Principal } from "../../../manager/access/principal.ts";
import type { PeersConfig } from "../../../manager/config.ts";
import { Peers, type PeersOptions } from "../../../manager/peers/peers.ts";
import type { LocalVm, LocalVms } from "../../../manager/peers/whereabouts.ts";
import type { Service } from "../../../manager/service/service.ts";
import type { NewMessage, Receipt, VmRef, VmSummary } from "../../../shared/api/schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import type { Log } from "../../../shared/log.ts";
import { newMessageId } from "../../../shared/random.ts";

export function simulatedVmName(manager: number, vm: number): string {
  return `sim${manager}-${vm}`;
}

export interface SimulatedManagerOptions {
  /** Counted from 0. */
  number: number;
  vms: number;
  config: PeersConfig;
  log: Log;
  failed: (error: unknown) => void;
}

/** Settles when it goes to meet the others. */
export function startSimulatedManager(options: SimulatedManagerOptions): Peers {
  const { number, vms, config, log, failed } = options;
  const refs = Array.from({ length: vms }, (_, vm) => ({ id: randomUUID(), name: simulatedVmName(number, vm) }));
  const host = `sim${number}`;
  const service = new SimulatedService(host, refs);
  const start = Peers.prepare({
    config,
    host,
    local: handlersOf(service as unknown as Service),
    vms: new KnownVms(refs) as unknown as PeersOptions["vms"],
    localVms: new SteadyVms(refs),
    // Nothing waits here that could be moved.
    store: {} as PeersOptions["store"],
    accounts: { rightsOf: () => undefined },
    audit: { recordAll: () => Promise.resolve() },
    expireAfterMs: () => 86_400_000,
    log,
    failed,
  });
  return start();
}

/** Of the service, what other managers ask in the benchmark. */
class SimulatedService implements Pick<Service, "listVms" | "send"> {
  readonly #summaries: VmSummary[];
  readonly #refs: VmRef[];

  constructor(host: string, refs: VmRef[]) {
    this.#refs = refs;
    this.#summaries = refs.map((vm) => summaryOf(vm, host));
  }

  listVms(): VmSummary[] {
    return this.#summaries;
  }

  send(...[who, nameOrId, message]: Parameters<Service["send"]>): Promise<Receipt> {
    const vm = this.#refs.find(({ id, name }) => id === nameOrId || name === nameOrId);
    if (vm === undefined) throw new Error(`there is no VM '${nameOrId}'`);
    const now = new Date().toISOString();
    const { messageId = newMessageId() } = message.params;
    const head = { messageId, vm, method: message.method, keys: keysOf(message), by: who.name };
    const result = { epoch: "0123456789abcdef", revision: 1, replaced: [] };
    return Promise.resolve({ ...head, state: "delivered", queuedAt: now, deliveredAt: now, result });
  }
}

function keysOf({ method, params }: NewMessage): string[] {
  return method === "set" ? params.entries.map(({ key }) => key) : [];
}

/** With all that a VM has whose agent was greeted. */
function summaryOf({ id, name }: VmRef, host: string): VmSummary {
  const now = new Date().toISOString();
  return {
    id,
    name,
    host,
    status: "Running",
    statusSince: now,
    inventory: "libvirt qemu:///system",
    channel: `/run/libvirt/qemu/channel/target/domain-1-${name}/org.vmmessage.agent.0`,
    link: { state: "up", since: now },
    agent: {
      software: "vmmessage 0.1.0",
      uuid: id,
      bootId: id,
      epoch: "0123456789abcdef",
      revision: 1,
      greetedAt: now,
    },
    lastHeardAt: now,
    pending: 0,
  };
}

/** What is named here, of these. */
class KnownVms {
  readonly #vms: { ref: VmRef }[];

  constructor(refs: readonly VmRef[]) {
    this.#vms = refs.map((ref) => ({ ref }));
  }

  resolve(_who: Principal, nameOrId: string): { ref: VmRef } {
    const found = this.#vms.find(({ ref }) => ref.id === nameOrId || ref.name === nameOrId);
    if (found === undefined) throw new CommandError("failed", `there is no VM '${nameOrId}'`, { unknownVm: true });
    return found;
  }

  visibleTo(): { ref: VmRef }[] {
    return this.#vms;
  }
}

/** Running and answering, and never otherwise. */
class SteadyVms implements LocalVms {
  readonly #vms: LocalVm[];

  constructor(refs: readonly VmRef[]) {
    this.#vms = refs.map((ref) => ({ ref, strength: 3, pending: 0, answers: () => Promise.resolve(true) }));
  }

  all(): LocalVm[] {
    return this.#vms;
  }

  byId(vmId: string): LocalVm | undefined {
    return this.#vms.find(({ ref }) => ref.id === vmId);
  }

  onChange(): () => void {
    return () => undefined;
  }
}
