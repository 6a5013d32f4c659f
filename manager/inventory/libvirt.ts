/** The VMs of a libvirt connection: `virsh event` says which domain to look at again, `virsh` then says how it is. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { systemCode } from "../../shared/cli/failure.ts";
import { connectTo, virshMessage, VirshMissingError } from "../../shared/libvirt/virsh.ts";
import type { Vm } from "../vms/vm.ts";
import { type LibvirtEvent, parseLibvirtEvent } from "./libvirt-events.ts";
import { LibvirtDomains } from "./libvirt-domains.ts";
import { linesOf } from "./lines.ts";
import { Retries } from "../retries.ts";
import type { InventorySink, InventorySource } from "./source.ts";
import { WakeUp } from "../wake-up.ts";

/** All domains are read again so often, whatever the events said. */
const RESYNC_MS = 60_000;

/** virsh needs some 30 ms to connect and subscribe, and does not say when it has. Not measured on a busy host. */
const SUBSCRIBED_AFTER_MS = 2_000;

/** Domains that are doubted are read together, and no more often than this: all may be at once. Below a round of pings. */
const LOOK_AFTER_MS = 1_000;

/** A libvirtd that hangs is noticed after about 20 s: virsh then ends. */
const KEEPALIVE = ["--keepalive-interval", "5", "--keepalive-count", "3"];

/** A domain's name is also a file's, which has at most 255 bytes. */
const MAX_LINE_BYTES = 16_384;

const MAX_STDERR_LENGTH = 16_384;

/** What a process wrote before it ended is there by then. */
const GRACE_MS = 200;

export interface LibvirtOptions {
  /** `qemu:///system` */
  uri: string;
  /** This machine's name. */
  host: string;
  /** Each event as it comes, before the domain is looked at. The id is undefined while the domain's name is new. */
  onEvent?: (event: LibvirtEvent, vmId: string | undefined) => void;
}

export class LibvirtSource implements InventorySource {
  readonly name: string;
  readonly #options: LibvirtOptions;
  #watch: DomainWatch | undefined;

  constructor(options: LibvirtOptions) {
    this.name = `libvirt ${options.uri}`;
    this.#options = options;
  }

