/**
 * StratusLab's coordinates of a queue, as `--notify` takes them: `host,vhost,user,password,queue`. A part with a comma or a
 * double quote in it is quoted as in CSV (RFC 4180).
 */
import { type CommandError, usageError } from "../../shared/cli/failure.ts";
import type { AmqpBroker } from "../amqp/broker.ts";
import { AMQP_PORT, assertName, hostOf } from "../amqp/url.ts";

export interface Coordinates {
  broker: AmqpBroker;
  queue: string;
}

const PARTS = ["host", "vhost", "user", "password", "queue"] as const;
const SHAPE = PARTS.join(",");

/** Throws CommandError that says which part is wrong, and never what the password is. An empty vhost is `/`. */
export function parseCoordinates(text: string): Coordinates {
  const parts = partsOf(text);
  const [host = "", vhost = "", user = "", password = "", queue = ""] = parts;
  if (parts.length !== PARTS.length) {
    throw malformed(`5 parts are needed, not ${parts.length}; one with a comma in it stands in double quotes`);
  }
  if (password === "") throw malformed("the password is empty");
  assertPart(host, "host");
  assertPart(vhost || "/", "vhost");
  assertPart(user, "user");
  assertPart(queue, "queue");
  return { broker: { tls: false, ...hostAndPort(host), vhost: vhost || "/", user, password }, queue };
}

/** For people: the password is five stars, whatever it is. */
export function shownCoordinates({ broker, queue }: Coordinates): string {
  const { host, port, vhost, user } = broker;
  const bare = host.includes(":") ? `[${host}]` : host;
  return [port === AMQP_PORT ? bare : `${bare}:${port}`, vhost, user, "*****", queue].map(quoted).join(",");
}

/** RFC 4180, section 2: quotes around a whole part, and doubled within. */
function partsOf(text: string): string[] {
  const parts: string[] = [];
  const part = /(?:"(?<quoted>(?:[^"]|"")*)"|(?<bare>[^",]*))(?<end>,|$)/suy;
  for (let isMore = true; isMore;) {
    const groups = part.exec(text)?.groups;
    if (groups === undefined) throw wrongQuotes(parts.length);
    parts.push(groups["quoted"]?.replaceAll('""', '"') ?? groups["bare"] ?? "");
    isMore = groups["end"] === ",";
  }
  return parts;
}

function wrongQuotes(index: number): CommandError {
  const name = PARTS[index];
  const which = name === undefined ? `part ${index + 1}` : `part ${index + 1} (${name})`;
  return malformed(`${which} has a double quote that is not at both its ends; within quotes it is written twice`);
}

function hostAndPort(text: string): { host: string; port: number } {
  const found = /^(?<host>\[[^\]]*\]|[^:]*)(?::(?<port>\d{1,5}))?$/.exec(text)?.groups;
  if (found === undefined) throw malformed("the host is HOST or HOST:PORT, and an IPv6 address stands in brackets");
  const port = Number(found["port"] ?? AMQP_PORT);
  if (port < 1 || port > 65_535) throw malformed("the host's port must be 1 to 65535");
  return { host: prefixed(() => hostOf(found["host"] ?? "")), port };
}

function assertPart(value: string, name: string): void {
  prefixed(() => {
    assertName(value, `the ${name}`);
  });
}

/** Says what the problem is one of. */
function prefixed<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw malformed((error as Error).message);
  }
}

function quoted(part: string): string {
  return /[",\r\n]/.test(part) ? `"${part.replaceAll('"', '""')}"` : part;
}

function malformed(problem: string): CommandError {
  return usageError(`the coordinates (${SHAPE}) are malformed: ${problem}`);
}
