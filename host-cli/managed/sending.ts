/** What a message to a manager says beside the change, and what its receipt means for the command. */
import type { ChangeMethod, Receipt } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Result } from "../../shared/protocol/message.ts";
import type { SendingOptions } from "../command.ts";

export function sendingFields({ expiresInMs, log }: SendingOptions): { expiresInMs?: number; log?: true } {
  return { ...(expiresInMs !== undefined && { expiresInMs }), ...(log && { log: true as const }) };
}

/** What the guest answered, undefined while it waits. Throws CommandError: the guest's refusal; when it expired unreachable, or unconfirmed. */
export function deliveredResult<M extends ChangeMethod>(method: M, receipt: Receipt): Result<M> | undefined {
  const { state, vm, messageId } = receipt;
  switch (state) {
    case "queued":
      return undefined;
    case "delivered":
    case "read":
    case "acknowledged":
      return resultOf(method, receipt);
    case "expired": {
      if (receipt.isUnconfirmed) throw unconfirmed(receipt);
      const message = `the message expired before '${vm.name}' answered; nothing was changed`;
      throw new CommandError("unreachable", message, { vm: vm.name, messageId, state });
    }
    case "refused": {
      const { code = "failed", message = "the guest refused the message", details = {} } = receipt.refusal ?? {};
      throw new CommandError(code, message, { ...details, vm: vm.name, messageId, state });
    }
    default:
      return unreachable(state);
  }
}

function unconfirmed({ vm, messageId, state }: Receipt): CommandError {
  const message = `the message was sent to '${vm.name}' and expired unanswered; it may or may not be done`;
  return new CommandError("unconfirmed", message, { vm: vm.name, messageId, state });
}

function resultOf<M extends ChangeMethod>(method: M, { result }: Receipt): Result<M> {
  if (result === undefined) throw new CommandError("failed", "the manager's receipt has no answer of the guest");
  const { epoch, revision, replaced = [], volatile, deleted = [], more } = result;
  const at = { epoch, revision };
  const answer =
    method === "set" ? { ...at, replaced, ...(volatile && { volatile }) } : { ...at, deleted, ...(more && { more }) };
  return answer as Result<M>;
}
