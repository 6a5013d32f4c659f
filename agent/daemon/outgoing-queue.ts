/** Messages for the host, kept on disk in order until a host has answered them. Full means refused: none is ever dropped. */
import * as z from "zod/mini";
import { RequestError } from "../../shared/protocol/errors.ts";
import { MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES } from "../../shared/protocol/limits.ts";
import { type GuestMessageMethod, type Params, requests } from "../../shared/protocol/message.ts";
import { DurableFile } from "./durable-file.ts";
import { DurableState } from "./durable-state.ts";

const queuedMessage = z.discriminatedUnion("method", [
  z.object({ method: z.literal("event"), params: requests.event.params }),
  z.object({ method: z.literal("acknowledge"), params: requests.acknowledge.params }),
  z.object({ method: z.literal("report"), params: requests.report.params }),
]);

const queueFile = z.object({ format: z.literal(1), messages: z.array(queuedMessage) });

export type QueuedMessage = { [M in GuestMessageMethod]: { method: M; params: Params<M> } }[GuestMessageMethod];

type Messages = readonly QueuedMessage[];

export class OutgoingQueue {
  readonly #state: DurableState<Messages>;
  /** In memory alone, because the disk refused them; they come after the others. */
  #volatile: Messages = [];
  /** Taken by a host and still on a disk that refuses to be written. */
  readonly #taken = new Set<string>();
  #onCommitted: () => void = () => undefined;
  /** Where a queue lies that could not be read. */
  readonly setAside: string | undefined;

  private constructor(state: DurableState<Messages>, setAside: string | undefined) {
    this.#state = state;
    this.setAside = setAside;
  }

  static async open(path: string): Promise<OutgoingQueue> {
    const file = new DurableFile(path);
    const { messages, setAside } = await load(file);
    const state = new DurableState<Messages>(messages, (next) => {
      return file.replace(JSON.stringify({ format: 1, messages: next }));
    });
    return new OutgoingQueue(state, setAside);
  }

  get messages(): Messages {
    return [...this.#state.current.filter(this.#isWaiting), ...this.#volatile];
  }

  onCommitted(listener: () => void): void {
    this.#onCommitted = listener;
    this.#state.onCommitted(listener);
  }

  /** Settles when the message will survive. A message with an id that is queued already has no second effect. */
  async add(message: QueuedMessage): Promise<void> {
    await this.#change((messages) => {
      if (messages.some(({ params }) => params.messageId === message.params.messageId)) return messages;
      const queued = [...messages, message];
      assertRoom(queued);
      return queued;
    });
  }

  /** Keeps the message in memory when it cannot be kept on disk: news of a disk that is full must get out. */
  async addAnyhow(message: QueuedMessage): Promise<"durable" | "volatile"> {
    try {
      await this.add(message);
      return "durable";
    } catch (error) {
      if (error instanceof RequestError && error.code === "over-limit") throw error;
      if (this.#volatile.every(({ params }) => params.messageId !== message.params.messageId)) {
        assertRoom([...this.messages, message]);
        this.#volatile = [...this.#volatile, message];
      }
      this.#onCommitted();
      return "volatile";
    }
  }

  /** Forgets a message that the host has taken, for as long as this agent runs even when the disk cannot be written. */
  async remove(messageId: string): Promise<void> {
    this.#volatile = this.#volatile.filter(({ params }) => params.messageId !== messageId);
    if (this.#state.latest.every(({ params }) => params.messageId !== messageId)) return;
    this.#taken.add(messageId);
    await this.#change((messages) => messages);
  }

  readonly #isWaiting = ({ params }: QueuedMessage): boolean => !this.#taken.has(params.messageId);

  /** What was taken goes with the next change that can be written. */
  async #change(work: (messages: Messages) => Messages): Promise<void> {
    try {
      const taken = [...this.#taken];
      await this.#state.change((messages) => {
        return { state: work(messages.filter(this.#isWaiting)), result: undefined };
      });
      for (const messageId of taken) this.#taken.delete(messageId);
    } catch (error) {
      if (error instanceof RequestError) throw error;
      throw new RequestError("failed", `${(error as Error).message}; nothing was queued`, {}, { cause: error });
    }
  }
}

function assertRoom(queued: Messages): void {
  const bytes = Buffer.byteLength(JSON.stringify(queued));
  if (queued.length <= MAX_QUEUED_MESSAGES && bytes <= MAX_QUEUED_BYTES) return;
  const message = `the queue for the host is full (${MAX_QUEUED_MESSAGES} messages, ${MAX_QUEUED_BYTES} bytes); no host has taken them yet`;
  throw new RequestError("over-limit", message, { queued: queued.length - 1 });
}

async function load(file: DurableFile): Promise<{ messages: Messages; setAside?: string }> {
  const text = await file.read();
  if (text === undefined) return { messages: [] };
  try {
    return { messages: queueFile.parse(JSON.parse(text)).messages };
  } catch {
    return { messages: [], setAside: await file.setAside("unreadable") };
  }
}
