/** A stream of the manager's that goes on where it was when the connection is lost, as through the manager's restart. */
import { pause } from "../../shared/abort.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { ManagerLostError } from "./connect.ts";
import type { Asked, Manager, StreamedEndpoint, StreamOf } from "./manager.ts";

/** Between a lost connection and the next: a manager is restarted in about this time. */
const RESUME_PAUSE_MS = 1_000;

export interface Resuming {
  note: (text: string) => void;
  signal: AbortSignal;
}

/**
 * Has no end of its own. Throws what the manager refuses, and ManagerLostError when there is no manager at the start, or
 * when the signal ends it. Once begun, what is unreachable is tried again.
 * @param asked says where the stream is to go on; called for each connection
 */
export async function* resumedStream<N extends StreamedEndpoint>(
  manager: Manager,
  name: N,
  asked: () => Asked,
  { note, signal }: Resuming,
): AsyncGenerator<StreamOf<N>, never, undefined> {
  let hasBegun = false;
  for (let noted: string | undefined; ;) {
    let problem = "the connection to the manager was lost";
    try {
      for await (const event of manager.stream(name, asked(), signal)) {
        if (noted !== undefined) note("the manager is back; going on from there");
        noted = undefined;
        hasBegun = true;
        yield event;
      }
    } catch (error) {
      if (signal.aborted || !hasBegun || !isForNow(error)) throw error;
      if (!(error instanceof ManagerLostError)) problem = error.message;
    }
    if (problem !== noted) note(`${problem}; trying again`);
    noted = problem;
    await pause(RESUME_PAUSE_MS, signal);
  }
}

/** A manager that was started again has yet to meet those of other hosts, one of which may be just as new, and says so. */
function isForNow(error: unknown): error is CommandError {
  return error instanceof CommandError && error.code === "unreachable";
}
