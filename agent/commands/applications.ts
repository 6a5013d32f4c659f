/** The commands for the health of applications. Those that change something are silent when done. */
import { durationInWords } from "../../shared/cli/duration.ts";
import type { Output } from "../../shared/cli/output.ts";
import type { Result } from "../../shared/protocol/message.ts";
import { ageInWords } from "../../shared/terminal-text.ts";
import type { AddCheckCommand, HeartbeatCommand, ListChecksCommand, RemoveCheckCommand } from "../command.ts";
import { withAgent } from "../local-client.ts";

/** One beat. Done again it does no harm, so it is repeated until it is answered. */
export async function beat(command: HeartbeatCommand, output: Output): Promise<void> {
  await withAgent(command, (client) => client.read("beat", command.beat));
  if (command.isJson) output.json(command.beat);
}

export async function addCheck(command: AddCheckCommand, output: Output): Promise<void> {
  await withAgent(command, (client) => client.read("addCheck", command.check), "unconfirmed");
  if (command.isJson) output.json(command.check);
}

/** One application a line, those of both kinds, by name. */
export async function listChecks(command: ListChecksCommand, output: Output): Promise<void> {
  const { applications } = await withAgent(command, (client) => client.read("applications", {}));
  if (command.isJson) {
    output.json({ applications });
    return;
  }
  for (const application of applications) output.line(lineOf(application));
}

export async function removeCheck(command: RemoveCheckCommand, output: Output): Promise<void> {
  const params = { application: command.application };
  await withAgent(command, (client) => client.read("dismiss", params), "unconfirmed");
  if (command.isJson) output.json(params);
}

/** `web (check every 30 s): failing since 2 minutes ago, exit code 7: connection refused` */
function lineOf({ name, kind, everyMs, state, forMs, reason }: Result<"applications">["applications"][number]): string {
  const standing = `${state} since ${ageInWords(forMs)} ago`;
  const why = reason === undefined ? "" : `, ${reason}`;
  return `${name} (${kind} every ${durationInWords(everyMs)}): ${standing}${why}`;
}
