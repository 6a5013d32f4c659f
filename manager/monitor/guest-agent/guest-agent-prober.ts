/** Pings of QEMU's own guest agent, qemu-ga: a second sign of life where ours gives none. */
import type { GuestAgent, Vm } from "../../vms/vm.ts";
import { type Probe, unknown } from "../probe.ts";
import { LibvirtPinger } from "./libvirt-pinger.ts";
import { pingSocket } from "./socket-ping.ts";
import { virshPing } from "./virsh-ping.ts";
import { VirshQueue } from "./virsh-queue.ts";

/** As the configuration has it when it says nothing. */
const USUAL_THRESHOLD = 3;

export interface GuestAgentProberOptions {
  /** Between two rounds of pings, as the configuration has it now. */
  intervalMs: () => number;
  /** Misses in a row that are a failure, as the configuration has it now; three without it. */
  threshold?: () => number;
  pingSocket?: typeof pingSocket;
  virshPing?: typeof virshPing;
}

/** What is known of one VM's guest agent since the VM began. */
interface Life {
  hasAnswered: boolean;
  libvirt: { uri: string; pinger: LibvirtPinger } | undefined;
}

/**
 * Made to be asked only in rounds in which our own agent did not answer: each question through libvirt is a process, and each
 * one on a socket keeps others from it for as long as it takes, which is too much for thousands of guests that are well.
 *
 * Through libvirt at most eight are asked at a time and ten in a second, whoever waits longest first (`VirshQueue`): where
 * more guests have no other agent that answers than that, their rounds are stretched, each one's alike. One that is well takes
 * a tenth of a second of the queue, one that hangs two thirds (5.3 s of one of eight slots) until it was missed often enough,
 * and then once a minute: with n guests of which h hang, each waits n / 10 s + h * 0.7 s at most for its turn. What is said then
 * counts in the guest's next round, and the rounds before are unknown. So each miss takes an interval, that wait and 5.5 s at
 * most, and after the last one of the threshold it is told within an interval. A command that another program's keeps waiting
 * has its slot for 30 s.
 *
 * A miss needs evidence: the hypervisor says that qemu-ga has its port open, it answered before in this life of the VM and
 * under this manager, and nobody else has it. All else is unknown. A port without an id is never known to be open, so there
 * only answers count.
 */
export class GuestAgentProber {
  readonly #options: GuestAgentProberOptions;
  readonly #queue = new VirshQueue();
  readonly #closing = new AbortController();
  /** What is asked, so that closing waits for it. */
  readonly #underWay = new Set<Promise<Probe>>();
  readonly #lives = new Map<string, Life>();

  constructor(options: GuestAgentProberOptions) {
    this.#options = options;
  }

  /** One at a time for a VM. Never rejects; settles half a second after `timeoutMs` at the latest, at once when aborted. */
  async probe(vm: Vm, timeoutMs: number, signal: AbortSignal): Promise<Probe> {
    const { id, guestAgent } = vm;
    if (guestAgent === undefined) return unknown("the VM has no channel for qemu-ga");
    if (guestAgent.isOpenInGuest === false) return unknown("qemu-ga does not run in the guest");
    if (this.#closing.signal.aborted) return unknown("the manager stops");
    const life = this.#lives.get(id) ?? { hasAnswered: false, libvirt: undefined };
    this.#lives.set(id, life);
    const ending = AbortSignal.any([signal, this.#closing.signal]);
    const probe = await this.#track(this.#ask(id, life, guestAgent, timeoutMs, ending));
    return probe.type === "missed" ? this.#judgeMiss(vm, life) : probe;
  }

  /** The VM started, was reset or was stopped: what it answered before is another life's. */
  begun(vmId: string): void {
    this.#lives.get(vmId)?.libvirt?.pinger.close();
    this.#lives.delete(vmId);
  }

  forget(vmId: string): void {
    this.begun(vmId);
  }

  /** Settles when nothing is asked any more, no socket is open, and each virsh has been told to end. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const { libvirt } of this.#lives.values()) libvirt?.pinger.close();
    await Promise.all(this.#underWay);
  }

  #judgeMiss({ id, guestAgent }: Vm, life: Life): Probe {
    if (this.#lives.get(id) !== life) return unknown("the VM began anew");
    if (!life.hasAnswered) return unknown("it has never answered");
    if (guestAgent?.isOpenInGuest !== true) return unknown("nothing tells whether qemu-ga runs; its port has no id");
    return { type: "missed" };
  }

  #ask(id: string, life: Life, guestAgent: GuestAgent, timeoutMs: number, signal: AbortSignal): Promise<Probe> {
    switch (guestAgent.via) {
      case "socket":
        return this.#heard(life, (this.#options.pingSocket ?? pingSocket)(guestAgent.path, { timeoutMs, signal }));
      case "libvirt":
        return this.#pingerOf(id, life, guestAgent.uri).ping(timeoutMs, signal);
    }
  }

  #pingerOf(id: string, life: Life, uri: string): LibvirtPinger {
    if (life.libvirt?.uri === uri) return life.libvirt.pinger;
    life.libvirt?.pinger.close();
    const { intervalMs, threshold = () => USUAL_THRESHOLD, virshPing: ping = virshPing } = this.#options;
    const pinger = new LibvirtPinger({
      ping: (timeoutSeconds) => {
        return this.#track(this.#heard(life, ping(uri, id, timeoutSeconds, this.#closing.signal)));
      },
      queue: this.#queue,
      intervalMs,
      threshold,
    });
    life.libvirt = { uri, pinger };
    return pinger;
  }

  /** Also of an answer that comes between two rounds. */
  async #heard(life: Life, asked: Promise<Probe>): Promise<Probe> {
    const probe = await asked;
    if (probe.type === "answered") life.hasAnswered = true;
    return probe;
  }

  async #track(asked: Promise<Probe>): Promise<Probe> {
    this.#underWay.add(asked);
    try {
      return await asked;
    } finally {
      this.#underWay.delete(asked);
    }
  }
}
