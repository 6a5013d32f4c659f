import { aborted } from "../../shared/abort.ts";
import type { Output } from "../../shared/cli/output.ts";
import type { WireChange } from "../../shared/protocol/message.ts";
import type { OutputStyle, WatchCommand } from "../command.ts";
import type { Context } from "../context.ts";
import type { Changed } from "../guest.ts";
import { openGuest } from "../open-guest.ts";
import { shownValue, Transcript } from "../transcript.ts";

/** `watch [PREFIX]`: the keys as they are, then every change, till a signal or till nobody reads any more. */
export async function watch(command: WatchCommand, context: Context): Promise<void> {
  const { output } = context;
  const { style, prefix, since } = command;
  await using guest = await openGuest(command, context, new Transcript(output, "quiet"), { lasts: "endless" });
  if (style === "transcript") {
    const cost = guest.isExclusive ? "; nobody else can use its channel meanwhile" : "";
    output.note(`watching '${guest.name}'${cost}, till Ctrl-C`);
  }
  const changed = (changes: Changed): void => {
    printChanges(output, style, changes);
  };
  await Promise.race([guest.watch({ prefix, since, changed }), aborted(output.readerGone)]);
}

function printChanges(output: Output, style: OutputStyle, { changes, resync, epoch, revision }: Changed): void {
  if (style === "json") {
    // Whoever follows has to forget what it knew: all keys come anew.
    if (resync) output.json({ resync, epoch, revision });
    for (const change of changes) output.json({ ...change, epoch });
    return;
  }
  for (const change of changes) output.line(changeLine(change));
}

/** `17 set by guest: KEY = 'VALUE'` */
function changeLine(change: WireChange): string {
  const { key, revision } = change;
  if ("deleted" in change) return `${revision} deleted: ${key}`;
  const hasValue = change.value !== undefined || change.base64 !== undefined;
  const value = hasValue ? ` = '${shownValue(change)}'` : " (secret)";
  return `${revision} set by ${change.setBy}: ${key}${value}`;
}
