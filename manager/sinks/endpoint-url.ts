/** Endpoints as users write them, checked and taken apart. Whether their addresses are allowed is the target guard's. */
import type { BodyFormat } from "../../shared/api/event-schemas.ts";
import { type CommandError, usageError } from "../../shared/cli/failure.ts";
import { parseAmqpUrl } from "../amqp/url.ts";
import type { EventsConfig } from "../config.ts";
import type { Endpoint } from "./endpoint.ts";
import { isMailAddress } from "./mailer.ts";
import { keyOfSecret } from "./standard-webhooks.ts";

/** A telephone number: E.164's 15 digits at most, or a short code. */
const NUMBER = /^\+?[0-9]{4,15}$/;

/** What the URL parser would drop in silence, and what ends a line in a protocol of lines. */
const UNSAFE_CHARACTERS = /[\s\p{Cc}]/u;

type EndpointConfig = Pick<EventsConfig, "mail" | "commands" | "gateways" | "targets">;

/**
 * @param secrets sign what goes to webhooks; other endpoints have no use for them
 * @throws CommandError `usage`, without what stands in the URL where passwords do
 */
export function parseEndpointUrl(
  url: string,
  format: BodyFormat,
  secrets: readonly string[],
  config: EndpointConfig,
): Endpoint {
  if (UNSAFE_CHARACTERS.test(url)) throw usageError("an endpoint must have no spaces, line ends or control characters");
  const [, scheme = "", rest = ""] = /^([a-z]+):(.*)$/i.exec(url) ?? [];
  switch (scheme.toLowerCase()) {
    case "https":
    case "http":
      return webhook(url, format, secrets, config);
    case "mailto":
      return mail(rest, config);
    case "amqp":
    case "amqps":
      return { type: "amqp", ...parseAmqpUrl(url), format };
    case "sms":
      return sms(rest, format, config);
    case "command":
      return command(rest, format, config);
    default:
      throw unknown(config);
  }
}

function webhook(url: string, format: BodyFormat, secrets: readonly string[], { targets }: EndpointConfig): Endpoint {
  const parsed = parseWebhookUrl(url);
  if (parsed.protocol === "http:" && !targets.http) {
    throw usageError("a webhook must be https://...; http: needs events.targets.http in the manager's configuration");
  }
  secrets.forEach(keyOfSecret);
  return { type: "webhook", url: parsed.href, secrets, format };
}

/** `https:` or `http:`; user and password can be decoded. Throws CommandError, which does not show them. */
export function parseWebhookUrl(url: string): URL {
  const parsed = URL.parse(url);
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    throw usageError("a webhook must be https://HOST/PATH, and its host and port possible ones");
  }
  if (decoded(parsed.username) === undefined || decoded(parsed.password) === undefined) {
    throw usageError(
      "a webhook's user and password must be percent-encoded: a % is followed by two hexadecimal digits",
    );
  }
  return parsed;
}

function mail(rest: string, { mail: server }: EndpointConfig): Endpoint {
  const address = decoded(rest);
  if (address === undefined || !isMailAddress(address)) {
    throw usageError("a mail endpoint must be mailto:ADDRESS, with one address and nothing after it");
  }
  if (server === undefined) {
    throw usageError("mail needs a server, and events.mail in the manager's configuration names none");
  }
  return { type: "mail", to: [address] };
}

function sms(rest: string, format: BodyFormat, { gateways }: EndpointConfig): Endpoint {
  const [, number = "", gateway = ""] = /^([^?]*)\?gateway=([^&]*)$/.exec(rest) ?? [];
  if (!NUMBER.test(number)) {
    throw usageError("a text message's endpoint must be sms:NUMBER?gateway=NAME, and its number 4 to 15 digits");
  }
  if (!Object.hasOwn(gateways, gateway)) {
    throw usageError(`events.gateways in the manager's configuration has no such gateway (known: ${known(gateways)})`);
  }
  return { type: "sms", gateway, number, format };
}

/** A name only: what is run, and with which arguments, root's configuration says. */
function command(name: string, format: BodyFormat, { commands }: EndpointConfig): Endpoint {
  if (!/^[a-z0-9_-]+$/.test(name)) {
    throw usageError(
      "a command must be command:NAME, with a name out of the manager's configuration; paths are not taken",
    );
  }
  if (!Object.hasOwn(commands, name)) {
    throw usageError(`events.commands in the manager's configuration has no '${name}' (known: ${known(commands)})`);
  }
  return { type: "command", command: name, format };
}

function unknown({ mail: server, gateways, commands, targets }: EndpointConfig): CommandError {
  const forms = [
    `${targets.http ? "http(s)" : "https"}://HOST/PATH`,
    ...(server === undefined ? [] : ["mailto:ADDRESS"]),
    "amqp(s)://USER:PASSWORD@HOST/VHOST?exchange=NAME",
    ...Object.keys(gateways).map((gateway) => `sms:NUMBER?gateway=${gateway}`),
    ...Object.keys(commands).map((name) => `command:${name}`),
  ];
  return usageError(`an endpoint must be one of ${forms.join(", ")}`);
}

function known(programs: Readonly<Record<string, unknown>>): string {
  return Object.keys(programs).join(", ") || "none";
}

/** Undefined when the percent-encoding is none. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
