/** `vmmessaged check`: whether a configured sink could be delivered to, without delivering anything. */
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { hostname } from "node:os";
import { CommandError } from "../../shared/cli/failure.ts";
import type { Log } from "../../shared/log.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { AmqpBroker } from "../amqp/broker.ts";
import { AmqpConnection } from "../amqp/connection.ts";
import { shownAmqpUrl } from "../amqp/url.ts";
import type { EventsConfig, ProgramConfig, SinkConfig } from "../config.ts";
import { configuredEndpoint } from "./configured-sinks.ts";
import type { MasakariEndpoint } from "./endpoint.ts";
import { Mailer, MailError } from "./mailer.ts";
import { MasakariClient } from "./masakari/masakari-client.ts";

const ANSWER_TIMEOUT_MS = 15_000;

const silent: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Answers what was found; rejects with CommandError. */
export async function checkSink(sink: SinkConfig, config: EventsConfig): Promise<string> {
  const endpoint = configuredEndpoint(sink, hostname());
  switch (endpoint.type) {
    case "amqp":
      await assertTakesUs(endpoint.broker);
      return `${shownAmqpUrl(endpoint)} lets us in`;
    case "mail":
      await assertTakesMail(new Mailer(() => config.mail));
      return `${config.mail?.host ?? "no mail server"} would take mail to ${endpoint.to.join(", ")}`;
    case "webhook":
      return `would post to ${new URL(endpoint.url).origin}`;
    case "command":
      return checkProgram(config.commands[endpoint.command]);
    case "masakari":
      return `${await letsUsIn(endpoint)} lets us in, and would be told of the host '${endpoint.hostname}'`;
    case "notify":
    case "sms":
      throw new Error(`a configuration has no sink of the type ${endpoint.type}`);
    default:
      return unreachable(endpoint);
  }
}

export async function checkProgram(program: ProgramConfig | undefined): Promise<string> {
  const [path = ""] = program?.run ?? [];
  try {
    await access(path, constants.X_OK);
    return `would run ${path}`;
  } catch (error) {
    throw new CommandError("failed", `cannot run ${path}: ${(error as Error).message}`, {}, { cause: error });
  }
}

/** Masakari's URL. Nothing is told. */
async function letsUsIn(endpoint: MasakariEndpoint): Promise<string> {
  const client = new MasakariClient({ endpoint, now: Date.now });
  try {
    return await client.check(new AbortController().signal);
  } finally {
    await client.close();
  }
}

async function assertTakesMail(mailer: Mailer): Promise<void> {
  try {
    await mailer.check();
  } catch (error) {
    if (error instanceof MailError) throw new CommandError("unreachable", error.message, {}, { cause: error });
    throw error;
  }
}

/** Connects and logs in; nothing is made there. */
async function assertTakesUs(broker: AmqpBroker): Promise<void> {
  const target = shownAmqpUrl({ broker, to: { queue: "" } });
  const setUp = (): Promise<void> => Promise.resolve();
  const connection = new AmqpConnection({ broker, target, setUp, guard: undefined, log: silent });
  try {
    connection.start();
    if (await connection.ready(AbortSignal.timeout(ANSWER_TIMEOUT_MS))) return;
    const { state } = connection;
    throw new CommandError("unreachable", state.state === "disconnected" ? state.reason : "no answer");
  } finally {
    await connection.close();
  }
}
