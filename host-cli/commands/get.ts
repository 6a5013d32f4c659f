import type { Output } from "../../shared/cli/output.ts";
import type { WireEntry } from "../../shared/protocol/message.ts";
import { fromWireValue, valueBytes } from "../../shared/protocol/value.ts";
import type { GetCommand, OutputStyle } from "../command.ts";
import { type Context, openGuest } from "../open-guest.ts";
import { sentences, shownValue, Transcript } from "../transcript.ts";

/** `-q KEY` */
export async function get(command: GetCommand, context: Context): Promise<void> {
  const { key, style } = command;
  const transcript = new Transcript(context.output, style);
  await using guest = await openGuest(command, context, transcript);
  transcript.say(sentences.querying(key));
  const { epoch, entry } = await guest.read("get", { key });
  transcript.say(sentences.querySuccessful, sentences.returned(key, entry), sentences.age(entry));
  if (style !== "transcript") printEntry(context.output, style, { vm: guest.vm.name, epoch, entry });
}

/** An entry without a story: the bare bytes, one line for people, or one object. */
export function printEntry(
  output: Output,
  style: OutputStyle,
  { vm, epoch, entry }: { vm: string; epoch: string; entry: WireEntry },
): void {
  if (style === "json") output.json({ vm, epoch, ...entry });
  else if (style === "quiet") output.raw(valueBytes(fromWireValue(entry)));
  else output.line(shownValue(entry));
}
