/** The VMs whose QEMU has a QMP socket in one directory, made for this manager: QMP serves one client too. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { aborted, pause } from "../../shared/abort.ts";
import { CommandError, systemCode } from "../../shared/cli/failure.ts";
import type { Vm } from "../vms/vm.ts";
import { FolderWatch } from "./folder-watch.ts";
import type { QmpEvent } from "./qmp.ts";
import { QmpFollower } from "./qmp-follower.ts";
import type { Identity } from "./qmp-vm.ts";
import type { InventorySink, InventorySource } from "./source.ts";
import { WakeUp } from "../wake-up.ts";

/** A socket that was there when QEMU did not listen yet, or any more, is tried again so often. */
const RESCAN_MS = 3_000;

/** Several changes at once are looked at together. */
const SETTLE_MS = 50;

/** Each is a connection. Not measured with as many. */
const MAX_SOCKETS = 4_096;

/** Of the sockets that nothing can be learnt from, so many are named. */
const MAX_REASONS = 5;

export interface QmpDirectoryOptions {
  directory: string;
  /** This machine's name. */
  host: string;
  /** Each event as it comes. The VM is undefined until it has said who it is. */
  onEvent?: ((event: QmpEvent, vm: Identity | undefined) => void) | undefined;
}

/** A VM that ended stays known, as Stopped or Crashed: QMP cannot tell whether there will be another QEMU for it. */
export class QmpDirectorySource implements InventorySource {
  readonly name: string;
  readonly seesOnlyRunning = true;
  readonly #options: QmpDirectoryOptions;

  constructor(options: QmpDirectoryOptions) {
    this.name = `qmp ${options.directory}`;
    this.#options = options;
  }

