/** A `text/event-stream` (HTML standard, section 9.2) as it comes. */
import { createParser, type ErrorType, type EventSourceMessage } from "eventsource-parser";
import { CommandError } from "../../shared/cli/failure.ts";

/** A cache at its configurable limit in one event, with every byte of it escaped. */
const MAX_EVENT_BYTES = 16 * 1024 * 1024;

/** Throws CommandError (failed) when an event has no end. */
export async function* readEvents(pieces: AsyncIterable<Buffer>): AsyncGenerator<EventSourceMessage> {
  const decoder = new TextDecoder();
  const events: EventSourceMessage[] = [];
  const problems: ErrorType[] = [];
  const parser = createParser({
    maxBufferSize: MAX_EVENT_BYTES,
    onEvent: (event) => events.push(event),
    onError: ({ type }) => problems.push(type),
  });
  for await (const piece of pieces) {
    parser.feed(decoder.decode(piece, { stream: true }));
    yield* events.splice(0);
    if (problems.splice(0).includes("max-buffer-size-exceeded"))
      throw new CommandError("failed", `the manager sent an event of over ${MAX_EVENT_BYTES} bytes`);
  }
}
