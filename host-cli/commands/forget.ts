import type { ForgetCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { Transcript } from "../transcript.ts";

/** `forget -v VM`: a VM that no inventory has any more, with its mirror, its messages and their receipts. */
export async function forget(command: ForgetCommand, context: Context): Promise<void> {
  const { vm, style } = command;
  using manager = await openNeededManager(command, context);
  await manager.change("forgetVm", { params: { vm } });
  new Transcript(context.output, style).say(`VM '${vm}' forgotten.`);
  if (style === "json") context.output.json({ vm, forgotten: true });
}
