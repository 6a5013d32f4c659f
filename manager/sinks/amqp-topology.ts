/** What must be at a broker before something is published there, found or made. */
import type { Channel, ChannelModel } from "amqplib";

/** AMQP 0-9-1, section 1.2 "Constants", with which a broker closes the channel. */
const ACCESS_REFUSED = 403;
const NOT_FOUND = 404;
const PRECONDITION_FAILED = 406;

/**
 * A durable topic exchange. One that is there with other arguments is used as it is, unless it is of another type, which
 * would lead events elsewhere; so is one of a broker that lets us publish and not declare.
 */
export async function topicExchange(model: ChannelModel, exchange: string): Promise<void> {
  try {
    await onItsOwn(model, (channel) => channel.assertExchange(exchange, "topic", { durable: true }));
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

/** On a channel of its own: a broker that refuses closes the channel. */
async function onItsOwn(model: ChannelModel, work: (channel: Channel) => Promise<unknown>): Promise<void> {
  const channel = await model.createChannel();
  // The work's own promise says it too.
  channel.on("error", () => undefined);
  await work(channel);
  await channel.close();
}

function mayBeUsedAsItIs(error: unknown): boolean {
  const code = codeOf(error);
  if (code === ACCESS_REFUSED) return true;
  return code === PRECONDITION_FAILED && error instanceof Error && !error.message.includes("inequivalent arg 'type'");
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
