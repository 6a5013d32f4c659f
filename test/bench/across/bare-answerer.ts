/**
 * Who is asked in the place of simulated managers: as many queues, each with a consumer that answers at once. Each command
 * changes nothing. `bare-answerer.ts PORT FIRST COUNT ANSWER_BYTES`
 */
import { connect } from "amqplib";
import { serveCommands } from "../events/worker-process.ts";
import { BARE_EXCHANGE, bareKey, EVERYONE, LONG } from "./bare-exchange.ts";

/** As long as a receipt. */
const SHORT_BYTES = 300;

const [, , port = "", first = "", count = "", answerBytes = ""] = process.argv;
const long = Buffer.alloc(Number(answerBytes), "x");
const short = Buffer.alloc(SHORT_BYTES, "x");

const model = await connect({ hostname: "127.0.0.1", port: Number(port) }, { noDelay: true });
for (let index = Number(first); index < Number(first) + Number(count); index += 1) {
  const channel = await model.createChannel();
  await channel.assertExchange(BARE_EXCHANGE, "direct", { durable: false, autoDelete: true });
  const { queue } = await channel.assertQueue("", { exclusive: true });
  for (const key of [bareKey(index), EVERYONE]) await channel.bindQueue(queue, BARE_EXCHANGE, key);
  await channel.consume(
    queue,
    (message) => {
      if (message === null) throw new Error("the broker ended the consumer");
      const { replyTo, type } = message.properties as { replyTo: string; type?: string };
      channel.sendToQueue(replyTo, type === LONG ? long : short);
    },
    { noAck: true },
  );
}

serveCommands(() => Promise.resolve(undefined));
