/** The commands that have something to tell the host. Done means that it will survive until a host takes it. */
import type { Output } from "../../shared/cli/output.ts";
import { newMessageId } from "../../shared/random.ts";
import type { AcknowledgeCommand, EventCommand } from "../command.ts";
import { withAgent } from "../local-client.ts";

export async function sendEvent(command: EventCommand, output: Output): Promise<void> {
  const params = { messageId: newMessageId(), event: command.event };
  await withAgent(command, (client) => client.change("event", params), "unconfirmed");
  if (command.isJson) output.json(params);
}

export async function acknowledgeKey(command: AcknowledgeCommand, output: Output): Promise<void> {
  const { key, result } = command;
  const params = { messageId: newMessageId(), key, ...(result !== undefined && { result }) };
  await withAgent(command, (client) => client.change("acknowledge", params), "unconfirmed");
  if (command.isJson) output.json(params);
}
