/**
 * The least that publishing with confirms takes: amqplib and messages that were made before. As many may be unconfirmed as
 * the manager's sink has at once, and each confirm makes room for the next. `bare-publisher.ts PORT EXCHANGE`
 */
import { connect } from "amqplib";
import { type Message, messageOf, numbered, sampleEvents } from "./sample-events.ts";
import { serveCommands } from "./worker-process.ts";

export interface PublishBare {
  count: number;
}

/** The manager's batch. */
const WINDOW = 1_000;

const [, , port = "", exchange = ""] = process.argv;
const model = await connect({ hostname: "127.0.0.1", port: Number(port) }, { noDelay: true });
const channel = await model.createConfirmChannel();

function published(messages: readonly Message[]): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  let next = 0;
  let confirmed = 0;
  const publishNext = (): void => {
    const message = messages[next];
    if (message === undefined) return;
    next += 1;
    channel.publish(exchange, message.routingKey, message.body, message.properties, onConfirm);
  };
  const onConfirm = (error: unknown): void => {
    if (error !== null) reject(new Error("the broker refused a message"));
    confirmed += 1;
    if (confirmed === messages.length) resolve(undefined);
    publishNext();
  };
  for (let count = 0; count < WINDOW; count += 1) publishNext();
  return promise;
}

/** Answers the milliseconds until the last confirm. */
serveCommands(async ({ count }: PublishBare) => {
  const messages = numbered(sampleEvents(count)).map(messageOf);
  const startedAt = performance.now();
  await published(messages);
  return performance.now() - startedAt;
});
