/** From the words of a command line about events to an {@link EventCommand}. */
import type { BodyFormat, EventFilter, ImageFormat } from "../shared/api/event-schemas.ts";
import type { RevisionArgument } from "../shared/cli/arguments.ts";
import { usageError } from "../shared/cli/failure.ts";
import { unreachable } from "../shared/protocol/errors.ts";
import type { CommonOptions } from "./command.ts";
import type {
  EventCommand,
  EventsCommand,
  EventTypesCommand,
  Lines,
  NotifyAction,
  SaveAction,
  SinkAction,
  SubscriptionAction,
  SubscriptionChanges,
  SubscriptionProperties,
} from "./event-command.ts";
import type { CommandWord, Options, OwnOptions, Words } from "./words.ts";

export type EventCommandWord = Extract<
  CommandWord,
  "events" | "sinks" | "save" | `${"sink" | "subscription" | "notify" | "save"} ${string}`
>;

type WordOf<Group extends string> = Extract<EventCommandWord, Group | `${Group} ${string}`>;

/** These take many VMs, as a filter. */
export const VM_FILTERS: readonly CommandWord[] = ["events", "subscription add", "subscription change"];

const EVENT_COMMAND = /^(events|sinks?|save|subscription|notify)( |$)/;

export function isEventCommand(word: CommandWord): word is EventCommandWord {
  return EVENT_COMMAND.test(word);
}

/** Throws CommandError (usage). */
export function eventCommand(
  word: EventCommandWord,
  words: Words,
  options: Options,
  common: CommonOptions,
): EventCommand {
  switch (word) {
    case "events":
      return eventsCommand(words.own, options, common);
    case "notify list":
    case "notify add":
    case "notify remove": {
      const vm = neededVm(common);
      return { ...common, name: "notify", vm, action: notifyAction(word, words) };
    }
    case "subscription list":
    case "subscription show":
    case "subscription add":
    case "subscription change":
    case "subscription remove":
      return { ...common, name: "subscription", action: subscriptionAction(word, words, options) };
    case "sinks":
    case "sink show":
    case "sink test":
    case "sink enable":
    case "sink deliveries":
    case "sink dead-letters":
    case "sink redeliver":
      return { ...common, name: "sink", action: sinkAction(word, words) };
    case "save":
    case "save list":
    case "save show":
    case "save cancel":
      return { ...common, name: "save", action: saveAction(word, words, common) };
    default:
      return unreachable(word);
  }
}

/** Whether one of the files that a command reads is the standard input. */
export function readsInput({ notifyFile, endpointFile, secretFile = [] }: OwnOptions): boolean {
  const count = [notifyFile, endpointFile, ...secretFile].filter((file) => file === "-").length;
  if (count > 1) throw usageError("there is only one standard input; give - once");
  return count === 1;
}

function eventsCommand(own: OwnOptions, options: Options, common: CommonOptions): EventsCommand | EventTypesCommand {
  const { follow = false, values = false, types, limit } = own;
  if (types) {
    if (Object.keys(own).length > 1 || options.since !== undefined || options.vm !== undefined) {
      throw usageError("--types stands alone: it prints the types of events, and no events");
    }
    return { ...common, name: "event types" };
  }
  const since = cursor(options.since);
  if (follow && since !== undefined && limit !== undefined) {
    throw usageError("--since and --follow print all that came and comes; --limit bounds nothing there");
  }
  return { ...common, name: "events", filter: filterOf(own, options), since, values, follow, limit };
}

/** A cursor looks as a place in a VM's history does, and always says of which log it is. */
function cursor(since: RevisionArgument | undefined): string | undefined {
  if (since === undefined) return undefined;
  if (since.epoch !== undefined) return `${since.epoch}:${since.revision}`;
  throw usageError("--since: it is not a cursor, LOG:POSITION, as events --json shows it");
}

function filterOf({ type, category, prefix }: OwnOptions, { vm }: Options): EventFilter {
  return {
    ...(vm && { vms: vm }),
    ...(type && { types: type }),
    ...(category && { categories: category }),
    ...(prefix && { keys: prefix }),
  };
}

function notifyAction(word: WordOf<"notify">, { operands, own }: Words): NotifyAction {
  const [id = ""] = operands;
  switch (word) {
    case "notify list":
      return { type: "list" };
    case "notify add": {
      const coordinates = linesOf(own.notify, own.notifyFile);
      if (coordinates !== undefined) return { type: "add", coordinates, vmId: own.vmId };
      throw usageError("notify add: which queue? --notify-file FILE, or --notify HOST,VHOST,USER,PASSWORD,QUEUE");
    }
    case "notify remove":
      return { type: "remove", id };
    default:
      return unreachable(word);
  }
}

