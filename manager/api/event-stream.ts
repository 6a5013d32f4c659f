/** Server-sent events (WHATWG HTML, section 9.2): the bytes of a `text/event-stream`, made as fast as they are read. */
import { Readable } from "node:stream";
import type { Problem } from "../../shared/api/schemas.ts";

export interface StreamEvent {
  event: string;
  data: unknown;
  /** From where the stream is resumed after this event (`Last-Event-ID`). */
  id?: string | undefined;
}

export interface EventStreamOptions {
  keepAliveMs: number;
  /** Aborted when nobody is to get more: events that end then have not come to their end. */
  signal: AbortSignal;
  /** Of an error after the first event: the status is sent already, so an `error` event carries it. */
  describe: (error: unknown) => Problem;
}

/** A comment, which readers pass over. */
const KEEP_ALIVE = ":\n\n";

/**
 * Waits for the first event: an error before it rejects, and can still be answered with a status. The stream asks for
 * the next event when the one before has been taken, so a reader that stalls costs one event.
 */
export async function openEventStream(
  source: AsyncIterable<StreamEvent>,
  options: EventStreamOptions,
): Promise<Readable> {
  const events = source[Symbol.asyncIterator]();
  const first = await events.next();
  return Readable.from(lines(events, first, options), { objectMode: false });
}

async function* lines(
  events: AsyncIterator<StreamEvent>,
  first: IteratorResult<StreamEvent>,
  { keepAliveMs, signal, describe }: EventStreamOptions,
): AsyncGenerator<string> {
  try {
    for (let result = first; result.done !== true;) {
      yield serialized(result.value);
      const next = events.next();
      yield* keepAlives(next, keepAliveMs);
      result = await next;
    }
    signal.throwIfAborted();
  } catch (error) {
    yield serialized({ event: "error", data: describe(error) });
  } finally {
    await events.return?.();
  }
}

/** A comment each time that the work has taken so long again. One reaction to the work, however long it takes. */
async function* keepAlives(work: Promise<unknown>, everyMs: number): AsyncGenerator<string> {
  const settled = new AbortController();
  const onSettled = (): void => {
    settled.abort();
  };
  work.then(onSettled, onSettled);
  while (!(await isAbortedWithin(everyMs, settled.signal))) yield KEEP_ALIVE;
}

function isAbortedWithin(durationMs: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", settle);
      resolve(signal.aborted);
    };
    const timer = setTimeout(settle, durationMs);
    if (signal.aborted) settle();
    else signal.addEventListener("abort", settle);
  });
}

/** JSON has no line breaks of its own, so the data is one line. */
function serialized({ event, data, id }: StreamEvent): string {
  const idLine = id === undefined ? "" : `id: ${id}\n`;
  return `event: ${event}\n${idLine}data: ${JSON.stringify(data)}\n\n`;
}
