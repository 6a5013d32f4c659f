/** Asks qemu-ga through libvirt, which holds its channel, and reads what virsh makes of the answer. */
import { CommandError } from "../../../shared/cli/failure.ts";
import { virsh } from "../../../shared/libvirt/virsh.ts";
import { type Probe, unknown } from "../probe.ts";
import { boundedReason } from "./reason.ts";

/**
 * For libvirt to settle it, beside the time for the answer: up to 30 s behind another program's command, 5 s to synchronize
 * with the agent, and some for virsh itself.
 */
const MAX_CALL_MS = 45_000;

const MISSED: Probe = { type: "missed" };
const ANSWERED: Probe = { type: "answered" };

/**
 * By the words of libvirt 9.0, and newer ones for the first. "Guest agent is not responding" alone says nothing: it stands
 * before both of what is wrong with a guest that hangs and with one in which no qemu-ga runs.
 */
const VERDICTS: readonly [said: RegExp, means: Probe][] = [
  [/Guest agent not available for now|agent didn't respond to (?:synchronization|command) within/i, MISSED],
  // It answers and refuses: its administrator may forbid guest-ping.
  [/unable to execute QEMU agent command/i, ANSWERED],
  [/agent is not connected/i, unknown("qemu-ga does not run in the guest")],
  [/agent is not configured/i, unknown("the VM has no channel for qemu-ga")],
  [/agent disappeared/i, unknown("qemu-ga ended while it was asked")],
  [/cannot acquire state change lock/i, unknown("another program asks qemu-ga something")],
  [/domain is not running/i, unknown("the VM does not run")],
];

/** One guest-ping. Never rejects. @param timeoutSeconds for the answer, in whole seconds; libvirt may take longer, see above */
export async function virshPing(
  uri: string,
  vmId: string,
  timeoutSeconds: number,
  signal: AbortSignal,
): Promise<Probe> {
  if (signal.aborted) return unknown("the manager stops");
  const time = AbortSignal.timeout(timeoutSeconds * 1_000 + MAX_CALL_MS);
  const command = [`--domain=${vmId}`, `--timeout=${timeoutSeconds}`, '{"execute":"guest-ping"}'];
  try {
    await virsh(["qemu-agent-command", ...command], { uri, signal: AbortSignal.any([signal, time]) });
    return ANSWERED;
  } catch (error) {
    return error instanceof CommandError ? verdictOf(error.message) : unknown(boundedReason(String(error)));
  }
}

/** @param said how virsh failed */
export function verdictOf(said: string): Probe {
  const [, verdict] = VERDICTS.find(([words]) => words.test(said)) ?? [];
  return verdict ?? unknown(boundedReason(said));
}
