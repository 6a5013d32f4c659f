import { ageInWords } from "../../shared/terminal-text.ts";
import type { PlainCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openGuest } from "../open-guest.ts";
import { Transcript } from "../transcript.ts";

/** `ping`: the time of one round trip to the guest's agent. */
export async function ping(command: PlainCommand, context: Context): Promise<void> {
  const { output } = context;
  await using guest = await openGuest(command, context, new Transcript(output, "quiet"));
  const { roundTripMs, uptimeMs } = await guest.ping();
  if (command.style === "json") output.json({ vm: guest.name, roundTripMs, uptimeMs });
  else output.line(`'${guest.name}' answered in ${roundTripMs} ms; it is up for ${ageInWords(uptimeMs)}`);
}
