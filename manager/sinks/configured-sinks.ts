/** The sinks that the configuration names. */
import { readFileSync } from "node:fs";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { SinkConfig } from "../config.ts";
import { parseAmqpUrl } from "./amqp-url.ts";
import type { Endpoint } from "./endpoint.ts";

/** Reads the files that it names. Throws CommandError when one cannot be read, or the URL says what cannot be meant. */
export function configuredEndpoint(sink: SinkConfig): Endpoint {
  switch (sink.type) {
    case "amqp": {
      const { broker } = parseAmqpUrl(sink.url);
      const password = sink.passwordFile === undefined ? broker.password : readText(sink.name, sink.passwordFile);
      const to = { exchange: sink.exchange };
      return { type: "amqp", broker: { ...broker, password, ca: authorityOf(sink) }, to, format: sink.format };
    }
    case "mail":
    case "command":
      return sink;
    case "webhook": {
      const { type, url, format } = sink;
      const secrets = sink.secretFiles.map((file) => readText(sink.name, file));
      return { type, url, secrets, format, ca: authorityOf(sink) };
    }
    default:
      return unreachable(sink);
  }
}

function authorityOf({ name, ca }: { name: string; ca?: string | undefined }): string | undefined {
  return ca === undefined ? undefined : readText(name, ca);
}

function readText(name: string, file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new CommandError("failed", `events.sinks: ${name}: ${(error as Error).message}`, {}, { cause: error });
  }
}
