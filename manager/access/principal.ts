/** Who asks, and what they may do. */
import type { Role } from "../../shared/api/schemas.ts";

export interface Principal {
  /** The user's name, or the socket that stands for one (`socket:/run/vmmessage/manager.sock`). */
  readonly name: string;
  /** From where: `unix:PATH`, `https:ADDRESS`, `ssh:ADDRESS`. */
  readonly via: string;
  readonly role: Role;
  /** Names or patterns of VMs; `*` is all of them. */
  readonly vms: readonly string[];
  /** Prefixes of keys; the empty one is all of them. */
  readonly keys: readonly string[];
}
