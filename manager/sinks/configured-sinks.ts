/** The sinks that the configuration names. */
import { readFileSync } from "node:fs";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { SinkConfig } from "../config.ts";
import { parseAmqpUrl } from "./amqp-url.ts";
import { parseWebhookUrl } from "./endpoint-url.ts";
import type { Endpoint } from "./endpoint.ts";
import { keyOfSecret } from "./standard-webhooks.ts";

/**
 * Reads the files that it names. Throws CommandError, which names the sink, when one cannot be read or is no secret, or the
 * URL says what cannot be meant.
 */
export function configuredEndpoint(sink: SinkConfig): Endpoint {
  try {
    return endpointOf(sink);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const message = `events.sinks: ${sink.name}: ${error.message}`;
    throw new CommandError(error.code, message, error.details, { cause: error });
  }
}

function endpointOf(sink: SinkConfig): Endpoint {
  switch (sink.type) {
    case "amqp": {
      const { broker } = parseAmqpUrl(sink.url);
      const password = sink.passwordFile === undefined ? broker.password : readText(sink.passwordFile);
      const to = { exchange: sink.exchange };
      return { type: "amqp", broker: { ...broker, password, ca: authorityOf(sink) }, to, format: sink.format };
    }
    case "mail":
    case "command":
      return sink;
    case "webhook": {
      const { type, url, format } = sink;
      parseWebhookUrl(url);
      const secrets = sink.secretFiles.map(readSecret);
      return { type, url, secrets, format, ca: authorityOf(sink) };
    }
    default:
      return unreachable(sink);
  }
}

function authorityOf({ ca }: { ca?: string | undefined }): string | undefined {
  return ca === undefined ? undefined : readText(ca);
}

function readSecret(file: string): string {
  const secret = readText(file);
  try {
    keyOfSecret(secret);
  } catch (error) {
    throw new CommandError("usage", `${file}: ${(error as Error).message}`, {}, { cause: error });
  }
  return secret;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new CommandError("failed", (error as Error).message, {}, { cause: error });
  }
}
