/** What the service answers, made out of what the guest, the mirror and the store have. */
import type {
  FleetResult,
  FleetSummary,
  NewMessage,
  PendingChange,
  Receipt,
  ReceivedMessage,
} from "../../shared/api/schemas.ts";
import { asFailure, CommandError } from "../../shared/cli/failure.ts";
import { NoAnswerError } from "../../shared/peer.ts";
import type { WireEntry } from "../../shared/protocol/message.ts";
import { ageInWords, printable } from "../../shared/terminal-text.ts";
import { mayUseKey } from "../access/permissions.ts";
import type { Principal } from "../access/principal.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import type { ManagedVm } from "../vms/managed-vm.ts";

/** Asks the guest for something that only it knows. Throws CommandError: `unreachable` or `held` when it cannot be asked. */
export async function ask<T>(vm: ManagedVm, question: () => Promise<T>): Promise<T> {
  if (!vm.isUp) throw cannotAsk(vm);
  try {
    return await question();
  } catch (error) {
    if (error instanceof NoAnswerError) throw cannotAsk(vm, error.message);
    throw asFailure(error);
  }
}

function cannotAsk(
  { vm, linkState, linkReason }: ManagedVm,
  saw = linkReason,
  pending?: PendingChange[],
): CommandError {
  const code = linkState === "held" ? "held" : "unreachable";
  const why = vm.status === "Running" ? (saw ?? `its link is ${linkState}`) : `the VM is ${vm.status.toLowerCase()}`;
  const details = { vm: vm.name, status: vm.status, linkState, ...(pending && { pending }) };
  return new CommandError(code, `'${vm.name}' does not answer: ${why}`, details);
}

/** Without a mirror there is nothing to answer from, but for what waits. */
export function assertWasHeard(vm: ManagedVm, pending: PendingChange[]): void {
  if (vm.facts === undefined) throw cannotAsk(vm, vm.linkReason, pending);
}

/** `'web1' was last heard, 5 minutes ago` */
export function lastHeard({ vm, asOf }: ManagedVm): string {
  return `'${vm.name}' was last heard, ${ageInWords(Date.now() - asOf)} ago`;
}

/** A mirror holds a secret's name, never its value. */
export function secretElsewhere(vm: ManagedVm, key: string): CommandError {
  const message = `'${printable(key)}' is a secret: only '${vm.vm.name}' itself has its value, and it does not answer`;
  return new CommandError("unreachable", message, { key });
}

/** Everybody who sees the VM sees that it was cleared; a set or a delete is shown whole or not at all. */
export function maySeeReceipt(who: Pick<Principal, "keys" | "limits">, receipt: Receipt): boolean {
  return receipt.keys.every((key) => mayUseKey(who, key));
}

/** A receipt that may be seen, without the keys that may not: a clear's result names all that there were. */
export function receiptFor(who: Pick<Principal, "keys" | "limits">, receipt: Receipt): Receipt {
  const { result } = receipt;
  if (receipt.method !== "clear" || result?.deleted === undefined) return receipt;
  return { ...receipt, result: { ...result, deleted: result.deleted.filter((key) => mayUseKey(who, key)) } };
}

/**
 * A key that a program in the guest set, as a message from it: as it is now, not each time it was set. Its age is the
 * guest's word, and never leads to before 1970.
 */
export function receivedKey({ ref }: Pick<ManagedVm, "ref">, entry: WireEntry, now: number): ReceivedMessage {
  const { key, value, base64, ageMs, messageId } = entry;
  return {
    vm: ref,
    kind: "set",
    receivedAt: rfc3339(Math.max(0, now - ageMs)),
    key,
    ...(value !== undefined && { value }),
    ...(base64 !== undefined && { base64 }),
    ...(messageId !== undefined && { messageId }),
  };
}

/** One VM's failure in a fleet. Throws what is a bug of ours. */
export function resultError(error: unknown): NonNullable<FleetResult["error"]> {
  const failure = asFailure(error);
  if (!(failure instanceof CommandError)) throw failure;
  const { code, message, details } = failure;
  return { code, message, details };
}

/** Under which of the summary's counts a result falls. */
export function outcomeOf({ error, receipt }: FleetResult): Exclude<keyof FleetSummary, "vms"> {
  if (error !== undefined) return "failed";
  if (receipt === undefined) return "done";
  if (receipt.state === "refused" || receipt.state === "expired") return "failed";
  return receipt.state === "queued" ? "queued" : "done";
}

/** The values a message carries, for an audit log that is to have them; a secret's never. */
export function loggedValues(message: NewMessage): Record<string, string> | undefined {
  if (message.log !== true || message.method !== "set") return undefined;
  const open = message.params.entries.filter(({ secret }) => secret !== true);
  return Object.fromEntries(open.map(({ key, value, base64 = "" }) => [key, value ?? `base64:${base64}`]));
}
