/** What `virsh domstate` calls the states (`virDomainState`), in our words. */
import type { VmStatus } from "../vm-status.ts";

const STATUS = new Map<string, VmStatus>([
  ["running", "Running"],
  ["idle", "Running"],
  ["blocked", "Running"],
  ["in shutdown", "Running"],
  ["paused", "Paused"],
  ["shut off", "Stopped"],
  // QEMU ended without having been told to. libvirt forgets the reason when it is restarted itself.
  ["shut off (crashed)", "Crashed"],
  ["crashed", "Crashed"],
  ["pmsuspended", "Suspended"],
]);

/** Of `shut off`, or with the reason that `--reason` adds: `shut off (crashed)`. */
export function domainStatus(printed: string): VmStatus {
  const [state = ""] = printed.split(" (");
  return STATUS.get(printed) ?? STATUS.get(state) ?? "Unknown";
}
