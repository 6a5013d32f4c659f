/** What must be at a broker before something is published there, found or made. */
import type { Channel, ChannelModel } from "amqplib";

/** AMQP 0-9-1, section 1.2 "Constants", with which a broker closes the channel. */
const ACCESS_REFUSED = 403;
export const NOT_FOUND = 404;
export const RESOURCE_LOCKED = 405;
const PRECONDITION_FAILED = 406;

/** Where routing keys are matched with patterns; as {@link durableExchange}. */
export function topicExchange(model: ChannelModel, exchange: string): Promise<void> {
  return durableExchange(model, exchange, "topic");
}

/** Where a routing key is a queue's own; as {@link durableExchange}. */
export function directExchange(model: ChannelModel, exchange: string): Promise<void> {
  return durableExchange(model, exchange, "direct");
}

/**
 * One that is there with other arguments is used as it is, unless it is of another type, which would lead messages
 * elsewhere; so is one of a broker that lets us publish and not declare.
 */
async function durableExchange(model: ChannelModel, exchange: string, type: "topic" | "direct"): Promise<void> {
  try {
    await onItsOwn(model, (channel) => channel.assertExchange(exchange, type, { durable: true }));
  } catch (error) {
    if (!mayBeUsedAsItIs(error)) throw error;
    await onItsOwn(model, (channel) => channel.checkExchange(exchange));
  }
}

/** A queue, with whatever arguments it has; a durable one is made when there is none. */
export async function anyQueue(model: ChannelModel, queue: string): Promise<void> {
  try {
    await onItsOwn(model, (channel) => channel.checkQueue(queue));
  } catch (error) {
    if (codeOf(error) !== NOT_FOUND) throw error;
    await onItsOwn(model, (channel) => channel.assertQueue(queue, { durable: true }));
  }
}

/** Rejects unless we may publish to the exchange, by a message that no queue is to take. */
export function assertMayPublish(model: ChannelModel, exchange: string): Promise<void> {
  return onItsOwn(model, async (channel) => {
    channel.publish(exchange, "", Buffer.alloc(0));
    // Asked after it on the same channel: a broker that refuses the message closes the channel instead of answering.
    await channel.checkExchange(exchange);
  });
}

/** On a channel of its own: a broker that refuses closes the channel. */
async function onItsOwn(model: ChannelModel, work: (channel: Channel) => Promise<unknown>): Promise<void> {
  const channel = await model.createChannel();
  // The work's own promise says it too.
  channel.on("error", () => undefined);
  const ended = new Promise((resolve) => channel.once("close", resolve));
  await work(channel);
  // What `close` itself answers never comes when the connection ends meanwhile.
  await Promise.race([channel.close(), ended]);
}

function mayBeUsedAsItIs(error: unknown): boolean {
  const code = codeOf(error);
  if (code === ACCESS_REFUSED) return true;
  return code === PRECONDITION_FAILED && error instanceof Error && !error.message.includes("inequivalent arg 'type'");
}

/** With which a broker refused it. */
export function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
