/** Who asks, and what they may do. */
import type { Role } from "../../shared/api/schemas.ts";

export interface Principal {
  /** The user's name, or the socket that stands for one (`socket:/run/vmmessage/manager.sock`). */
  readonly name: string;
  /** From where: `unix:PATH`, `https:ADDRESS`, `ssh:ADDRESS`, `amqp:HOST` for one who asks through another manager. */
  readonly via: string;
  readonly role: Role;
  /** Names or patterns of VMs; `*` is all of them. */
  readonly vms: readonly string[];
  /** Prefixes of keys; the empty one is all of them. */
  readonly keys: readonly string[];
  /** Further lists, each of which has to allow a VM or a key as well. */
  readonly limits?: readonly Pick<Principal, "vms" | "keys">[];
}
