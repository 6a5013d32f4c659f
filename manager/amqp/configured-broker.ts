/** A broker that the configuration names. */
import type { PeersConfig } from "../config.ts";
import { configuredAuthority, readConfiguredFile } from "../configured-files.ts";
import type { AmqpBroker } from "./broker.ts";
import { parseAmqpUrl } from "./url.ts";

/** Reads the files that it names. Throws CommandError when one cannot be read, or the URL says what cannot be meant. */
export function configuredBroker(config: Pick<PeersConfig, "url" | "passwordFile" | "ca">): AmqpBroker {
  const { broker } = parseAmqpUrl(config.url);
  const password = config.passwordFile === undefined ? broker.password : readConfiguredFile(config.passwordFile);
  return { ...broker, password, ca: configuredAuthority(config) };
}
