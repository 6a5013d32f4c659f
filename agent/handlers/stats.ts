import { readFile, statfs } from "node:fs/promises";
import { freemem, loadavg, totalmem } from "node:os";
import type { Handler } from "./context.ts";

/** Load, memory and the root disk, for monitoring without a network. */
export const stats: Handler<"stats"> = async (_params, { machine }) => {
  const disk = await statfs("/");
  return {
    uptimeMs: machine.now().uptimeMs,
    loadAverage: loadavg(),
    memoryTotalBytes: totalmem(),
    memoryAvailableBytes: await availableMemory(),
    disks: [{ path: "/", totalBytes: disk.blocks * disk.bsize, availableBytes: disk.bavail * disk.bsize }],
  };
};

/** What programs can have without swapping, as the kernel estimates it (proc_meminfo(5), MemAvailable). */
async function availableMemory(): Promise<number> {
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(await readFile("/proc/meminfo", "utf8"))?.[1];
  return kibibytes === undefined ? freemem() : Number(kibibytes) * 1024;
}
