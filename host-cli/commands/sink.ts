import type { DeadLetter, DeliveryAttempt, SinkSummary } from "../../shared/api/event-schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { tableLines } from "../../shared/cli/table.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Context } from "../context.ts";
import type { SinkAction, SinkCommand } from "../event-command.ts";
import type { Manager } from "../managed/manager.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { agoInWords } from "../origin.ts";
import { printListing } from "../rows.ts";
import { backlogInWords, sinkStateInWords } from "../sink-words.ts";
import { Transcript } from "../transcript.ts";

/** `sinks`, and `sink show|test|enable|deliveries|dead-letters|redeliver SINK` */
export async function sink(command: SinkCommand, context: Context): Promise<void> {
  const { action } = command;
  // Whether a test event arrives is known when the other end has answered, or its time is up.
  using manager = await openNeededManager(command, context, { lasts: action.type === "test" ? "wait" : "answer" });
  switch (action.type) {
    case "list":
      printSinks((await manager.read("listSinks")).sinks, command, context);
      return;
    case "show":
      printSink(await oneSink(manager, action.sink), command, context);
      return;
    case "test":
      printTest(await manager.readLate("testSink", { params: { sink: action.sink } }), action.sink, command, context);
      return;
    case "enable":
      await enable(manager, action.sink, command, context);
      return;
    case "deliveries":
    case "dead-letters":
      await printPast(manager, action, command, context);
      return;
    case "redeliver":
      await redeliver(manager, action, command, context);
      return;
    default:
      unreachable(action);
  }
}

/** Asks also for one that was not disabled: it is tried again at once. */
async function enable(manager: Manager, id: string, command: SinkCommand, context: Context): Promise<void> {
  const before = await oneSink(manager, id);
  const enabled = await manager.change("enableSink", { params: { sink: id } });
  const done = before.state === "disabled" ? "enabled" : "was not disabled";
  tell(`Sink ${enabled.id} ${done}: ${sinkStateInWords(enabled)}.`, enabled, command, context);
}

function tell(sentence: string, json: object, { style }: SinkCommand, { output }: Context): void {
  new Transcript(output, style).say(sentence);
  if (style === "json") output.json(json);
}

function printSinks(sinks: SinkSummary[], { style }: SinkCommand, { output }: Context): void {
  printListing(output, style, {
    items: sinks,
    header: ["SINK", "TYPE", "STATE", "BACKLOG", "RETRYING", "DEAD LETTERS", "TARGET"],
    row: (one) => [one.id, one.type, sinkStateInWords(one), ...counts(one), one.target],
    name: ({ id }) => id,
    json: { sinks },
    none: "no events go anywhere",
  });
}

function counts({ backlog, retrying, deadLetters }: SinkSummary): string[] {
  return [backlog, retrying, deadLetters].map(String);
}

/** The API lists them all: they are few. */
async function oneSink(manager: Manager, id: string): Promise<SinkSummary> {
  const { sinks } = await manager.read("listSinks");
  const found = sinks.find((one) => one.id === id);
  if (found !== undefined) return found;
  throw new CommandError("failed", `there is no sink '${id}'; 'vmmessage sinks' lists them`, { unknown: true });
}

function printSink(found: SinkSummary, { style }: SinkCommand, { output }: Context): void {
  if (style === "json") output.json(found);
  else if (style === "quiet") output.line(found.state);
  else for (const line of tableLines(["sink", found.id], sinkFacts(found))) output.line(line);
}

function sinkFacts(found: SinkSummary): string[][] {
  const { type, target, backlog, retrying, deadLetters, failures, lastDeliveredAt } = found;
  return [
    ["type", type],
    ["target", target],
    ["state", sinkStateInWords(found)],
    ["backlog", backlogInWords(backlog)],
    ["retrying", String(retrying)],
    ["dead letters", String(deadLetters)],
    ["failures", String(failures)],
    ["delivered", lastDeliveredAt === undefined ? "never" : agoInWords(lastDeliveredAt)],
  ];
}

/** Throws CommandError (failed) when the test event did not arrive. */
function printTest(attempt: DeliveryAttempt, id: string, command: SinkCommand, context: Context): void {
  if (attempt.outcome !== "delivered") {
    const why = attempt.error ?? (attempt.status === undefined ? "no reason was given" : `status ${attempt.status}`);
    throw new CommandError("failed", `the test event did not reach ${id}: ${why}`, { ...attempt });
  }
  tell(`Test event delivered to ${id} in ${Math.round(attempt.durationMs)} ms.`, attempt, command, context);
}

async function printPast(
  manager: Manager,
  { type, sink: id, limit }: SinkAction & { type: "deliveries" | "dead-letters" },
  { style }: SinkCommand,
  { output }: Context,
): Promise<void> {
  const asked = { params: { sink: id }, query: { limit } };
  if (type === "deliveries") {
    const { deliveries } = await manager.read("listDeliveries", asked);
    printListing(output, style, {
      items: deliveries,
      header: ["TIME", "EVENT", "TYPE", "ATTEMPT", "OUTCOME", "STATUS", "MS", "ERROR"],
      row: deliveryRow,
      name: ({ eventId }) => eventId,
      json: { deliveries },
      none: `nothing was delivered to ${id}, or it is not written down`,
    });
  } else {
    const { deadLetters } = await manager.read("listDeadLetters", asked);
    printListing(output, style, {
      items: deadLetters,
      header: ["TIME", "EVENT", "TYPE", "VM", "ATTEMPTS", "ERROR"],
      row: deadLetterRow,
      name: ({ event }) => event.id,
      json: { deadLetters },
      none: `${id} has no dead letters`,
    });
  }
}

function deliveryRow({ at, eventId, type, attempt, outcome, status, durationMs, error }: DeliveryAttempt): string[] {
  const code = status === undefined ? "" : String(status);
  return [at, eventId, type, String(attempt), outcome, code, String(Math.round(durationMs)), error ?? ""];
}

function deadLetterRow({ at, event, attempts, error }: DeadLetter): string[] {
  return [at, event.id, event.type, event.resourceName ?? event.resourceUUID, String(attempts), error];
}

async function redeliver(
  manager: Manager,
  { sink: id, events }: SinkAction & { type: "redeliver" },
  command: SinkCommand,
  context: Context,
): Promise<void> {
  const body = events.length === 0 ? {} : { events };
  const { redelivered } = await manager.change("redeliver", { params: { sink: id }, body });
  const what = `${redelivered} ${redelivered === 1 ? "event is" : "events are"}`;
  tell(`${what} to be delivered to ${id} again.`, { sink: id, redelivered }, command, context);
  if (command.style === "quiet") context.output.line(String(redelivered));
}
