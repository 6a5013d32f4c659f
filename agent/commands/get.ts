import type { Output } from "../../shared/cli/output.ts";
import { fromWireValue, valueBytes } from "../../shared/protocol/value.ts";
import type { GetCommand } from "../command.ts";
import { withAgent } from "../local-client.ts";

/** The bare value and a newline, as `ovmd -g` prints it. */
export async function getKey(command: GetCommand, output: Output): Promise<void> {
  const { epoch, entry } = await withAgent(command, (client) => client.read("get", { key: command.key }));
  if (command.isJson) output.json({ epoch, ...entry });
  else output.raw(valueBytes(fromWireValue(entry)));
}
