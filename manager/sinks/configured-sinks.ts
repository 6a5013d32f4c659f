/** The sinks that the configuration names. */
import type { EventFilter } from "../../shared/api/event-schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { configuredBroker } from "../amqp/configured-broker.ts";
import type { SinkConfig } from "../config.ts";
import { readConfiguredFile, configuredAuthority } from "../configured-files.ts";
import { parseWebhookUrl } from "./endpoint-url.ts";
import type { Endpoint, KeystoneLogin, MasakariEndpoint } from "./endpoint.ts";
import { keyOfSecret } from "./standard-webhooks.ts";

type MasakariConfig = Extract<SinkConfig, { type: "masakari" }>;

/** What its sink and all that is kept for it is called. */
export function configuredId({ name }: Pick<SinkConfig, "name">): string {
  return `config:${name}`;
}

/** What it is told of. Masakari knows only some failures of VMs. */
export function configuredFilter(sink: SinkConfig): EventFilter {
  return sink.type === "masakari" ? { ...sink.filter, types: Object.keys(sink.events) } : sink.filter;
}

/**
 * Reads the files that it names. Throws CommandError, which names the sink, when one cannot be read or is no secret, or the
 * URL says what cannot be meant.
 *
 * @param host this machine's name
 */
export function configuredEndpoint(sink: SinkConfig, host: string): Endpoint {
  try {
    return endpointOf(sink, host);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const message = `events.sinks: ${sink.name}: ${error.message}`;
    throw new CommandError(error.code, message, error.details, { cause: error });
  }
}

function endpointOf(sink: SinkConfig, host: string): Endpoint {
  switch (sink.type) {
    case "amqp": {
      const { type, exchange, format } = sink;
      return { type, broker: configuredBroker(sink), to: { exchange }, format };
    }
    case "mail":
    case "command":
      return sink;
    case "webhook": {
      const { type, url, format } = sink;
      parseWebhookUrl(url);
      const secrets = sink.secretFiles.map(readSecret);
      return { type, url, secrets, format, ca: configuredAuthority(sink) };
    }
    case "masakari":
      return masakari(sink, host);
    default:
      return unreachable(sink);
  }
}

function masakari(sink: MasakariConfig, host: string): MasakariEndpoint {
  const { type, url, auth, region, interface: face, hostname = host, events, retryMax, retryInterval } = sink;
  return {
    type,
    name: configuredId(sink),
    url,
    login: loginOf(auth),
    region,
    interface: face,
    ca: configuredAuthority(sink),
    hostname,
    events,
    retryMax,
    retryIntervalMs: retryInterval,
  };
}

function loginOf(auth: MasakariConfig["auth"]): KeystoneLogin {
  switch (auth.method) {
    case "none":
      return auth;
    case "password": {
      const { passwordFile, ...login } = auth;
      return { ...login, password: readConfiguredFile(passwordFile) };
    }
    case "application-credential": {
      const { secretFile, ...login } = auth;
      return { ...login, secret: readConfiguredFile(secretFile) };
    }
    default:
      return unreachable(auth);
  }
}

function readSecret(file: string): string {
  const secret = readConfiguredFile(file);
  try {
    keyOfSecret(secret);
  } catch (error) {
    throw new CommandError("usage", `${file}: ${(error as Error).message}`, {}, { cause: error });
  }
  return secret;
}