function subscriptionAction(
  word: WordOf<"subscription">,
  { operands, own }: Words,
  options: Options,
): SubscriptionAction {
  const [first = ""] = operands;
  switch (word) {
    case "subscription list":
      return { type: "list" };
    case "subscription show":
      return { type: "show", id: first };
    case "subscription add": {
      if (first === "") throw usageError("subscription add: its name is empty; it needs one that people know it by");
      const properties = subscriptionProperties(own, options);
      if (properties.endpoints !== undefined) return { type: "add", subscription: first, properties };
      throw usageError("subscription add: where do events go? --endpoint URL, or --endpoint-file FILE");
    }
    case "subscription change":
      return { type: "change", id: first, changes: subscriptionChanges(own, options) };
    case "subscription remove":
      return { type: "remove", id: first };
    default:
      return unreachable(word);
  }
}

function subscriptionProperties(own: OwnOptions, options: Options): SubscriptionProperties {
  const { secretFile = [], newSecret = false } = own;
  if (secretFile.length + Number(newSecret) > 2) throw usageError("a subscription signs with at most two secrets");
  return {
    endpoints: linesOf(own.endpoint, own.endpointFile),
    filter: filterOf(own, options),
    values: own.values,
    // commander has checked which formats the command has.
    format: own.format as BodyFormat | undefined,
    secretFiles: secretFile,
    makesSecret: newSecret,
    contact: own.contact === false ? undefined : own.contact,
  };
}

function subscriptionChanges(own: OwnOptions, options: Options): SubscriptionChanges {
  if (Object.keys(own).length === 0 && options.vm === undefined) {
    throw usageError("subscription change: what? see vmmessage subscription change --help");
  }
  if (own.name === "") throw usageError("subscription change: --name is empty; leave it out to keep the name");
  const properties = subscriptionProperties(own, options);
  const { name, contact, everything: dropsFilter = false, unsigned: dropsSecrets = false } = own;
  if (dropsSecrets && (properties.makesSecret || properties.secretFiles.length > 0)) {
    throw usageError("--unsigned is without secrets; give it without --new-secret and --secret-file");
  }
  return { ...properties, name, contact, dropsFilter, dropsSecrets };
}

function sinkAction(word: WordOf<"sink"> | "sinks", { operands, own }: Words): SinkAction {
  const [sink = "", ...events] = operands;
  const { limit } = own;
  switch (word) {
    case "sinks":
      return { type: "list" };
    case "sink show":
      return { type: "show", sink };
    case "sink test":
      return { type: "test", sink };
    case "sink enable":
      return { type: "enable", sink };
    case "sink deliveries":
      return { type: "deliveries", sink, limit };
    case "sink dead-letters":
      return { type: "dead-letters", sink, limit };
    case "sink redeliver":
      return { type: "redeliver", sink, events };
    default:
      return unreachable(word);
  }
}

function saveAction(word: WordOf<"save">, { operands, own }: Words, common: CommonOptions): SaveAction {
  const [id = ""] = operands;
  if (word === "save") return newSave(own, common);
  const [stray] = Object.keys(own);
  if (stray !== undefined) throw usageError(`${word} takes no options of its own; those are of 'save -v VM --to DIR'`);
  switch (word) {
    case "save list":
      return { type: "list", vm: common.target.vm };
    case "save show":
      return { type: "show", id };
    case "save cancel":
      return { type: "cancel", id };
    default:
      return unreachable(word);
  }
}

function newSave({ to, authorEmail, format, disk, wait }: OwnOptions, common: CommonOptions): SaveAction {
  const vm = neededVm(common);
  if (to === undefined) throw usageError("save: where to? --to DIR, which the manager's configuration has to allow");
  const image = { authorEmail, format: format as ImageFormat | undefined, disk: disk as string | undefined };
  return { type: "save", vm, directory: to, ...image, waits: wait === true };
}

function linesOf(given: string[] | undefined, file: string | undefined): Lines | undefined {
  if (given === undefined && file === undefined) return undefined;
  return { given: given ?? [], file };
}

/** Throws CommandError (usage) when none was named. */
export function neededVm({ target }: CommonOptions): string {
  if (target.vm === undefined) throw usageError("which VM? name it with -v VM");
  return target.vm;
}
