import type { EventFilter, NewSubscription, Subscription, SubscriptionChange } from "../../shared/api/event-schemas.ts";
import { usageError } from "../../shared/cli/failure.ts";
import { tableLines } from "../../shared/cli/table.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { randomHex } from "../../shared/random.ts";
import type { Context } from "../context.ts";
import type {
  Lines,
  SubscriptionAction,
  SubscriptionChanges,
  SubscriptionCommand,
  SubscriptionProperties,
} from "../event-command.ts";
import { linesGiven } from "../lines-given.ts";
import type { Manager } from "../managed/manager.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { agoInWords } from "../origin.ts";
import { readLines } from "../read-lines.ts";
import { printListing } from "../rows.ts";
import { behindInWords, sinkStateInWords } from "../sink-words.ts";
import { Transcript } from "../transcript.ts";

/** Standard Webhooks (section "Signature scheme") asks for 24 to 64. */
const SECRET_BYTES = 32;

/** `subscription list|show|add|change|remove` */
export async function subscription(command: SubscriptionCommand, context: Context): Promise<void> {
  const { action, style } = command;
  const { output } = context;
  using manager = await openNeededManager(command, context);
  switch (action.type) {
    case "list":
      printSubscriptions((await manager.read("listSubscriptions")).subscriptions, command, context);
      return;
    case "show":
      printSubscription(await manager.read("showSubscription", { params: { id: action.id } }), command, context);
      return;
    case "add":
      await add(manager, action, command, context);
      return;
    case "change":
      await change(manager, action, command, context);
      return;
    case "remove":
      await manager.change("removeSubscription", { params: { id: action.id } });
      new Transcript(output, style).say(`Subscription ${action.id} removed.`);
      if (style === "json") output.json({ id: action.id, removed: true });
      return;
    default:
      unreachable(action);
  }
}

async function add(
  manager: Manager,
  { subscription: name, properties }: SubscriptionAction & { type: "add" },
  command: SubscriptionCommand,
  context: Context,
): Promise<void> {
  const { filter, values = false, format = "cloudevents", contact } = properties;
  const endpoints = (await endpointsOf(properties.endpoints, context)) ?? [];
  const { secrets, made } = await secretsOf(properties, context);
  const optional = { ...(contact !== undefined && { contact }), ...(secrets.length > 0 && { secrets }) };
  const body: NewSubscription = { name, filter, values, format, endpoints, ...optional };
  const added = await manager.change("createSubscription", { body });
  printChanged(`Subscription ${added.id} ('${added.name}') made`, added, made, command, context);
}

async function change(
  manager: Manager,
  { id, changes }: SubscriptionAction & { type: "change" },
  command: SubscriptionCommand,
  context: Context,
): Promise<void> {
  const { name, values, format } = changes;
  const contact = changes.contact === false ? null : changes.contact;
  const endpoints = await endpointsOf(changes.endpoints, context);
  const { secrets, made } = await secretsOf(changes, context);
  const filter = await changedFilter(manager, id, changes);
  const body: SubscriptionChange = {
    ...(name !== undefined && { name }),
    ...(filter && { filter }),
    ...(values !== undefined && { values }),
    ...(format && { format }),
    ...(contact !== undefined && { contact }),
    ...(endpoints && { endpoints }),
    ...((secrets.length > 0 || changes.dropsSecrets) && { secrets }),
  };
  const changed = await manager.change("changeSubscription", { params: { id }, body });
  printChanged(`Subscription ${id} ('${changed.name}') changed`, changed, made, command, context);
}

/** The API takes a filter as a whole; here each part of it that is given takes the place of that part. */
async function changedFilter(
  manager: Manager,
  id: string,
  { filter, dropsFilter }: SubscriptionChanges,
): Promise<EventFilter | undefined> {
  if (dropsFilter) return filter;
  if (Object.keys(filter).length === 0) return undefined;
  const before = await manager.read("showSubscription", { params: { id } });
  return { ...before.filter, ...filter };
}

async function endpointsOf(lines: Lines | undefined, context: Context): Promise<string[] | undefined> {
  if (lines === undefined) return undefined;
  if (lines.given.some(hasPassword)) {
    context.output.note("others on this machine can see a password on a command line; better is --endpoint-file");
  }
  return linesGiven("--endpoint-file", lines, context);
}

