/** What the processors did since the machine started (proc_stat(5)). */

/** The unit of /proc/stat is a hundredth of a second, USER_HZ, on every architecture that Node runs on. */
const MS_PER_TICK = 10;

/** user, nice, system, idle, iowait, irq, softirq, steal; guest and guest_nice follow, and are in user and nice already. */
const COUNTED = 8;
const IDLE = 3;
const IOWAIT = 4;

export interface ProcessorTimes {
  cpus: number;
  /** Of all processors together. Idle counts the wait for disks too: a processor that waits can work. */
  cpuBusyMs: number;
  cpuIdleMs: number;
}

/**
 * The times as they are told: what the kernel takes back of the wait for disks (proc_stat(5), iowait) stays counted till it
 * is made up for, since who compares two answers takes no time that runs backwards.
 */
export class ProcessorClock {
  #busyMs = 0;
  #idleMs = 0;

  /** Reads the text of /proc/stat. Throws when it is none. */
  read(text: string): ProcessorTimes {
    const { cpus, cpuBusyMs, cpuIdleMs } = parseProcStat(text);
    this.#busyMs = Math.max(this.#busyMs, cpuBusyMs);
    this.#idleMs = Math.max(this.#idleMs, cpuIdleMs);
    return { cpus, cpuBusyMs: this.#busyMs, cpuIdleMs: this.#idleMs };
  }
}

/** Reads the text of /proc/stat. Throws when it is none. */
export function parseProcStat(text: string): ProcessorTimes {
  const together = /^cpu +(.+)$/m.exec(text)?.[1];
  const cpus = text.match(/^cpu\d+ /gm)?.length;
  if (together === undefined || cpus === undefined) throw new Error("/proc/stat has no line for the processors");
  const ticks = together.trim().split(/ +/).map(Number).slice(0, COUNTED);
  const idle = (ticks[IDLE] ?? 0) + (ticks[IOWAIT] ?? 0);
  const all = ticks.reduce((sum, count) => sum + count, 0);
  return { cpus, cpuBusyMs: (all - idle) * MS_PER_TICK, cpuIdleMs: idle * MS_PER_TICK };
}
