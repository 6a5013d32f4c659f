/** Guests with the agent up, the state in which most tests start. */
import { type Guest, type GuestOptions, startGuest } from "../harness/guest.ts";
import type { ExecResult } from "../harness/qga.ts";
import type { Snapshot } from "../harness/snapshot.ts";
import { waitFor } from "../harness/wait-for.ts";
import { agent } from "./programs.ts";

/** Boots a guest whose agent serves the port and the local socket. */
export async function startGuestWithAgent(options: GuestOptions = {}): Promise<Guest> {
  const guest = await startGuest({ agent: [], ...options });
  try {
    await agentAnswers(guest);
    return guest;
  } catch (error) {
    await guest.stop();
    throw error;
  }
}

/** The same guest, saved: a test restores it in less than a second. */
export async function saveGuestWithAgent(options: GuestOptions = {}): Promise<Snapshot> {
  const guest = await startGuestWithAgent(options);
  return guest.saveSnapshot();
}

/** Waits for the agent, which is up some time after its guest. The error quotes what it had to say. */
export async function agentAnswers(guest: Guest): Promise<void> {
  let last: ExecResult | undefined;
  const answers = async () => {
    last = await agent(guest, ["-l"]);
    return last.exitCode === 0;
  };
  try {
    await waitFor("an answer of the agent", answers, { timeoutMs: 60_000, intervalMs: 200 });
  } catch (error) {
    const log = await guest.agentLog().catch(String);
    throw new Error(`${String(error)}; agent -l: ${JSON.stringify(last)}\n${log}`, { cause: error });
  }
}
