/** One run at a time on this machine, whichever program begins it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { CommandError, systemCode } from "../../shared/cli/failure.ts";
import { PLAIN_ENVIRONMENT } from "../../shared/process-group.ts";

const LOCK_FILE = "bootstrap.lock";

/** Of flock(1), here and in busybox, when somebody else has the lock. */
const HELD_CODE = 1;

/** Where flock(1) finds our open file. */
const LOCK_FD = 3;

/**
 * Runs `work` while nobody else runs theirs. Throws CommandError: `held` when somebody does, `failed` when that cannot be found
 * out.
 *
 * It is the kernel's own lock (flock(2)), which Node has no call for: flock(1) takes it on our open file, as shells have it do
 * with theirs. The lock belongs to the open file, so it stays when flock(1) has ended, and goes when we close the file or die,
 * however that happens. There is nothing stale to recognise, hence no moment between looking and taking, and no process id that
 * another one may have by then. The file itself stays: to remove it would let two programs lock two files of one name. Programs
 * that we start do not inherit it (O_CLOEXEC): what a module leaves behind does not hold the lock.
 */
export async function withRunLock<R>(runDirectory: string, work: () => Promise<R>): Promise<R> {
  await mkdir(runDirectory, { recursive: true, mode: 0o755 });
  // For nobody else: who can open it can lock it.
  const file = await open(join(runDirectory, LOCK_FILE), "a", 0o600);
  try {
    await lock(file);
    return await work();
  } finally {
    await file.close();
  }
}

async function lock({ fd }: FileHandle): Promise<void> {
  const flock = spawn("flock", ["-n", String(LOCK_FD)], {
    env: PLAIN_ENVIRONMENT,
    stdio: ["ignore", "ignore", "ignore", fd],
  });
  const [code, signal] = (await once(flock, "exit").catch((error: unknown) => {
    throw notLocked(`flock(1) of util-linux cannot be started: ${systemCode(error) ?? String(error)}`);
  })) as [number | null, NodeJS.Signals | null];
  if (code === 0) return;
  if (code !== HELD_CODE) throw notLocked(`flock(1) ended with ${signal ?? `exit code ${code}`}`);
  throw new CommandError("held", "this machine is being configured already; try again when that is done");
}

function notLocked(reason: string): CommandError {
  return new CommandError("failed", `it cannot be known whether this machine is being configured already: ${reason}`);
}
