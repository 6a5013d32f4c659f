import { readFile } from "node:fs/promises";
import { freemem, loadavg, totalmem } from "node:os";
import { ProcessorClock } from "../stats/processors.ts";
import type { Handler } from "./context.ts";

const processors = new ProcessorClock();

/** Load, processors, memory and disks, for monitoring without a network. */
export const stats: Handler<"stats"> = async (_params, { machine, disks }) => ({
  uptimeMs: machine.now().uptimeMs,
  loadAverage: loadavg(),
  ...processors.read(await readFile("/proc/stat", "utf8")),
  memoryTotalBytes: totalmem(),
  memoryAvailableBytes: await availableMemory(),
  disks: await disks.read(),
});

/** What programs can have without swapping, as the kernel estimates it (proc_meminfo(5), MemAvailable). */
async function availableMemory(): Promise<number> {
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(await readFile("/proc/meminfo", "utf8"))?.[1];
  return kibibytes === undefined ? freemem() : Number(kibibytes) * 1024;
}
