/** From a command's target to its guest, by the door that the command takes, told as the transcript's first lines. */
import { usageError } from "../shared/cli/failure.ts";
import type { PasswordReader } from "../shared/cli/password-reader.ts";
import type { CommonOptions, SendingOptions } from "./command.ts";
import type { Context } from "./context.ts";
import { doorOf } from "./door.ts";
import type { Guest } from "./guest.ts";
import type { Lasting } from "./timing.ts";
import { sentences, type Transcript } from "./transcript.ts";

export interface Expectations {
  lasts?: Lasting;
  /** The message whose acknowledgement is waited for after it was sent. */
  acknowledgementOf?: string | undefined;
  sending?: SendingOptions;
  /** Who has read passwords before, and may hold what of the standard input comes after them. */
  passwords?: PasswordReader;
}

export async function openGuest(
  command: CommonOptions,
  context: Context,
  transcript: Transcript,
  expectations: Expectations = {},
): Promise<Guest> {
  transcript.say(sentences.banner);
  const door = await doorOf(command, context);
  if (door.type === "manager") {
    const { openManagedGuest } = await import("./managed/managed-guest.ts");
    return openManagedGuest(door.address, { command, context, transcript, expectations });
  }
  assertChannelCan(expectations.sending);
  const { openDirectGuest } = await import("./direct/direct-guest.ts");
  return openDirectGuest({ command, context, transcript, expectations });
}

function assertChannelCan(sending: SendingOptions | undefined): void {
  if (sending?.expiresInMs !== undefined) throw usageError("--expires needs a manager, in which a message can wait");
  if (sending?.log) throw usageError("--log needs a manager, which keeps an audit log");
}
