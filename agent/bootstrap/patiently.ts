/** Tries again what an agent that is away refuses: it may be restarted, perhaps by a module. */
import { pause } from "../../shared/abort.ts";

/** An agent that is restarted is back by then. */
export const PATIENCE_MS = 10_000;

const AGAIN_MS = 500;

/** Does the work, at least once, until it is done or the time is up; then calls `inVain` with the last failure. Never rejects. */
export async function patiently(
  patienceMs: number,
  work: () => Promise<void>,
  inVain: (error: Error) => void,
): Promise<boolean> {
  const deadline = AbortSignal.timeout(patienceMs);
  for (;;) {
    try {
      await work();
      return true;
    } catch (error) {
      await pause(AGAIN_MS, deadline);
      if (!deadline.aborted) continue;
      inVain(error as Error);
      return false;
    }
  }
}
