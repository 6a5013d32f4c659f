/** Guests with the agent up, the state in which most tests start. */
import { type Guest, type GuestOptions, startGuest } from "../harness/guest.ts";
import type { Snapshot } from "../harness/snapshot.ts";
import { Host } from "./host.ts";

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

/** Waits for the agent, which is up some time after its guest, as a host does. The error quotes what it had to say. */
export async function agentAnswers(guest: Guest): Promise<void> {
  try {
    await using host = await Host.connect(guest.channelPath);
    await host.hello();
  } catch (error) {
    const log = await guest.agentLog().catch(String);
    throw new Error(`the agent does not answer: ${String(error)}\n${log}`, { cause: error });
  }
}
