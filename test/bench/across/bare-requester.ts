/** The least that asking over a broker takes: amqplib, a request and its answer, nothing sealed. `bare-requester.ts PORT` */
import { connect } from "amqplib";
import { serveCommands } from "../events/worker-process.ts";
import { BARE_EXCHANGE, bareKey, EVERYONE, LONG } from "./bare-exchange.ts";

export type AskBare =
  /** One message to everyone: until so many have answered at length. */
  | { type: "everyone"; answers: number }
  /** To one after the other of so many, of which so many are under way at once. */
  | { type: "each"; requests: number; answerers: number; atOnce: number };

/** As long as a message that sets a key. */
const REQUEST_BYTES = 400;
const request = Buffer.alloc(REQUEST_BYTES, "x");

const [, , port = ""] = process.argv;
const model = await connect({ hostname: "127.0.0.1", port: Number(port) }, { noDelay: true });
const channel = await model.createChannel();
const { queue: replyTo } = await channel.assertQueue("", { exclusive: true });
let answered: () => void = () => undefined;
await channel.consume(
  replyTo,
  () => {
    answered();
  },
  { noAck: true },
);

/** Answers the milliseconds until the last answer. */
serveCommands((command: AskBare) => (command.type === "everyone" ? askEveryone(command) : askEach(command)));

async function askEveryone({ answers }: Extract<AskBare, { type: "everyone" }>): Promise<number> {
  const startedAt = performance.now();
  const all = untilAnswered(answers);
  channel.publish(BARE_EXCHANGE, EVERYONE, request, { replyTo, type: LONG });
  await all;
  return performance.now() - startedAt;
}

async function askEach({ requests, answerers, atOnce }: Extract<AskBare, { type: "each" }>): Promise<number> {
  let asked = 0;
  const askNext = (): void => {
    if (asked === requests) return;
    channel.publish(BARE_EXCHANGE, bareKey(asked % answerers), request, { replyTo });
    asked += 1;
  };
  const startedAt = performance.now();
  const all = untilAnswered(requests, askNext);
  for (let count = 0; count < atOnce; count += 1) askNext();
  await all;
  return performance.now() - startedAt;
}

/** @param then after each answer */
function untilAnswered(answers: number, then: () => void = () => undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  let count = 0;
  answered = () => {
    count += 1;
    then();
    if (count === answers) resolve(undefined);
  };
  return promise;
}
