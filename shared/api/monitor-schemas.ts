/** The health of guests in the manager's HTTP API. */
import * as z from "zod/mini";
import { monitorStates } from "../monitor-table.ts";
import { applicationState, count, shortText } from "../protocol/message.ts";
import { vmRef } from "./schemas.ts";

const time = z.iso.datetime();

/** What the last ping on a channel found. `unknown`: nothing that says anything of the guest; the reason says why. */
export const channelEvidence = z.object({
  result: z.enum(["answered", "missed", "unknown"]),
  at: time,
  reason: z.optional(z.string()),
  /** When it answered last. */
  answeredAt: z.optional(time),
});
export type ChannelEvidence = z.infer<typeof channelEvidence>;

const subject = {
  state: z.enum(monitorStates),
  since: time,
  /** Pings that were missed in a row. */
  misses: count,
};

export const applicationHealth = z.object({
  name: shortText,
  kind: applicationState.shape.kind,
  ...subject,
  reason: z.optional(z.string()),
});
export type ApplicationHealth = z.infer<typeof applicationHealth>;

export const recoveryStanding = z.object({
  policy: shortText,
  /** Within the policy's time. */
  runs: count,
  lastRunAt: z.optional(time),
  /** Nothing is run any more until the guest has been healthy for the policy's time. */
  isSuspended: z.boolean(),
});
export type RecoveryStanding = z.infer<typeof recoveryStanding>;

export const vmHealth = z.object({
  vm: vmRef,
  /** Whether the configuration has it watched. */
  isMonitored: z.boolean(),
  ...subject,
  /** By our agent, and by QEMU's guest agent where the VM has one. */
  agent: z.optional(channelEvidence),
  guestAgent: z.optional(channelEvidence),
  /** Of an agent that is expected. */
  expectedAgent: z.optional(z.object({ state: z.enum(monitorStates), since: time })),
  applications: z.array(applicationHealth),
  recovery: z.array(recoveryStanding),
});
export type VmHealth = z.infer<typeof vmHealth>;
