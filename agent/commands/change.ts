/** The commands that change keys. All are silent when done, as ovmd's are. */
import { CommandError } from "../../shared/cli/failure.ts";
import type { Output } from "../../shared/cli/output.ts";
import { readEntries } from "../../shared/cli/value-sources.ts";
import { newMessageId } from "../../shared/random.ts";
import type { DeleteCommand, PlainCommand, SetCommand } from "../command.ts";
import { withAgent } from "../local-client.ts";

export async function setKeys(command: SetCommand, output: Output): Promise<void> {
  const entries = await readEntries(command, () => process.stdin);
  const params = { messageId: newMessageId(), entries, ...command.condition };
  const result = await withAgent(command, (client) => client.change("set", params), "unconfirmed");
  if (command.isJson) output.json(result);
}

export async function deleteKeys(command: DeleteCommand, output: Output): Promise<void> {
  const { keys, condition } = command;
  const params = { messageId: newMessageId(), keys, ...condition };
  const result = await withAgent(command, (client) => client.change("delete", params), "unconfirmed");
  if (result.deleted.length === 0) {
    throw new CommandError("no-such-key", `there is no key '${keys.join("', '")}'`, { keys });
  }
  if (command.isJson) output.json(result);
}

export async function clearKeys(command: PlainCommand, output: Output): Promise<void> {
  const params = { messageId: newMessageId() };
  const result = await withAgent(command, (client) => client.change("clear", params), "unconfirmed");
  if (command.isJson) output.json(result);
}
