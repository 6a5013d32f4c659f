/** What an event says of a VM's health, as far as a policy is concerned. */
import { monitorEvents } from "../../../shared/monitor-table.ts";
import type { RecoveryPolicy } from "../../config.ts";
import type { Event } from "../../events/event.ts";

type Failure = RecoveryPolicy["on"][number];

/** `subject`: what of the VM it is that failed or recovered, the same for both. */
export type HealthNews = { type: "failed" | "recovered"; subject: string } | { type: "stopped" };

/** What says that it is over. */
const recoveryOf = {
  "VM.HUNG": monitorEvents.guest.recovery,
  "VM.AGENT-MISSING": monitorEvents.agent.recovery,
  "VM.APPLICATION-FAILED": monitorEvents.application.recovery,
  "VM.CRASHED": "VM.RUNNING",
} as const satisfies Record<Failure, string>;

/** The types of events that {@link healthNews} understands. */
export function typesFor({ on }: Pick<RecoveryPolicy, "on">): string[] {
  return [...new Set([...on, ...on.map((failure) => recoveryOf[failure]), "VM.RUNNING", "VM.STOPPED", "VM.CRASHED"])];
}

/** Undefined for what says nothing. */
export function healthNews(
  { type, data }: Pick<Event, "type" | "data">,
  { on }: Pick<RecoveryPolicy, "on">,
): HealthNews | undefined {
  const failure = on.find((one) => one === type);
  if (failure !== undefined) return { type: "failed", subject: subjectOf(failure, data) };
  const recovered = on.find((one) => recoveryOf[one] === type);
  if (recovered !== undefined) return { type: "recovered", subject: subjectOf(recovered, data) };
  if (type === "VM.RUNNING") return { type: "recovered", subject: "VM.CRASHED" };
  return type === "VM.STOPPED" || type === "VM.CRASHED" ? { type: "stopped" } : undefined;
}

/** Each application is one of its own. */
function subjectOf(failure: Failure, { application }: Event["data"]): string {
  return failure === "VM.APPLICATION-FAILED" && typeof application === "string" ? `${failure} ${application}` : failure;
}
