/** Reads domains through virsh: which there are, and each as the inventory describes a VM. */
import { CHANNEL_NAME } from "../../shared/channel-name.ts";
import { channelProblem, isOpenInGuest } from "../../shared/libvirt/channel-problem.ts";
import { domainStatus } from "../../shared/libvirt/domain-state.ts";
import { type Domain, readDomain } from "../../shared/libvirt/domain-xml.ts";
import { virsh } from "../../shared/libvirt/virsh.ts";
import { newNonce } from "../../shared/random.ts";
import type { GuestAgent, Vm } from "../vms/vm.ts";
import { inParallel } from "../in-parallel.ts";
import { readUuid } from "./uuid.ts";

/** libvirt answers from its own memory, also for a QEMU that hangs: a call takes some 20 ms. */
const CALL_TIMEOUT_MS = 20_000;

/** virsh processes at a time. */
const MAX_CALLS = 4;

/** Domains for one virsh: a hundred take 100 ms together and 2 s one by one. Twenty stay far below its bound for output. */
const DOMAINS_PER_CALL = 20;

export class LibvirtDomains {
  readonly #uri: string;
  readonly #host: string;

  constructor(uri: string, host: string) {
    this.#uri = uri;
    this.#host = host;
  }

  /** The names of all domains by their UUIDs. Rejects with CommandError. */
  async list(signal: AbortSignal): Promise<Map<string, string>> {
    const printed = await this.#ask(["list", "--all", "--uuid", "--name"], signal);
    const domains = new Map<string, string>();
    for (const line of printed.split("\n")) {
      const id = readUuid(line.slice(0, 36));
      if (id !== undefined) domains.set(id, line.slice(37));
    }
    return domains;
  }

  /**
   * The domains with these UUIDs. One that cannot be read is left out: it is gone, or the connection was lost, and a list
   * made afterwards tells which. Rejects with CommandError.
   */
  async read(ids: readonly string[], signal: AbortSignal): Promise<Map<string, Vm>> {
    const calls = Array.from({ length: Math.ceil(ids.length / DOMAINS_PER_CALL) }, (_, index) => {
      return ids.slice(index * DOMAINS_PER_CALL, (index + 1) * DOMAINS_PER_CALL);
    });
    const vms = await inParallel(calls, MAX_CALLS, (some) => this.#readTogether(some, signal));
    return new Map(vms.flat().map((vm) => [vm.id, vm]));
  }

  /** The separator is new for each call: the XML holds text that others wrote. virsh goes on after a command that failed. */
  async #readTogether(ids: readonly string[], signal: AbortSignal): Promise<Vm[]> {
    const separator = newNonce();
    const parts = ids.flatMap((id) => [`dumpxml --domain=${id}`, `domstate --domain=${id} --reason`]);
    const script = [...parts, ""].join(`; echo ${separator}; `);
    const printed = (await this.#ask([script.replace(/; $/, "")], signal)).split(separator);
    return ids.flatMap((id, index) => {
      const [xml = "", state = ""] = printed.slice(2 * index, 2 * index + 2);
      return this.#describe(id, xml, state.trim()) ?? [];
    });
  }

  #describe(id: string, xml: string, state: string): Vm | undefined {
    const domain = readDomain(xml, CHANNEL_NAME);
    if (domain === undefined || state === "") return undefined;
    const { name, channel } = domain;
    const status = domainStatus(state);
    const isPausedByUser = status === "Paused" ? state === "paused (user)" : undefined;
    const vm = { id, name, status, host: this.#host, channelPath: undefined, isPausedByUser };
    if (status !== "Running" && status !== "Paused" && status !== "Suspended") return vm;
    const guestAgent = this.#guestAgent(domain);
    const problem = channelProblem(name, channel);
    if (problem !== undefined) return { ...vm, guestAgent, problem };
    return { ...vm, channelPath: channel?.socketPath, isOpenInGuest: isOpenInGuest(channel), guestAgent };
  }

  #guestAgent({ guestAgent }: Domain): GuestAgent | undefined {
    if (guestAgent === undefined) return undefined;
    return { via: "libvirt", uri: this.#uri, isOpenInGuest: isOpenInGuest(guestAgent) };
  }

  #ask(args: readonly string[], signal: AbortSignal): Promise<string> {
    return virsh(args, { uri: this.#uri, signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT_MS)]) });
  }
}
