import { readEntries } from "../../shared/cli/value-sources.ts";
import { newMessageId } from "../../shared/random.ts";
import { unlessAborted } from "../../shared/abort.ts";
import type { SetCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openGuest } from "../open-guest.ts";
import { sentences, Transcript } from "../transcript.ts";
import { sentFacts } from "../sent.ts";
import { rethrowWithRetry } from "../unconfirmed.ts";

/** `-k KEY -V VALUE ...`: all of the keys or none, in one message. */
export async function set(command: SetCommand, context: Context): Promise<void> {
  const { style, sending, condition, waitAck } = command;
  const transcript = new Transcript(context.output, style);
  const entries = await unlessAborted(context.interrupt, readEntries(command, context.stdin));
  const { messageId = newMessageId() } = command;
  await using guest = await openGuest(command, context, transcript, {
    sending,
    ...(waitAck && { lasts: "wait", acknowledgementOf: messageId }),
  });
  transcript.say(sentences.sending);
  const rethrow = rethrowWithRetry(guest, messageId);
  const sent = await guest.send("set", { messageId, entries, ...condition }, sending).catch(rethrow);
  transcript.say(sent.state === "delivered" ? sentences.sent : sentences.queued);
  const acknowledged = waitAck ? await guest.acknowledgement(messageId).catch(rethrow) : undefined;
  if (acknowledged !== undefined) transcript.say(sentences.acknowledged(acknowledged.result));
  if (style === "json") {
    const { key, result } = acknowledged ?? {};
    context.output.json({
      ...sentFacts(guest.name, messageId, sent),
      ...(acknowledged && { state: "acknowledged", acknowledged: { key, result } }),
    });
  }
}
