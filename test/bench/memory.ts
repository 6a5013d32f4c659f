/** What a process holds in memory, once it has come to rest. */
import { readFile } from "node:fs/promises";
import { waitFor } from "../vm/harness/wait-for.ts";

/** Memory counts when for so long it has grown by no more than a manager's heartbeats make it. */
const SETTLED_MS = 3000;
const SETTLED_KIB = 1024;

export async function settledPrivateKib(pid: number): Promise<number> {
  return (await settledPrivateMemory(pid)).kib;
}

/** proc(5): what no other process has part in. */
export interface PrivateMemory {
  kib: number;
  /** The part of it that the process has written; the rest is mostly the program's own file. */
  dirtyKib: number;
}

export async function settledPrivateMemory(pid: number): Promise<PrivateMemory> {
  let settled = { kib: 0, since: 0 };
  return waitFor("the memory to settle", async () => {
    const memory = await privateMemory(pid);
    const now = performance.now();
    if (Math.abs(memory.kib - settled.kib) > SETTLED_KIB) settled = { kib: memory.kib, since: now };
    return now - settled.since > SETTLED_MS && memory;
  });
}

async function privateMemory(pid: number): Promise<PrivateMemory> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  const kib = (field: string): number => Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(rollup)?.[1]);
  const dirtyKib = kib("Private_Dirty");
  return { kib: kib("Private_Clean") + dirtyKib, dirtyKib };
}