  async run(sink: InventorySink, signal: AbortSignal): Promise<void> {
    const { directory } = this.#options;
    const wakeUp = new WakeUp();
    using watch = new FolderWatch(() => {
      wakeUp.call();
    });
    const sockets = new Sockets(this.#options, sink, signal);
    while (!signal.aborted) {
      watch.watch(new Set([directory]));
      await sockets.look();
      await wakeUp.wait(RESCAN_MS, signal);
      await pause(SETTLE_MS, signal);
    }
    await sockets.ended();
  }

  async probe(signal: AbortSignal): Promise<readonly Vm[]> {
    const over = new AbortController();
    let vms: readonly Vm[] = [];
    let reason: string | undefined;
    const sink: InventorySink = {
      disconnected: (because) => {
        reason = because;
      },
      synchronized: (all) => {
        vms = all;
      },
      changed: () => undefined,
      removed: () => undefined,
    };
    const sockets = new Sockets(this.#options, sink, AbortSignal.any([signal, over.signal]));
    await sockets.look();
    over.abort();
    await sockets.ended();
    if (signal.aborted) throw new CommandError("unreachable", `${this.#options.directory}: no answer in time`);
    if (reason !== undefined) throw new CommandError("unreachable", reason);
    return vms;
  }
}

/** The sockets that are followed, and what became of those that cannot be. */
class Sockets {
  readonly #options: QmpDirectoryOptions;
  readonly #sink: InventorySink;
  readonly #signal: AbortSignal;
  readonly #followed = new Map<string, { ended: Promise<void>; stop: AbortController }>();
  readonly #vms = new Map<string, Vm>();
  /** Which socket speaks for a VM, by the VM's id. */
  readonly #speakers = new Map<string, string>();
  /** Of the QEMU behind each socket, its other sockets: for channels, for other clients of QMP. Each serves one client. */
  readonly #otherSockets = new Map<string, readonly string[]>();
  /** By socket: why its VM is not told of, though it speaks. */
  readonly #clashes = new Map<string, string>();
  /** By socket, and one for the directory itself. */
  readonly #troubles = new Map<string, string>();
  #isSynchronized = false;

  constructor(options: QmpDirectoryOptions, sink: InventorySink, signal: AbortSignal) {
    this.#options = options;
    this.#sink = sink;
    this.#signal = signal;
  }

  /** Follows what is new. The first time, all that is there is told together, when each has spoken or will not soon. */
  async look(): Promise<void> {
    const paths = await this.#scan();
    if (paths === undefined) return;
    const others = new Set([...this.#otherSockets.values()].flat());
    const fresh = paths.filter((path) => !this.#followed.has(path) && !others.has(path));
    const firstWords = fresh.map((path) => this.#follow(path));
    for (const path of this.#troubles.keys()) {
      if (path !== this.#options.directory && !this.#followed.has(path)) this.#note(path, undefined);
    }
    if (this.#isSynchronized) return;
    await Promise.race([Promise.all(firstWords), aborted(this.#signal)]);
    if (this.#signal.aborted) return;
    this.#isSynchronized = true;
    this.#tellTroubles();
    this.#sink.synchronized([...this.#vms.values()]);
  }

  /** Settles when no connection is open any more. */
  async ended(): Promise<void> {
    await Promise.all([...this.#followed.values()].map(({ ended }) => ended));
  }

  async #scan(): Promise<string[] | undefined> {
    const { directory } = this.#options;
    try {
      const entries = await readdir(directory, { withFileTypes: true });
      const paths = entries.filter((entry) => entry.isSocket()).map(({ name }) => join(directory, name));
      const isTooMuch = paths.length > MAX_SOCKETS;
      this.#note(directory, isTooMuch ? `${directory} has more than ${MAX_SOCKETS} sockets` : undefined);
      return paths.sort().slice(0, MAX_SOCKETS);
    } catch (error) {
      this.#note(directory, directoryProblem(directory, error));
      return undefined;
    }
  }

  /** Settles when it has said who it is, or does not within its time. */
  #follow(path: string): Promise<void> {
    const { host, onEvent } = this.#options;
    const firstWord = Promise.withResolvers<undefined>();
    const follower = new QmpFollower({
      path,
      host,
      onVm: (vm) => {
        this.#describe(path, vm);
        firstWord.resolve(undefined);
      },
      onTrouble: (reason) => {
        this.#note(path, reason ?? this.#clashes.get(path));
        firstWord.resolve(undefined);
      },
      onSockets: (sockets) => {
        this.#leaveAlone(path, sockets);
      },
      onEvent: (event, vm) => onEvent?.(event, vm),
    });
    const stop = new AbortController();
    const ended = follower.run(AbortSignal.any([this.#signal, stop.signal])).finally(() => {
      this.#forget(path);
      if (stop.signal.aborted) this.#note(path, undefined);
      firstWord.resolve(undefined);
    });
    this.#followed.set(path, { ended, stop });
    return firstWord.promise;
  }

  /** Its VM may now be told of by another that has it too: those begin anew with the next look. */
  #forget(path: string): void {
    this.#followed.delete(path);
    this.#otherSockets.delete(path);
    this.#clashes.delete(path);
    for (const [id, speaker] of this.#speakers) {
      if (speaker !== path) continue;
      this.#speakers.delete(id);
      for (const other of this.#clashes.keys()) this.#followed.get(other)?.stop.abort();
    }
  }

  #leaveAlone(path: string, sockets: readonly string[]): void {
    const others = sockets.filter((socket) => socket !== path);
    this.#otherSockets.set(path, others);
    for (const other of others) this.#followed.get(other)?.stop.abort();
  }

  #describe(path: string, vm: Vm): void {
    const speaker = this.#speakers.get(vm.id) ?? path;
    if (speaker !== path) {
      const clash = `${path}: its VM '${vm.name}' has the UUID ${vm.id}, which the VM at ${speaker} has too`;
      this.#clashes.set(path, clash);
      this.#note(path, clash);
      return;
    }
    this.#clashes.delete(path);
    this.#speakers.set(vm.id, path);
    this.#vms.set(vm.id, vm);
    if (this.#isSynchronized) this.#sink.changed(vm);
  }

  #note(path: string, reason: string | undefined): void {
    if (this.#troubles.get(path) === reason) return;
    if (reason === undefined) this.#troubles.delete(path);
    else this.#troubles.set(path, reason);
    if (this.#isSynchronized || path === this.#options.directory) this.#tellTroubles();
  }

  #tellTroubles(): void {
    const reasons = [...this.#troubles.values()];
    const others = reasons.length > MAX_REASONS ? [`and ${reasons.length - MAX_REASONS} more`] : [];
    this.#sink.disconnected(
      reasons.length === 0 ? undefined : [...reasons.slice(0, MAX_REASONS), ...others].join("; "),
    );
  }
}

function directoryProblem(directory: string, error: unknown): string {
  switch (systemCode(error)) {
    case "ENOENT":
      return `${directory} does not exist (yet)`;
    case "EACCES":
      return `not permitted to read ${directory}`;
    default:
      return `cannot read ${directory}: ${error instanceof Error ? error.message : String(error)}`;
  }
}
