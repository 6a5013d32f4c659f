/** What one ping on one channel found out about a guest. */
import type { ApplicationState } from "../../shared/protocol/message.ts";

export type Probe =
  /** `applications`: what the agent watches; undefined when the channel does not say. */
  | { type: "answered"; applications?: readonly ApplicationState[] | undefined }
  /** It was asked where it had answered before, had its time, and was silent. */
  | { type: "missed" }
  /**
   * Nothing that says anything of the guest: the channel is not ours, was never answered on, or was lost. `isHeld`: another
   * client has it, so that an agent that is expected is not missing for all we know.
   */
  | { type: "unknown"; reason: string; isHeld?: true };

export function unknown(reason: string): Probe {
  return { type: "unknown", reason };
}
