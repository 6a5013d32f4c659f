/** Programs that a daemon starts in process groups of their own (`detached`), so that what they start ends with them. */
import type { ChildProcess } from "node:child_process";
import { systemCode } from "./cli/failure.ts";

/** All that such a program is given of an environment: nothing of the daemon's own, which may hold secrets. */
export const PLAIN_ENVIRONMENT = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LANG: "C.UTF-8",
};

/** To the group that a program leads. One that was not started has none, and that nobody is left in it is no error. */
export function signalGroup({ pid }: Pick<ChildProcess, "pid">, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // Nobody is left in it, or only who became another user where we are not root.
    if (systemCode(error) !== "ESRCH" && systemCode(error) !== "EPERM") throw error;
  }
}
