/** Brokers and where to publish at them, as URLs: RabbitMQ's URI specification, and in the query what events go to. */
import { usageError } from "../../shared/cli/failure.ts";
import type { AmqpBroker, AmqpDestination } from "./broker.ts";

export interface AmqpTarget {
  broker: AmqpBroker;
  to: AmqpDestination;
}

/** CloudStack's. */
const DEFAULT_EXCHANGE = "cloudstack-events";

export const AMQP_PORT = 5672;
const AMQPS_PORT = 5671;

/** What AMQP calls a short string (0-9-1, section 4.2.5.3): names of exchanges, queues, users and vhosts. */
const MAX_NAME_BYTES = 255;

const SHAPE = "amqp(s)://USER:PASSWORD@HOST:PORT/VHOST?exchange=NAME (or ?queue=NAME)";

/**
 * Takes `amqp(s)://user:password@host:port/vhost?exchange=NAME` apart. Without a user it is guest with the password guest,
 * without a path the vhost is `/`; a slash in a vhost is written `%2F`. Throws CommandError, without the password.
 */
export function parseAmqpUrl(text: string): AmqpTarget {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "amqp:" && url.protocol !== "amqps:")) {
    throw usageError(`this is no URL of a broker, which looks like ${SHAPE}`);
  }
  if (url.hash !== "") throw usageError("a broker's URL ends with its query; a # in a name is written %23");
  const tls = url.protocol === "amqps:";
  const user = url.username === "" && url.password === "" ? "guest" : decoded(url.username, "user");
  const broker = {
    tls,
    host: hostOf(url.hostname),
    port: portOf(url.port, tls),
    vhost: vhostOf(url.pathname),
    user,
    password: url.username === "" && url.password === "" ? "guest" : decoded(url.password, "password"),
  };
  assertName(broker.user, "the user");
  return { broker, to: destinationOf(url.search.slice(1)) };
}

/** The same without the password, for people. */
export function shownAmqpUrl({ broker, to }: AmqpTarget): string {
  const query = "queue" in to ? `queue=${encodeURIComponent(to.queue)}` : `exchange=${encodeURIComponent(to.exchange)}`;
  return `${shownBroker(broker)}?${query}`;
}

/** A broker without its password, for people. */
export function shownBroker({ tls, host, port, vhost, user }: AmqpBroker): string {
  const authority = `${encodeURIComponent(user)}@${host.includes(":") ? `[${host}]` : host}`;
  const shownPort = port === (tls ? AMQPS_PORT : AMQP_PORT) ? "" : `:${port}`;
  const path = vhost === "/" ? "" : `/${encodeURIComponent(vhost)}`;
  return `${tls ? "amqps" : "amqp"}://${authority}${shownPort}${path}`;
}

/** Throws CommandError unless AMQP can carry it as a name. @param what with its article */
export function assertName(name: string, what: string): void {
  if (name === "") throw usageError(`${what} is empty`);
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw usageError(`${what} has more than ${MAX_NAME_BYTES} bytes, which is what AMQP can carry`);
  }
}

/** Throws CommandError. Answers an IPv6 address without its brackets. */
export function hostOf(text: string): string {
  const host = decoded(text, "host");
  if (!/^([\w.-]{1,253}|\[[\da-f:.]{2,45}\])$/i.test(host)) {
    throw usageError("the host must be a name, an IPv4 address, or an IPv6 address in brackets");
  }
  return host.replace(/^\[(.*)\]$/, "$1");
}

function portOf(text: string, tls: boolean): number {
  if (text === "") return tls ? AMQPS_PORT : AMQP_PORT;
  const port = Number(text);
  if (port === 0) throw usageError("the port must be 1 to 65535");
  return port;
}

/** RabbitMQ takes the path `/` for a vhost with an empty name; who writes it means the default, and amqplib knows no other. */
function vhostOf(path: string): string {
  const segments = path.slice(1);
  if (segments === "") return "/";
  if (segments.includes("/")) throw usageError("the vhost has a slash in it; it is written %2F");
  const vhost = decoded(segments, "vhost");
  assertName(vhost, "the vhost");
  return vhost;
}

function destinationOf(query: string): AmqpDestination {
  if (query === "") return { exchange: DEFAULT_EXCHANGE };
  const members = query.split("&");
  const [member = ""] = members;
  const at = member.indexOf("=");
  const name = decoded(at === -1 ? member : member.slice(0, at), "query");
  if (members.length > 1) throw usageError("a broker's URL has one query member: exchange=NAME or queue=NAME");
  const value = decoded(at === -1 ? "" : member.slice(at + 1), name);
  switch (name) {
    case "exchange":
      assertName(value, "the exchange");
      return { exchange: value };
    case "queue":
      assertName(value, "the queue");
      return { queue: value };
    default:
      throw usageError("a broker's URL knows the query members exchange and queue, and no other");
  }
}

function decoded(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw usageError(`the ${what} in the broker's URL is not percent-encoded UTF-8; a % is written %25`);
  }
}
