/** The daemon's pid file. One whose process is gone, or is another program's by now, is stale and replaced. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

export class AlreadyRunningError extends Error {
  override readonly name = "AlreadyRunningError";
}

/** Throws AlreadyRunningError when the pid in the file is that of a live agent that was started as this one. */
export function assertOnlyOne(path: string): void {
  const pid = readPid(path);
  if (pid !== undefined && pid !== process.pid && isSameProgram(pid)) {
    throw new AlreadyRunningError(`${path}: another agent is running, pid ${pid}`);
  }
}

export function writePidFile(path: string): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  writeFileSync(temporary, `${process.pid}\n`, { mode: 0o644, flag: "wx" });
  renameSync(temporary, path);
}

export function releasePidFile(path: string): void {
  if (readPid(path) === process.pid) rmSync(path, { force: true });
}

function readPid(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, "utf8").trim());
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Pids are used again: only a process started as this one was counts, `node agent run` or the like. */
function isSameProgram(pid: number): boolean {
  const program = programOf(process.pid);
  return program !== undefined && programOf(pid) === program;
}

function programOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, 3).join(" ");
  } catch {
    return undefined;
  }
}
