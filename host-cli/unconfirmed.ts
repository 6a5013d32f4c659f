/** How to go on after a message of which nobody knows whether it took effect: sent again under its id it has one. */
import { CommandError } from "../shared/cli/failure.ts";
import type { Guest } from "./guest.ts";

/** For a promise's rejection. Anything else than `unconfirmed` is thrown as it is. */
export function rethrowWithRetry({ keepsReceipts }: Guest, messageId: string) {
  return (error: unknown): never => {
    if (!canBeSentAgain(error)) throw error;
    const receipt = keepsReceipts ? `'vmmessage receipt ${messageId}' tells what became of it, and ` : "";
    const message = `${error.message}; ${receipt}${retryInWords(messageId)}`;
    throw new CommandError("unconfirmed", message, { ...error.details, messageId }, { cause: error });
  };
}

export function retryInWords(messageId: string): string {
  return `the same command with --message-id ${messageId} has one effect`;
}

/** One that expired has ended for its manager: again under its id it would only be told so again. */
export function canBeSentAgain(error: unknown): error is CommandError {
  return error instanceof CommandError && error.code === "unconfirmed" && error.details["state"] !== "expired";
}
