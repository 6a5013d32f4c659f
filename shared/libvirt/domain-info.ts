/** Reads what `virsh dominfo` prints: a line for each fact, `Persistent:     yes`. No domain's name has a newline in it. */
import type { VmStatus } from "../vm-status.ts";
import { domainStatus } from "./domain-state.ts";

export interface DomainInfo {
  status: VmStatus;
  /** There is a QEMU, running or paused. */
  isActive: boolean;
  /** libvirt keeps no definition of it: it is gone when it stops. */
  isTransient: boolean;
  /** Its memory was saved (`virsh managedsave`), and its next start goes on with it. */
  hasSavedState: boolean;
}

/** Undefined when it is not what dominfo prints. */
export function readDomainInfo(printed: string): DomainInfo | undefined {
  const facts = new Map([...printed.matchAll(/^([A-Z][A-Za-z() ]*): +(.*)$/gm)].map(([, name, fact]) => [name, fact]));
  const [id, state, persistent] = ["Id", "State", "Persistent"].map((name) => facts.get(name));
  if (id === undefined || state === undefined || persistent === undefined) return undefined;
  return {
    status: domainStatus(state),
    isActive: id !== "-",
    isTransient: persistent === "no",
    hasSavedState: facts.get("Managed save") === "yes",
  };
}
