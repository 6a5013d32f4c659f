import { CommandError } from "../../shared/cli/failure.ts";
import { newMessageId } from "../../shared/random.ts";
import type { DeleteCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openGuest } from "../open-guest.ts";
import { sentFacts } from "../sent.ts";
import { sentences, Transcript } from "../transcript.ts";
import { rethrowWithRetry } from "../unconfirmed.ts";

/** `delete KEY...`: those that are there. When none is, the answer is `no-such-key`. */
export async function deleteKeys(command: DeleteCommand, context: Context): Promise<void> {
  const { keys, condition, sending, style, messageId = newMessageId() } = command;
  const transcript = new Transcript(context.output, style);
  await using guest = await openGuest(command, context, transcript, { sending });
  transcript.say(keys.length === 1 ? "Deleting key." : "Deleting keys.");
  const sent = await guest
    .send("delete", { messageId, keys, ...condition }, sending)
    .catch(rethrowWithRetry(guest, messageId));
  if (sent.result === undefined) transcript.say(sentences.queued);
  else tell(transcript, guest.name, keys, sent.result.deleted);
  if (style === "json") context.output.json(sentFacts(guest.name, messageId, sent));
}

function tell(transcript: Transcript, vm: string, keys: string[], deleted: string[]): void {
  if (deleted.length === 0) {
    const names = keys.map((key) => `'${key}'`).join(", ");
    throw new CommandError("no-such-key", `'${vm}' has no key ${names}`, { vm, keys });
  }
  for (const key of keys) {
    transcript.say(deleted.includes(key) ? `Key '${key}' deleted.` : `There was no key '${key}'.`);
  }
}
