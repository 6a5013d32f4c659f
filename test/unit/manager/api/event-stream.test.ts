import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type EventStreamOptions, openEventStream, type StreamEvent } from "../../../../manager/api/event-stream.ts";
import type { Problem } from "../../../../shared/api/schemas.ts";

const problem: Problem = { type: "about:blank", title: "T", status: 503, detail: "d", code: "unreachable" };

function options(change: Partial<EventStreamOptions> = {}): EventStreamOptions {
  return { keepAliveMs: 15_000, signal: new AbortController().signal, describe: () => problem, ...change };
}

/** Events that are given one at a time. */
class Source implements AsyncIterable<StreamEvent> {
  asked = 0;
  isReturned = false;
  #next = Promise.withResolvers<IteratorResult<StreamEvent>>();

  give(event: StreamEvent): void {
    const given = this.#next;
    this.#next = Promise.withResolvers();
    given.resolve({ value: event });
  }

  end(): void {
    this.#next.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): AsyncIterator<StreamEvent> {
    return {
      next: () => {
        this.asked += 1;
        return this.#next.promise;
      },
      return: () => {
        this.isReturned = true;
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("nothing is opened before the first event, and its error is the caller's", async () => {
  async function* failing(): AsyncGenerator<StreamEvent> {
    await Promise.resolve();
    throw new Error("no such VM");
  }
  await expect(openEventStream(failing(), options())).rejects.toThrow("no such VM");
});

test("events are lines with a name, an id where they have one, and JSON without line breaks", async () => {
  const source = new Source();
  const opening = openEventStream(source, options());
  source.give({ event: "changed", id: "e:1", data: { text: "a\nb\u2028" } });
  const stream = await opening;
  const reading = stream[Symbol.asyncIterator]();
  expect(String((await reading.next()).value)).toBe('event: changed\nid: e:1\ndata: {"text":"a\\nb\u2028"}\n\n');
  source.give({ event: "link", data: 1 });
  expect(String((await reading.next()).value)).toBe("event: link\ndata: 1\n\n");
  source.end();
  expect((await reading.next()).done).toBe(true);
  expect(source.isReturned).toBe(true);
});

test("a comment goes out every keep-alive time until there is an event", async () => {
  const source = new Source();
  const opening = openEventStream(source, options());
  source.give({ event: "a", data: 1 });
  const stream = await opening;
  let text = "";
  stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await vi.advanceTimersByTimeAsync(14_999);
  expect(text).toBe("event: a\ndata: 1\n\n");
  await vi.advanceTimersByTimeAsync(30_001);
  expect(text).toBe("event: a\ndata: 1\n\n:\n\n:\n\n:\n\n");
  source.give({ event: "b", data: 2 });
  await vi.advanceTimersByTimeAsync(0);
  expect(text).toMatch(/event: b\ndata: 2\n\n$/);
  stream.destroy();
});

test("one event is waited for once, however many keep-alives go by", async () => {
  const source = new Source();
  const opening = openEventStream(source, options({ keepAliveMs: 10 }));
  source.give({ event: "a", data: 1 });
  const stream = await opening;
  stream.resume();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(source.asked).toBe(2);
  expect(vi.getTimerCount()).toBe(1);
  source.end();
  await vi.advanceTimersByTimeAsync(0);
  expect(vi.getTimerCount()).toBe(0);
});

test("a stream that nobody reads asks for no more than fits its buffer", async () => {
  let made = 0;
  async function* endless(): AsyncGenerator<StreamEvent> {
    for (;;) {
      await Promise.resolve();
      made += 1;
      yield { event: "a", data: "x".repeat(100_000) };
    }
  }
  const stream = await openEventStream(endless(), options());
  stream.read(0);
  await vi.advanceTimersByTimeAsync(1000);
  expect(made).toBeLessThan(5);
  stream.destroy();
});

test("an error after the first event is an event that describes it", async () => {
  async function* failing(): AsyncGenerator<StreamEvent> {
    await Promise.resolve();
    yield { event: "a", data: 1 };
    throw new Error("gone");
  }
  const stream = await openEventStream(failing(), options());
  const text = (await stream.toArray()).join("");
  expect(text).toBe(`event: a\ndata: 1\n\nevent: error\ndata: ${JSON.stringify(problem)}\n\n`);
});

test("events that ended because they were stopped do not look like all of them", async () => {
  const stopping = new AbortController();
  async function* stoppable(): AsyncGenerator<StreamEvent> {
    await Promise.resolve();
    yield { event: "a", data: 1 };
    stopping.abort(new Error("stopped"));
  }
  const stream = await openEventStream(stoppable(), options({ signal: stopping.signal }));
  expect((await stream.toArray()).join("")).toContain("event: error");
});
