import { tableLines } from "../../shared/cli/table.ts";
import type { Result } from "../../shared/protocol/message.ts";
import { ageInWords } from "../../shared/terminal-text.ts";
import type { PlainCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openGuest } from "../open-guest.ts";
import { Transcript } from "../transcript.ts";

/** `info`: what the guest's agent says of itself. */
export async function info(command: PlainCommand, context: Context): Promise<void> {
  const { output } = context;
  await using guest = await openGuest(command, context, new Transcript(output, "quiet"));
  const facts = await guest.info();
  if (command.style === "json") output.json({ vm: guest.name, ...facts });
  else for (const line of tableLines(["VM", guest.name], factRows(facts))) output.line(line);
}

function factRows(facts: Result<"info">): string[][] {
  return [
    ["agent", facts.software],
    ["hostname", facts.hostname],
    ["kernel", facts.kernel],
    ["channel", facts.channel],
    ["guest up", ageInWords(facts.uptimeMs)],
    ["agent up", ageInWords(facts.agentUptimeMs)],
    ["uuid", facts.uuid ?? "none"],
    ...(facts.clonedFrom === undefined ? [] : [["cloned from", facts.clonedFrom]]),
    ["boot id", facts.bootId ?? "none"],
    ["keys", `${facts.keys}, ${facts.usedBytes} of ${facts.limitBytes} bytes`],
    ["revision", `${facts.epoch}:${facts.revision}`],
    ["waiting for a host", `${facts.queuedMessages} messages`],
    ["damaged frames", String(facts.damagedFrames)],
    ...facts.unprojectedKeys.map((key) => ["not a file", key]),
    ...facts.notes.map((note) => ["note", note]),
  ];
}
