import { newMessageId } from "../../shared/random.ts";
import type { ClearCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openGuest } from "../open-guest.ts";
import { sentFacts } from "../sent.ts";
import { sentences, Transcript } from "../transcript.ts";
import { rethrowWithRetry } from "../unconfirmed.ts";

/** `clear`: deletes all keys. */
export async function clear(command: ClearCommand, context: Context): Promise<void> {
  const { sending, style, messageId = newMessageId() } = command;
  const transcript = new Transcript(context.output, style);
  await using guest = await openGuest(command, context, transcript, { sending });
  transcript.say("Deleting all keys.");
  const sent = await guest.send("clear", { messageId }, sending).catch(rethrowWithRetry(guest, messageId));
  if (sent.result === undefined) transcript.say(sentences.queued);
  else transcript.say(deletedInWords(sent.result));
  if (style === "json") context.output.json(sentFacts(guest.name, messageId, sent));
}

function deletedInWords({ deleted, more }: { deleted: string[]; more?: boolean | undefined }): string {
  return `${more ? "More than " : ""}${deleted.length} ${deleted.length === 1 ? "key" : "keys"} deleted.`;
}
