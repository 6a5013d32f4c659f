/** What one ping on one channel found out about a guest. */
import type { ApplicationState } from "../../shared/protocol/message.ts";

export type Probe =
  /** `applications`: what the agent watches; undefined when the answer does not say. */
  | { type: "answered"; applications?: readonly ApplicationState[] | undefined }
  /** It was asked where it had answered before, had its time, and was silent. */
  | { type: "missed" }
  /**
   * Nothing that says anything of the guest: the channel is not ours, was never answered on, or was lost. `isSilent`: the
   * channel is ours and works, and no agent is there for all we know; one that is expected there is missed.
   */
  | { type: "unknown"; reason: string; isSilent?: boolean };

export function unknown(reason: string, isSilent = false): Probe {
  return { type: "unknown", reason, ...(isSilent && { isSilent }) };
}
