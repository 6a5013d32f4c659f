/** The agent's system calls, as strace in the guest saw them. */
import type { Guest } from "../harness/guest.ts";
import { waitFor } from "../harness/wait-for.ts";

export interface SystemCall {
  name: string;
  /** With file descriptors as `21</path>`. */
  args: string;
  /** The lines of the trace where it began and ended: calls of several threads overlap. */
  begin: number;
  end: number;
}

const traceFile = "/tmp/trace";
const traced = "openat,write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2";

/** The calls that the running agent makes while `work` is done. */
export async function traceAgent(guest: Guest, work: () => Promise<unknown>): Promise<SystemCall[]> {
  const pid = await guest.agentPid();
  const args = ["-f", "-y", "-s", "64", "-e", `trace=${traced}`, "-o", traceFile, "-p", String(pid)];
  const strace = await guest.qga.spawn(["strace", ...args]);
  const isTraced = `for task in /proc/${String(pid)}/task/*; do grep -q '^TracerPid:.[1-9]' $task/status || exit 1; done`;
  await waitFor("strace on all of the agent's threads", async () => {
    return (await guest.exec(["sh", "-c", isTraced])).exitCode === 0;
  });
  await work();
  await guest.shell(`kill ${strace}`);
  await guest.qga.waitForExit(strace);
  return parseTrace(await guest.readText(traceFile));
}

/** Lines as `12 fsync(21</a>) = 0`, or cut in two: `12 fsync(21</a> <unfinished ...>`, `12 <... fsync resumed>) = 0`. */
export function parseTrace(trace: string): SystemCall[] {
  const calls: SystemCall[] = [];
  const unfinished = new Map<string, SystemCall>();
  for (const [line, text] of trace.split("\n").entries()) {
    const [, thread = "", name, args = ""] = /^(\d+) +(\w+)\((.*)$/.exec(text) ?? [];
    if (name !== undefined) {
      const call = { name, args, begin: line, end: line };
      calls.push(call);
      if (args.endsWith("<unfinished ...>")) unfinished.set(thread, call);
    }
    const [, resumed = ""] = /^(\d+) +<\.\.\. \w+ resumed>/.exec(text) ?? [];
    const call = unfinished.get(resumed);
    if (call !== undefined) call.end = line;
    unfinished.delete(resumed);
  }
  return calls;
}
