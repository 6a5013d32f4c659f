import type { ImageSave, NewImageSave } from "../../shared/api/event-schemas.ts";
import { tableLines } from "../../shared/cli/table.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Context } from "../context.ts";
import type { SaveAction, SaveCommand } from "../event-command.ts";
import { followSave } from "../managed/follow-save.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { agoInWords } from "../origin.ts";
import { printListing } from "../rows.ts";
import { Transcript } from "../transcript.ts";

/** `save -v VM --to DIR`, and `save list|show|cancel` */
export async function save(command: SaveCommand, context: Context): Promise<void> {
  const { action } = command;
  if (action.type === "save") {
    await begin(action, command, context);
    return;
  }
  using manager = await openNeededManager(command, context);
  switch (action.type) {
    case "list":
      printSaves((await manager.read("listImageSaves", { query: { vm: action.vm } })).imageSaves, command, context);
      return;
    case "show":
      printSave(await manager.read("showImageSave", { params: { id: action.id } }), command, context);
      return;
    case "cancel": {
      const cancelled = await manager.change("cancelImageSave", { params: { id: action.id } });
      new Transcript(context.output, command.style).say(`Saving ${action.id} of '${cancelled.vm.name}' cancelled.`);
      if (command.style === "json") context.output.json(cancelled);
      return;
    }
    default:
      unreachable(action);
  }
}

/** Waits for as long as the VM likes to run, unless the command line says otherwise. */
async function begin(action: SaveAction & { type: "save" }, command: SaveCommand, context: Context): Promise<void> {
  const { vm, directory, authorEmail, format = "qcow2", disk, waits } = action;
  const { style } = command;
  const { output } = context;
  const lasts = !waits ? "answer" : command.timeoutMs === undefined ? "endless" : "wait";
  using manager = await openNeededManager(command, context, { lasts });
  const body: NewImageSave = { directory, format, ...(authorEmail && { authorEmail }), ...(disk && { disk }) };
  const begun = await manager.change("saveImage", { params: { vm }, body });
  new Transcript(output, style).say(promiseInWords(begun));
  if (!waits) {
    if (style === "json") output.json(begun);
    if (style === "quiet") output.line(begun.id);
    return;
  }
  const done = await followSave(manager, begun, command, context);
  new Transcript(output, style).say(resultInWords(done));
  if (style === "json") output.json(done);
  if (style === "quiet") output.line(done.image?.path ?? done.id);
}

/** `Saving i1: when 'web1' has shut down, its disk is saved as qcow2 in /srv/images; alice@example.com gets a mail.` */
function promiseInWords({ id, vm, disk, format, directory, authorEmail }: ImageSave): string {
  const what = disk === undefined ? "its disk" : `its disk ${disk}`;
  const mail = authorEmail === undefined ? "" : `; ${authorEmail} gets a mail`;
  return `Saving ${id}: when '${vm.name}' has shut down, ${what} is saved as ${format} in ${directory}${mail}.`;
}

/** `Saved: /srv/images/web1.qcow2, qcow2, 1048576 bytes, SHA-256 0123...` */
function resultInWords({ image }: ImageSave): string {
  if (image === undefined) return "Saved.";
  return `Saved: ${image.path}, ${image.format}, ${image.size} bytes, SHA-256 ${image.sha256}`;
}

function printSaves(saves: ImageSave[], { style }: SaveCommand, { output }: Context): void {
  printListing(output, style, {
    items: saves,
    header: ["ID", "VM", "STATE", "BEGUN", "BY", "IMAGE", "NOTE"],
    row: (one) => {
      const image = one.image?.path ?? one.directory;
      return [one.id, one.vm.name, stateInWords(one), agoInWords(one.createdAt), one.by, image, one.error ?? ""];
    },
    name: ({ id }) => id,
    json: { imageSaves: saves },
    none: "no images are to be saved, and none were",
  });
}

function printSave(found: ImageSave, { style }: SaveCommand, { output }: Context): void {
  if (style === "json") output.json(found);
  else if (style === "quiet") output.line(found.state);
  else for (const line of tableLines(["saving", found.id], saveFacts(found))) output.line(line);
}

function saveFacts(found: ImageSave): string[][] {
  const { vm, disk, format, directory, authorEmail, by, createdAt, endedAt, image, error } = found;
  const all: [string, string | undefined][] = [
    ["vm", vm.name],
    ["disk", disk],
    ["state", stateInWords(found)],
    ["directory", directory],
    ["format", format],
    ["mail to", authorEmail],
    ["by", by],
    ["begun", createdAt],
    ["ended", endedAt],
    ["image", image?.path],
    ["size", image && `${image.size} bytes`],
    ["sha256", image?.sha256],
    ["error", error],
  ];
  return all.filter((line): line is [string, string] => line[1] !== undefined);
}

function stateInWords({ state, progress }: ImageSave): string {
  return state === "saving" && progress !== undefined ? `saving, ${Math.floor(progress)} %` : state;
}
