import type { Output } from "../../shared/cli/output.ts";
import type { WireEntry } from "../../shared/protocol/message.ts";
import { fromWireValue, valueBytes } from "../../shared/protocol/value.ts";
import type { GetCommand, OutputStyle } from "../command.ts";
import type { Context } from "../context.ts";
import type { Origin } from "../guest.ts";
import { openGuest } from "../open-guest.ts";
import { noteOrigin } from "../origin.ts";
import { sentences, shownValue, Transcript } from "../transcript.ts";

/** `-q KEY` */
export async function get(command: GetCommand, context: Context): Promise<void> {
  const { key, style } = command;
  const { output } = context;
  const transcript = new Transcript(output, style);
  await using guest = await openGuest(command, context, transcript);
  transcript.say(sentences.querying(key));
  const { epoch, entry, origin } = await guest.get(key);
  transcript.say(sentences.querySuccessful, sentences.returned(key, entry), sentences.age(entry));
  if (style !== "transcript") printEntry(output, style, { vm: guest.name, epoch, entry, origin });
  noteOrigin(output, style, guest.name, origin);
}

/** An entry without a story: the bare bytes, one line for people, or one object. */
export function printEntry(
  output: Output,
  style: OutputStyle,
  answer: { vm: string; epoch: string; entry: WireEntry; origin?: Origin | undefined },
): void {
  const { vm, epoch, entry, origin } = answer;
  if (style === "json") output.json({ vm, epoch, ...entry, ...origin });
  else if (style === "quiet") output.raw(valueBytes(fromWireValue(entry)));
  else output.line(shownValue(entry));
}
