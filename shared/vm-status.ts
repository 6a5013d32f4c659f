/** What a VM does, in ovm_vmmessage's words, one list for all who show it. */
export const vmStatuses = ["Running", "Stopped", "Paused", "Crashed", "Suspended", "Unknown"] as const;

export type VmStatus = (typeof vmStatuses)[number];
