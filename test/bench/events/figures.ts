/** `events.*`: from what happens to those who are told of it, over a real broker and over HTTP. */
import { RabbitUnderTest } from "../../integration/support/rabbitmq.ts";
import type { Figure } from "../figure.ts";
import type { Progress } from "../progress.ts";
import { publishingFigures } from "./publishing.ts";

export async function eventsFigures(progress: Progress): Promise<Figure[]> {
  progress("starting RabbitMQ");
  await using rabbit = await RabbitUnderTest.start();
  return await publishingFigures(rabbit, progress);
}
