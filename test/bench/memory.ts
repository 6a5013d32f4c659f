/** What a process holds in memory, once it has come to rest. */
import { readFile } from "node:fs/promises";
import { waitFor } from "../vm/harness/wait-for.ts";

/** Memory counts when for so long it has grown by no more than a manager's heartbeats make it. */
const SETTLED_MS = 3000;
const SETTLED_KIB = 1024;

export async function settledPrivateKib(pid: number): Promise<number> {
  let settled = { kib: 0, since: 0 };
  return waitFor("the memory to settle", async () => {
    const kib = await privateKib(pid);
    const now = performance.now();
    if (Math.abs(kib - settled.kib) > SETTLED_KIB) settled = { kib, since: now };
    return now - settled.since > SETTLED_MS && kib;
  });
}

/** proc(5): what no other process has part in. */
async function privateKib(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  const kib = (field: string): number => Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(rollup)?.[1]);
  return kib("Private_Clean") + kib("Private_Dirty");
}
