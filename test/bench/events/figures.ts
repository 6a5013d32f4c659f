/** `events.*`: from what happens to those who are told of it, over a real broker and over HTTP. */
import { RabbitUnderTest } from "../../integration/support/rabbitmq.ts";
import type { Figure } from "../figure.ts";
import type { Progress } from "../progress.ts";
import { fanOutFigures } from "./fan-out.ts";
import { publishingFigures } from "./publishing.ts";
import { reachingFigures } from "./reaching.ts";

export async function eventsFigures(progress: Progress): Promise<Figure[]> {
  return [...(await brokerFigures(progress)), ...(await fanOutFigures(progress))];
}

async function brokerFigures(progress: Progress): Promise<Figure[]> {
  progress("starting RabbitMQ");
  await using rabbit = await RabbitUnderTest.start();
  return [...(await publishingFigures(rabbit, progress)), ...(await reachingFigures(rabbit, progress))];
}