  /** `virsh event` ends when libvirtd does; it is then started again, and what was missed is found by reading all. */
  async run(sink: InventorySink, signal: AbortSignal): Promise<void> {
    const retries = new Retries({ firstMs: 500, longestMs: 15_000 });
    while (!signal.aborted) {
      const watch = new DomainWatch(this.#options, sink);
      this.#watch = watch;
      const reason = await watch.run(signal);
      this.#watch = undefined;
      if (reason === undefined) return;
      sink.disconnected(reason);
      if (watch.wasSynchronized) retries.reset();
      await retries.wait(signal);
    }
  }

  /** No event tells that a port of ours was closed: `agent-lifecycle` is of org.qemu.guest_agent.0 alone. The XML does. */
  look(id: string): void {
    this.#watch?.look(id);
  }

  async probe(signal: AbortSignal): Promise<readonly Vm[]> {
    const domains = new LibvirtDomains(this.#options.uri, this.#options.host);
    const names = await domains.list(signal);
    return [...(await domains.read([...names.keys()], signal)).values()];
  }
}

/**
 * One connection's life. Nothing that happens is lost: what came before `virsh event` has subscribed is found by the first
 * reading of all, or by the second, which is made when it has surely subscribed.
 */
class DomainWatch {
  readonly #options: LibvirtOptions;
  readonly #sink: InventorySink;
  readonly #domains: LibvirtDomains;
  readonly #wakeUp = new WakeUp();
  /** By UUID, as last listed. */
  #names = new Map<string, string>();
  #vms = new Map<string, Vm>();
  /** To be read again. */
  readonly #stale = new Set<string>();
  #isListStale = false;
  /** To be read again, and from when on, by performance.now(). */
  readonly #doubted = new Set<string>();
  #lookAt = Infinity;
  /** When all is to be read again, by performance.now(). */
  #resyncAt = 0;
  wasSynchronized = false;

  constructor(options: LibvirtOptions, sink: InventorySink) {
    this.#options = options;
    this.#sink = sink;
    this.#domains = new LibvirtDomains(options.uri, options.host);
  }

  /** Until libvirt cannot be asked any more: answers why; or until aborted. */
  async run(signal: AbortSignal): Promise<string | undefined> {
    const ending = new AbortController();
    const either = AbortSignal.any([signal, ending.signal]);
    const parts = [this.#followEvents(either), this.#keepFresh(either)];
    try {
      await Promise.race(parts);
      return undefined;
    } catch (error) {
      if (signal.aborted) return undefined;
      return error instanceof Error ? error.message : String(error);
    } finally {
      ending.abort();
      await Promise.allSettled(parts);
    }
  }

  look(id: string): void {
    if (!this.#names.has(id)) return;
    this.#doubted.add(id);
    if (this.#lookAt !== Infinity) return;
    this.#lookAt = performance.now() + LOOK_AFTER_MS;
    this.#wakeUp.call();
  }

  /** Rejects when virsh has ended. */
  async #followEvents(signal: AbortSignal): Promise<void> {
    const args = [...KEEPALIVE, ...connectTo(this.#options.uri), "event", "--all", "--loop", "--timestamp"];
    const child = spawn("virsh", args, { stdio: ["ignore", "pipe", "pipe"] });
    const said = textOf(child.stderr);
    const failure = startFailure(child);
    // What virsh itself started (ssh, for a remote URI) may hold its output open a little longer, or for ever.
    child.once("exit", () =>
      setTimeout(() => [child.stdout, child.stderr].map((stream) => stream.destroy()), GRACE_MS),
    );
    const end = (): void => void child.kill("SIGKILL");
    signal.addEventListener("abort", end);
    try {
      await this.#readEvents(child.stdout).finally(end);
      throw (await failure) ?? new Error(`libvirt: ${virshMessage(said()) || "'virsh event' ended"}`);
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  /** Settles when there will be no more. Rejects with RemoteProtocolError. */
  async #readEvents(stdout: Readable): Promise<void> {
    try {
      for await (const line of linesOf(stdout, MAX_LINE_BYTES)) this.#noteLine(line);
    } catch (error) {
      if (systemCode(error) !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
    }
  }

  /** Other lines are the rest of an event that has several, and virsh's own words; of an event that is not understood all is read. */
  #noteLine(line: string): void {
    const event = parseLibvirtEvent(line);
    if (event === undefined) {
      if (!line.includes("event '")) return;
      this.#resyncAt = 0;
      this.#wakeUp.call();
      return;
    }
    const id = this.#idOf(event.domain);
    this.#options.onEvent?.(event, id);
    if (id === undefined) this.#isListStale = true;
    else this.#stale.add(id);
    this.#wakeUp.call();
  }

  #idOf(name: string): string | undefined {
    for (const [id, known] of this.#names) if (known === name) return id;
    return undefined;
  }

  /** One thing at a time, so that what is read later is what is true later. */
  async #keepFresh(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (performance.now() >= this.#resyncAt) {
        this.#resyncAt = performance.now() + (this.wasSynchronized ? RESYNC_MS : SUBSCRIBED_AFTER_MS);
        await this.#resynchronize(signal);
      } else {
        await this.#refresh(signal);
      }
      const nextAt = Math.min(this.#resyncAt, this.#lookAt);
      await this.#wakeUp.wait(Math.max(nextAt - performance.now(), 0), signal);
    }
  }

  async #resynchronize(signal: AbortSignal): Promise<void> {
    this.#stale.clear();
    this.#takeDoubted();
    this.#isListStale = false;
    this.#names = await this.#domains.list(signal);
    const read = await this.#domains.read([...this.#names.keys()], signal);
    const vms = [...this.#names].map(([id, name]) => read.get(id) ?? this.#vms.get(id) ?? this.#unreadable(id, name));
    this.#vms = new Map(vms.map((vm) => [vm.id, vm]));
    this.wasSynchronized = true;
    this.#sink.disconnected(undefined);
    this.#sink.synchronized(vms);
  }

  /** Reads what events were about, and what is doubted for long enough. A domain that cannot be read is looked for in a new list. */
  async #refresh(signal: AbortSignal): Promise<void> {
    const isListStale = this.#isListStale;
    this.#isListStale = false;
    if (performance.now() >= this.#lookAt) for (const id of this.#takeDoubted()) this.#stale.add(id);
    if (isListStale) await this.#relist(signal);
    const ids = [...this.#stale];
    this.#stale.clear();
    const read = await this.#domains.read(ids, signal);
    for (const vm of read.values()) {
      this.#vms.set(vm.id, vm);
      this.#sink.changed(vm);
    }
    if (isListStale || read.size === ids.length) return;
    this.#isListStale = true;
    this.#wakeUp.call();
  }

  #takeDoubted(): string[] {
    const ids = [...this.#doubted];
    this.#doubted.clear();
    this.#lookAt = Infinity;
    return ids;
  }

  async #relist(signal: AbortSignal): Promise<void> {
    const names = await this.#domains.list(signal);
    for (const [id, name] of names) if (this.#names.get(id) !== name) this.#stale.add(id);
    for (const id of this.#names.keys()) {
      if (names.has(id)) continue;
      this.#stale.delete(id);
      this.#vms.delete(id);
      this.#sink.removed(id);
    }
    this.#names = names;
  }

  #unreadable(id: string, name: string): Vm {
    const problem = `libvirt lists the VM '${name}' and cannot describe it; does 'virsh dumpxml ${id}' work?`;
    return { id, name, status: "Unknown", host: this.#options.host, channelPath: undefined, problem };
  }
}

/** Settles when the child has ended: with the error when it could not be started. */
function startFailure(child: ChildProcess): Promise<Error | undefined> {
  return new Promise((resolve) => {
    child.once("error", (error) => {
      resolve(systemCode(error) === "ENOENT" ? new VirshMissingError({}, { cause: error }) : error);
    });
    child.once("close", () => {
      resolve(undefined);
    });
  });
}

/** Reads all, so that the writer is never held up, and keeps what is within the bound: the last of it. */
function textOf(stream: Readable): () => string {
  let text = "";
  stream.setEncoding("utf8").on("data", (piece: string) => {
    text = (text + piece).slice(-MAX_STDERR_LENGTH);
  });
  return () => text;
}
