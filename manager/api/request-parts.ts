/** A request's parts and an answer, by the schemas of its row in the table of endpoints. */
import * as z from "zod/mini";
import type { Endpoint } from "../../shared/api/endpoints.ts";
import { usageError } from "../../shared/cli/failure.ts";
import { describeIssues } from "../../shared/protocol/message.ts";
import type { StreamEvent } from "./event-stream.ts";

const nothing = z.strictObject({});

/** Of a row that takes no query: a misspelt member would go unnoticed. */
export function querySchema({ query }: Endpoint): z.ZodMiniType {
  return query ?? nothing;
}

/**
 * Throws CommandError `usage`.
 *
 * @param part its name in the complaint: `params`, `querystring`, `body`
 */
export function checkedPart(schema: z.ZodMiniType, part: string, input: unknown): unknown {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  throw usageError(`${part}: ${describeIssues(result.error)}`);
}

export async function* encodedEvents(
  events: AsyncIterable<StreamEvent>,
  schemas: NonNullable<Endpoint["stream"]>,
): AsyncGenerator<StreamEvent> {
  for await (const { event, data, id } of events) {
    const schema = schemas[event];
    yield { event, id, data: schema === undefined ? data : z.encode(schema, data) };
  }
}

/** As JSON has it. */
export function encodedAnswer({ answer: schema }: Endpoint, answer: unknown): unknown {
  return schema === undefined ? answer : z.encode(schema, answer);
}
