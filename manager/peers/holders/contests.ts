/**
 * VMs that two managers see run, or that both reach, and neither more so than the other. For a moment that is so whenever a VM
 * is migrated: only what is found twice, and some time apart, is said.
 */
import type { VmRef } from "../../../shared/api/schemas.ts";
import type { Peer } from "../wire.ts";

/** A migration's last step takes less, and so does libvirt's word of it. Not measured. */
const DOUBT_MS = 4_000;

/** Whoever contests a VM asks for it every 5 s; who has not done so for this long does not contest it any more. */
const FORGOTTEN_AFTER_MS = 16_000;

interface Contest {
  vm: VmRef;
  peer: Peer;
  firstAt: number;
  lastAt: number;
  isSaid: boolean;
}

export interface ContestsOptions {
  /** Once when it begins, and with undefined when it ends. */
  said: (vm: VmRef, peer: Peer | undefined) => void;
  now: () => number;
}

export class Contests {
  readonly #options: ContestsOptions;
  readonly #contests = new Map<string, Contest>();

  constructor(options: ContestsOptions) {
    this.#options = options;
  }

  /** Undefined also while it is in doubt. */
  of(vmId: string): { vm: VmRef; peer: Peer } | undefined {
    const contest = this.#contests.get(vmId);
    return contest?.isSaid === true ? { vm: contest.vm, peer: contest.peer } : undefined;
  }

  /** That manager is as strong as we are. */
  found(vm: VmRef, peer: Peer): void {
    const now = this.#options.now();
    const known = this.#contests.get(vm.id);
    if (known !== undefined && known.peer.id !== peer.id) this.end(vm.id);
    const contest = this.#contests.get(vm.id) ?? { vm, peer, firstAt: now, lastAt: now, isSaid: false };
    contest.lastAt = now;
    this.#contests.set(vm.id, contest);
    if (contest.isSaid || now - contest.firstAt < DOUBT_MS) return;
    contest.isSaid = true;
    this.#options.said(contest.vm, peer);
  }

  /** One of both is stronger, or gone. Answers whether it was contested, or that was in doubt. */
  end(vmId: string): boolean {
    const contest = this.#contests.get(vmId);
    if (contest === undefined) return false;
    this.#contests.delete(vmId);
    if (contest.isSaid) this.#options.said(contest.vm, undefined);
    return true;
  }

  /** Ends those with managers that are gone or have not asked for long; answers of which VMs. */
  endOld(peers: readonly Peer[]): string[] {
    const there = new Set(peers.map(({ id }) => id));
    const before = this.#options.now() - FORGOTTEN_AFTER_MS;
    const old = [...this.#contests.values()].filter(({ peer, lastAt }) => !there.has(peer.id) || lastAt < before);
    for (const { vm } of old) this.end(vm.id);
    return old.map(({ vm }) => vm.id);
  }
}
