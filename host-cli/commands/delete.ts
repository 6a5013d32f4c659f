import { CommandError } from "../../shared/cli/failure.ts";
import { newMessageId } from "../../shared/random.ts";
import type { DeleteCommand } from "../command.ts";
import { type Context, openGuest } from "../open-guest.ts";
import { Transcript } from "../transcript.ts";

/** `delete KEY...`: those that are there. When none is, the answer is `no-such-key`. */
export async function deleteKeys(command: DeleteCommand, context: Context): Promise<void> {
  const { keys, condition, style } = command;
  const transcript = new Transcript(context.output, style);
  await using guest = await openGuest(command, context, transcript);
  transcript.say(keys.length === 1 ? "Deleting key." : "Deleting keys.");
  const result = await guest.change("delete", { messageId: newMessageId(), keys, ...condition });
  if (result.deleted.length === 0) {
    const names = keys.map((key) => `'${key}'`).join(", ");
    throw new CommandError("no-such-key", `'${guest.vm.name}' has no key ${names}`, { vm: guest.vm.name, keys });
  }
  for (const key of keys) {
    transcript.say(result.deleted.includes(key) ? `Key '${key}' deleted.` : `There was no key '${key}'.`);
  }
  if (style === "json") context.output.json({ vm: guest.vm.name, ...result });
}
