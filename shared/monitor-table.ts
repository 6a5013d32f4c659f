/**
 * How the manager judges a guest: one table for the monitor, for `vmmessage monitor --table` and for the guide. The states
 * are those of Masakari's introspective instance monitor (docs.openstack.org/masakari-monitors).
 */

/** `reported`: it failed, and that was told. */
export const monitorStates = ["discovery", "healthy", "error", "reported"] as const;
export type MonitorState = (typeof monitorStates)[number];

/** What is watched: the guest by its pings, the agent where one is expected, an application by what the agent says of it. */
export const subjectKinds = ["guest", "agent", "application"] as const;
export type SubjectKind = (typeof subjectKinds)[number];

/** What a round of pings can find out. What is unknown is none of these, and changes nothing. */
export const monitorInputs = {
  answered: "it answered, or is well",
  missed: "it did not answer in time, or is not well",
  lost: "the same, for the last time of the threshold",
  overdue: "it has not answered, or been well, for longer than the boot time",
  begun: "the machine started, was reset or was stopped",
} as const;
export type MonitorInput = keyof typeof monitorInputs;

/** What is told with a step. */
export type MonitorNews = "failure" | "missing" | "recovery";

export interface MonitorStep {
  to: MonitorState;
  tells?: MonitorNews;
}

export const monitorTable = {
  discovery: {
    answered: { to: "healthy" },
    missed: { to: "discovery" },
    lost: { to: "discovery" },
    overdue: { to: "reported", tells: "missing" },
    begun: { to: "discovery" },
  },
  healthy: {
    answered: { to: "healthy" },
    missed: { to: "error" },
    lost: { to: "reported", tells: "failure" },
    overdue: { to: "reported", tells: "missing" },
    begun: { to: "discovery" },
  },
  error: {
    answered: { to: "healthy" },
    missed: { to: "error" },
    lost: { to: "reported", tells: "failure" },
    overdue: { to: "reported", tells: "missing" },
    begun: { to: "discovery" },
  },
  reported: {
    answered: { to: "healthy", tells: "recovery" },
    missed: { to: "reported" },
    lost: { to: "reported" },
    overdue: { to: "reported", tells: "missing" },
    begun: { to: "reported" },
  },
} as const satisfies Record<MonitorState, Record<MonitorInput, MonitorStep>>;

/**
 * The events that tell it. A guest as such is never overdue: nobody knows whether it has an agent. An expected agent that is
 * silent is missed only while the guest answers on another channel.
 */
export const monitorEvents = {
  guest: { failure: "VM.HUNG", recovery: "VM.RECOVERED" },
  agent: { failure: "VM.AGENT-MISSING", missing: "VM.AGENT-MISSING", recovery: "VM.AGENT-RECOVERED" },
  application: {
    failure: "VM.APPLICATION-FAILED",
    missing: "VM.APPLICATION-FAILED",
    recovery: "VM.APPLICATION-RECOVERED",
  },
} as const satisfies Record<SubjectKind, Partial<Record<MonitorNews, string>>>;
