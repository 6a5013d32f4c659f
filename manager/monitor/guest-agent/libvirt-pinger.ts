/** The pings of one VM's qemu-ga through libvirt, fitted into rounds that are shorter than libvirt's own time-outs. */
import { pause } from "../../../shared/abort.ts";
import type { WorkSlots } from "../../work-slots.ts";
import { type Probe, unknown } from "../probe.ts";

/** A virsh that is told to wait as long as we do ends a little after us. Some 50 ms on a quiet host. */
const GRACE_MS = 500;

/** What libvirt gives an agent to synchronize that it is out of step with, however short our time-out. */
const LIBVIRT_SYNC_MS = 5_000;

/** Runs one guest-ping to its end, however long libvirt takes. Never rejects. */
export type Ping = (timeoutSeconds: number) => Promise<Probe>;

export interface LibvirtPingerOptions {
  ping: Ping;
  /** Of all VMs together. */
  slots: WorkSlots;
  /** Between two rounds, as the configuration has it now. */
  intervalMs: () => number;
}

/**
 * An agent that hangs is told of after our time-out once, because libvirt was in step with it. From then on libvirt has it
 * synchronize first, which takes five seconds (libvirt 9.0, measured). An end to that is not to be had: who ends virsh leaves
 * the command in libvirtd, with one of its twenty workers. So each command runs to its end, one at a time for a VM, and what
 * it says after its round's time counts in the next round. After the first miss the next command is begun at once, so that no
 * round in between goes without. A command that waits for another program's (up to 30 s) says nothing, in any round.
 */
export class LibvirtPinger {
  readonly #options: LibvirtPingerOptions;
  #underWay: Promise<Probe> | undefined;
  /** What was said after its round, and when. */
  #late: { probe: Probe; at: number } | undefined;

  constructor(options: LibvirtPingerOptions) {
    this.#options = options;
  }

  /** Never rejects; settles a little after `timeoutMs` at the latest. */
  async ping(timeoutMs: number, signal: AbortSignal): Promise<Probe> {
    const late = this.#takeLate();
    const timeoutSeconds = Math.max(1, Math.floor(timeoutMs / 1_000));
    const command = this.#underWay ?? this.#begin(timeoutSeconds);
    if (command === undefined) return late ?? unknown("too many guest agents are asked at this moment");
    const probe = await within(command, timeoutMs + GRACE_MS, signal);
    if (probe === undefined) return late ?? unknown("libvirt has not answered yet; it may be asked something else");
    this.#late = undefined;
    if (probe.type === "missed" && timeoutMs < LIBVIRT_SYNC_MS) void this.#begin(timeoutSeconds);
    return probe;
  }

  /** A miss in a round that is long over says nothing of this one, and an answer is asked for anew. */
  #takeLate(): Probe | undefined {
    const late = this.#late;
    this.#late = undefined;
    const isRecent = late !== undefined && performance.now() - late.at < 2 * this.#options.intervalMs();
    return isRecent && late.probe.type === "missed" ? late.probe : undefined;
  }

  /** Undefined when there is no slot. */
  #begin(timeoutSeconds: number): Promise<Probe> | undefined {
    const { ping, slots } = this.#options;
    if (slots.isFull) return undefined;
    const command = slots
      .run(() => ping(timeoutSeconds))
      .then((probe) => {
        this.#underWay = undefined;
        this.#late = { probe, at: performance.now() };
        return probe;
      });
    this.#underWay = command;
    return command;
  }
}

/** Undefined when it takes longer, or is not waited for any more. */
async function within(command: Promise<Probe>, timeoutMs: number, signal: AbortSignal): Promise<Probe | undefined> {
  const settled = new AbortController();
  try {
    return await Promise.race([
      command,
      pause(timeoutMs, AbortSignal.any([signal, settled.signal])).then(() => undefined),
    ]);
  } finally {
    settled.abort();
  }
}
