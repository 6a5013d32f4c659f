import type { Notify } from "../../shared/api/event-schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Context } from "../context.ts";
import type { NotifyAction, NotifyCommand } from "../event-command.ts";
import { linesGiven } from "../lines-given.ts";
import type { Manager } from "../managed/manager.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { printListing } from "../rows.ts";
import { sinkStateInWords } from "../sink-words.ts";
import { Transcript } from "../transcript.ts";

/** `notify list|add|remove -v VM`: queues that are told of the VM's states. */
export async function notify(command: NotifyCommand, context: Context): Promise<void> {
  const { action, vm, style } = command;
  const { output } = context;
  switch (action.type) {
    case "list": {
      using manager = await openNeededManager(command, context);
      printNotify(await manager.read("listNotify", { params: { vm } }), command, context);
      return;
    }
    case "add":
      await add(action, command, context);
      return;
    case "remove": {
      using manager = await openNeededManager(command, context);
      await manager.change("removeNotify", { params: { vm, id: action.id } });
      new Transcript(output, style).say(`Notification ${action.id} of '${vm}' removed.`);
      if (style === "json") output.json({ id: action.id, removed: true });
      return;
    }
    default:
      unreachable(action);
  }
}

async function add(action: NotifyAction & { type: "add" }, command: NotifyCommand, context: Context): Promise<void> {
  const { output } = context;
  if (action.coordinates.given.length > 0) {
    output.note("others on this machine can see a password on a command line; better is --notify-file");
  }
  const coordinates = await linesGiven("--notify-file", action.coordinates, context);
  using manager = await openNeededManager(command, context);
  const added: Notify[] = [];
  for (const one of coordinates) {
    const made = await addOne(manager, one, { action, vm: command.vm, added });
    added.push(made);
    new Transcript(output, command.style).say(`Notification ${made.id} made: ${madeInWords(made)}.`);
    if (command.style === "quiet") output.line(made.id);
  }
  if (command.style === "json") output.json({ notify: added });
}

function madeInWords({ vmId, host, vhost, queue }: Notify): string {
  return `'${queue}' on ${host} (vhost ${vhost}) is told of the states of '${vmId}'`;
}

/** A failure tells which were added before it. */
async function addOne(
  manager: Manager,
  coordinates: string,
  { action, vm, added }: { action: NotifyAction & { type: "add" }; vm: string; added: readonly Notify[] },
): Promise<Notify> {
  try {
    const body = { coordinates, ...(action.vmId !== undefined && { vmId: action.vmId }) };
    return await manager.change("addNotify", { params: { vm }, body });
  } catch (error) {
    if (!(error instanceof CommandError) || added.length === 0) throw error;
    const ids = added.map(({ id }) => id);
    const message = `${error.message}; made before it: ${ids.join(", ")}`;
    throw new CommandError(error.code, message, { ...error.details, made: ids }, { cause: error });
  }
}

function printNotify({ notify }: { notify: Notify[] }, { vm, style }: NotifyCommand, { output }: Context): void {
  printListing(output, style, {
    items: notify,
    header: ["ID", "VM ID", "HOST", "VHOST", "USER", "QUEUE", "BY", "STATE"],
    row: ({ id, vmId, host, port, vhost, user, queue, by, sink }) => {
      return [id, vmId, `${host}:${port}`, vhost, user, queue, by, sinkStateInWords(sink)];
    },
    name: ({ id }) => id,
    json: { notify },
    none: `nobody is notified of the states of '${vm}'`,
  });
}
