/** Why a broker is not there for us, in words: never with the password, whoever wrote them. */
import { CommandError, systemCode } from "../../shared/cli/failure.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { AmqpBroker } from "./broker.ts";

/** Enough of a broker's own words to understand them; RabbitMQ's longest are about half. Not measured. */
const MAX_WORDS = 400;

/** For what is thrown by us in this connection's code, and read by people as it is. */
export function brokerError(words: string): CommandError {
  return new CommandError("unreachable", words);
}

export function amqpReason(error: unknown, broker: AmqpBroker): string {
  if (error instanceof CommandError) return error.message;
  const address = brokerAddress(broker);
  const message = brokersWords(error instanceof Error ? error.message : String(error), broker);
  const code = systemCode(error);
  return code === undefined ? protocolReason(message, address, broker) : systemReason(code, message, address, broker);
}

/** What a broker says, for people. It knows the password by now, and may say it back. */
export function brokersWords(text: string, { password }: AmqpBroker): string {
  const words = password === "" ? text : text.replaceAll(password, "*****");
  return printable(words.slice(0, MAX_WORDS));
}

/** `broker.example.com:5672` */
export function brokerAddress({ host, port }: AmqpBroker): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function systemReason(code: string, message: string, address: string, { host }: AmqpBroker): string {
  switch (code) {
    case "ECONNREFUSED":
      return `${address} refused the connection; is the broker running?`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `${host} has no address that we can find (${code})`;
    case "ECONNRESET":
    case "EPIPE":
      return `${address} closed the connection (${code})`;
    case "EPROTO":
    case "ERR_SSL_WRONG_VERSION_NUMBER":
      return `${address} does not speak TLS there; is it the port for amqps?`;
    default:
      return isOfTls(code) ? `TLS with ${address} failed: ${tlsWords(code, message)}` : `${address}: ${message}`;
  }
}

/** Node follows a verdict with advice about itself; OpenSSL's other errors are lines of its source. */
function tlsWords(code: string, message: string): string {
  return code.startsWith("ERR_SSL_") ? code : `${message.replace(/[;:].*$/s, "")} (${code})`;
}

/** The names of OpenSSL's verdicts on certificates have no prefix; those of Node do. */
function isOfTls(code: string): boolean {
  return code.startsWith("ERR_TLS_") || code.startsWith("ERR_SSL_") || /CERT|SIGNATURE|CRL|ISSUER/.test(code);
}

/** What amqplib says of a broker that ends a connection or a channel: the sentences are its own. */
function protocolReason(message: string, address: string, { user, vhost }: AmqpBroker): string {
  if (message.includes("403 (ACCESS-REFUSED)") && message.startsWith("Handshake terminated")) {
    return `${address} refused the user '${user}' or its password`;
  }
  if (message.includes("got <ConnectionClose")) {
    return `${address} refused the vhost '${vhost}'; is it there, and may the user '${user}' use it?`;
  }
  if (message === "Unexpected close") return `${address} closed the connection`;
  if (message.startsWith("Socket closed abruptly")) {
    return `${address} closed the connection before it was open; does it speak AMQP 0-9-1 there?`;
  }
  if (message.startsWith("Frame size") || message === "Invalid frame") return `${address} does not speak AMQP 0-9-1`;
  if (message === "Heartbeat timeout") return `${address} has been silent for too long`;
  const said = /with message "(?<words>.*?)"?$/s.exec(message)?.groups?.["words"];
  return said === undefined ? `${address}: ${message}` : `${address} says: ${said}`;
}
