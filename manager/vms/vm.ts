/** A virtual machine as an inventory describes it. */
import type { VmRef } from "../../shared/api/schemas.ts";
import type { VmStatus } from "../../shared/vm-status.ts";

export interface Vm {
  /** Its UUID, lower case, with hyphens: what it is known by, whatever it is called. */
  readonly id: string;
  readonly name: string;
  readonly status: VmStatus;
  /** The machine it runs on. */
  readonly host: string;
  /** The Unix socket of its channel, while it runs and has one. */
  readonly channelPath: string | undefined;
  /** Whether something in the guest has the port open, where the hypervisor can tell. */
  readonly isOpenInGuest?: boolean | undefined;
  /** Of a VM that is Paused, where the hypervisor can tell: somebody paused it, and it is not being saved or moved. */
  readonly isPausedByUser?: boolean | undefined;
  /** QEMU's own guest agent (`org.qemu.guest_agent.0`), where it has one and runs. */
  readonly guestAgent?: GuestAgent | undefined;
  /** Why it has no channel though it runs, in words: what to add to its definition. */
  readonly problem?: string | undefined;
}

/** How QEMU's guest agent is reached. libvirt holds its channel, and lets others ask through it. */
export type GuestAgent = { isOpenInGuest?: boolean | undefined } & (
  { via: "libvirt"; uri: string } | { via: "socket"; path: string }
);

export function vmRef({ id, name }: VmRef): VmRef {
  return { id, name };
}
