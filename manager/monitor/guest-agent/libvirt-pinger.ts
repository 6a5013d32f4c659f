/** The pings of one VM's qemu-ga through libvirt, fitted into rounds that are shorter than libvirt's own time-outs. */
import { within } from "../../../shared/abort.ts";
import { type Probe, unknown } from "../probe.ts";
import type { VirshQueue } from "./virsh-queue.ts";

/** A virsh that is told to wait as long as we do ends a little after us. Some 50 ms on a quiet host. */
const GRACE_MS = 500;

/** What libvirt gives an agent to synchronize that it is out of step with, however short our time-out. */
const LIBVIRT_SYNC_MS = 5_000;

/** An agent that hangs on is asked so often: only whether it is back is still to be found out. */
const RARE_MS = 60_000;

/** Runs one guest-ping to its end, however long libvirt takes. Never rejects. */
export type Ping = (timeoutSeconds: number) => Promise<Probe>;

export interface LibvirtPingerOptions {
  ping: Ping;
  /** Of all VMs together. */
  queue: VirshQueue;
  /** Between two rounds, as the configuration has it now. */
  intervalMs: () => number;
  /** Misses in a row that are a failure, as the configuration has it now. */
  threshold: () => number;
}

/**
 * An agent that hangs is told of after our time-out once, because libvirt was in step with it. From then on libvirt has it
 * synchronize first, which takes five seconds (libvirt 9.0, measured). An end to that is not to be had: who ends virsh leaves
 * the command in libvirtd, with one of its twenty workers. So each command runs to its end, one at a time for a VM, and what
 * it says after its round's time counts in the next round. After a miss within its round the next command is asked for at
 * once, so that no round in between goes without. A command that waits for another program's (up to 30 s) says nothing, in
 * any round.
 *
 * Each command waits for its turn among all VMs'. A round in which it does, or has not ended, is unknown, unless the one
 * before it said something since the last round. An agent that missed twice what is a failure is asked once a minute from
 * then on, so that those of which that is not known yet have their turns.
 */
export class LibvirtPinger {
  readonly #options: LibvirtPingerOptions;
  readonly #closing = new AbortController();
  /** Settles with undefined when it was given up before its turn. */
  #underWay: Promise<Probe | undefined> | undefined;
  #hasBegun = false;
  /** What was said after its round, and when. */
  #late: { probe: Probe; at: number } | undefined;
  /** In a row. */
  #misses = 0;
  /** It is not asked before, by performance.now(). */
  #restsUntil = -Infinity;

  constructor(options: LibvirtPingerOptions) {
    this.#options = options;
  }

  /** Never rejects; settles a little after `timeoutMs` at the latest. */
  async ping(timeoutMs: number, signal: AbortSignal): Promise<Probe> {
    const late = this.#takeLate();
    if (this.#rests()) return late ?? unknown("it has hung for long, and is asked once a minute");
    const probe = await within(timeoutMs + GRACE_MS, this.#underWay ?? this.#begin(timeoutMs), signal);
    if (probe === undefined) return late ?? unknown(this.#whyNotYet());
    this.#late = undefined;
    if (probe.type === "missed" && timeoutMs < LIBVIRT_SYNC_MS && !this.#rests()) void this.#begin(timeoutMs);
    return probe;
  }

  /** Gives up its place; what it has begun runs to its end. */
  close(): void {
    this.#closing.abort();
  }

  /** What was said long before this round says nothing of it. */
  #takeLate(): Probe | undefined {
    const late = this.#late;
    this.#late = undefined;
    const isRecent = late !== undefined && performance.now() - late.at < 2 * this.#options.intervalMs();
    return isRecent && late.probe.type !== "unknown" ? late.probe : undefined;
  }

  #rests(): boolean {
    return this.#underWay === undefined && performance.now() < this.#restsUntil;
  }

  #whyNotYet(): string {
    return this.#hasBegun
      ? "libvirt has not answered yet; it may be asked something else"
      : "many guest agents are asked, and others are before it";
  }

  #begin(timeoutMs: number): Promise<Probe | undefined> {
    const { ping, queue } = this.#options;
    const timeoutSeconds = Math.max(1, Math.floor(timeoutMs / 1_000));
    this.#hasBegun = false;
    const begin = (): Promise<Probe> => {
      this.#hasBegun = true;
      return ping(timeoutSeconds);
    };
    this.#underWay = queue.take(begin, this.#closing.signal).then((probe) => {
      this.#underWay = undefined;
      if (probe !== undefined) this.#note(probe);
      return probe;
    });
    return this.#underWay;
  }

  #note(probe: Probe): void {
    const now = performance.now();
    this.#late = { probe, at: now };
    if (probe.type === "answered") this.#misses = 0;
    if (probe.type !== "missed") return;
    this.#misses += 1;
    if (this.#misses >= 2 * this.#options.threshold()) this.#restsUntil = now + RARE_MS;
  }
}