/** `scheme://USER:PASSWORD@HOST` */
function hasPassword(url: string): boolean {
  return /^[a-z]+:\/\/[^/@]*:[^/]*@/i.test(url);
}

/** The newest first, and the one that was made here. */
async function secretsOf(
  { secretFiles, makesSecret }: SubscriptionProperties | SubscriptionChanges,
  context: Context,
): Promise<{ secrets: string[]; made: string | undefined }> {
  const made = makesSecret ? newSecret() : undefined;
  const read: string[] = [];
  for (const file of secretFiles) read.push(await secretIn(file, context));
  return { secrets: [...(made === undefined ? [] : [made]), ...read], made };
}

async function secretIn(file: string, context: Context): Promise<string> {
  const [secret, ...more] = await readLines("--secret-file", file, context);
  // Not what stands there: it may be a secret of something else.
  if (secret?.startsWith("whsec_") && more.length === 0) return secret;
  throw usageError(`--secret-file: ${file} is not one line with a secret, whsec_ and base64`);
}

function newSecret(): string {
  return `whsec_${Buffer.from(randomHex(SECRET_BYTES), "hex").toString("base64")}`;
}

function printChanged(
  done: string,
  changed: Subscription,
  made: string | undefined,
  { style }: SubscriptionCommand,
  { output }: Context,
): void {
  const transcript = new Transcript(output, style);
  transcript.say(`${done}: ${filterInWords(changed.filter)} to ${targetsInWords(changed)}.`);
  if (made !== undefined) transcript.say("Its secret is shown this once:", made);
  if (style === "quiet") output.line(made ?? changed.id);
  if (style === "json") output.json({ ...changed, ...(made !== undefined && { secret: made }) });
}

function printSubscriptions(subscriptions: Subscription[], { style }: SubscriptionCommand, { output }: Context): void {
  printListing(output, style, {
    items: subscriptions,
    header: ["ID", "NAME", "OWNER", "EVENTS", "ENDPOINTS", "NOTE"],
    row: (one) => [one.id, one.name, one.owner, filterInWords(one.filter), targetsInWords(one), troubleInWords(one)],
    name: ({ id }) => id,
    json: { subscriptions },
    none: "there are no subscriptions",
  });
}

function printSubscription(found: Subscription, { style }: SubscriptionCommand, { output }: Context): void {
  if (style === "json") output.json(found);
  else if (style === "quiet") for (const { id } of found.endpoints) output.line(id);
  else for (const line of tableLines(["subscription", found.id], subscriptionFacts(found))) output.line(line);
}

function subscriptionFacts(found: Subscription): string[][] {
  const { name, owner, createdAt, filter, values, format, secrets, contact, endpoints } = found;
  return [
    ["name", name],
    ["owner", owner],
    ["made", agoInWords(createdAt)],
    ["events", filterInWords(filter)],
    ["values", values ? "yes" : "no"],
    ["format", format],
    ["secrets", String(secrets)],
    ...(contact === undefined ? [] : [["contact", contact]]),
    ...endpoints.map((sink) => {
      const behind = behindInWords(sink);
      return [sink.id, `${sink.target} (${sinkStateInWords(sink)}${behind === "" ? "" : `; ${behind}`})`];
    }),
  ];
}

/** `VM.*, AlertEvent of web*, keys com.example.*` */
export function filterInWords({ types = [], categories = [], vms = [], keys = [] }: EventFilter): string {
  const what = [...types, ...categories];
  return [
    `${what.length === 0 ? "all events" : what.join(", ")}${vms.length === 0 ? "" : ` of ${vms.join(", ")}`}`,
    ...(keys.length === 0 ? [] : [`keys ${keys.map((prefix) => `${prefix}*`).join(", ")}`]),
  ].join(", ");
}

function targetsInWords({ endpoints }: Subscription): string {
  return endpoints.map(({ target }) => target).join(", ");
}

/** Of the endpoints that are disabled or not connected. */
function troubleInWords({ endpoints }: Subscription): string {
  return endpoints
    .filter(({ state }) => state === "disabled" || state === "disconnected")
    .map((sink) => `${sink.id} ${sinkStateInWords(sink)}`)
    .join("; ");
}
