import type { Output } from "../../shared/cli/output.ts";
import { listAll } from "../../shared/list-all.ts";
import { fromWireValue, listLine } from "../../shared/protocol/value.ts";
import type { PlainCommand } from "../command.ts";
import { withAgent } from "../local-client.ts";

/** One `{"key":"value"}` a line, as `ovmd -l` prints them. */
export async function listKeys(command: PlainCommand, output: Output): Promise<void> {
  const all = await withAgent(command, (client) => listAll(client));
  if (command.isJson) {
    output.json(all);
    return;
  }
  for (const { key, value, base64 } of all.entries) {
    const hasValue = value !== undefined || base64 !== undefined;
    output.listLine(listLine(key, hasValue ? fromWireValue({ value, base64 }) : null));
  }
}
