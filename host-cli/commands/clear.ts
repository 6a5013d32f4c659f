import { newMessageId } from "../../shared/random.ts";
import type { PlainCommand } from "../command.ts";
import { type Context, openGuest } from "../open-guest.ts";
import { Transcript } from "../transcript.ts";

/** `clear`: deletes all keys. */
export async function clear(command: PlainCommand, context: Context): Promise<void> {
  const transcript = new Transcript(context.output, command.style);
  await using guest = await openGuest(command, context, transcript);
  transcript.say("Deleting all keys.");
  const result = await guest.change("clear", { messageId: newMessageId() });
  const { deleted, more } = result;
  const count = `${more ? "More than " : ""}${deleted.length}`;
  transcript.say(`${count} ${deleted.length === 1 ? "key" : "keys"} deleted.`);
  if (command.style === "json") context.output.json({ vm: guest.vm.name, ...result });
}
