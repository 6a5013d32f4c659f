/**
 * The manager's end of the store's thread. What is asked while a batch is under way goes together in the next one, so the
 * busier it is, the more requests share a wait for the disk.
 */
import { basename, extname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Log } from "../../shared/log.ts";
import type { Event } from "../events/event.ts";
import type {
  Answer,
  Answers,
  Arguments,
  FromThread,
  OperationName,
  Request,
  ThreadOptions,
  ToThread,
} from "./operations.ts";

/** Requests in one commit: more would make the first of them wait long for its answer. Not measured. */
const MAX_BATCH = 1000;

/** Requests that wait: every one for ten thousand VMs, several times over. Beyond that the disk does not keep up. */
const MAX_WAITING = 100_000;

interface Waiting {
  request: Request;
  resolve: (value: never) => void;
  reject: (error: Error) => void;
}

export interface ThreadEvents {
  log: Log;
  /** A batch of so many requests is on disk. */
  onCommit: (requests: number) => void;
  /** These events are on disk, in the order of the log. Whoever asked for them is answered after it. */
  onAppended: (events: readonly Event[]) => void;
  /** The thread ended by itself; what waited was rejected. Nothing can be kept any more. */
  onFailure: (error: Error) => void;
}

type State = "opening" | "open" | "closing" | "ended";

export class StoreThread {
  readonly #worker: Worker;
  readonly #events: ThreadEvents;
  readonly #opened = Promise.withResolvers<undefined>();
  readonly #ended = Promise.withResolvers<undefined>();
  #state: State = "opening";
  #waiting: Waiting[] = [];
  #underWay: Waiting[] = [];
  #isFailing = false;

  private constructor(file: string, options: ThreadOptions, events: ThreadEvents) {
    this.#events = events;
    this.#worker = new Worker(file, { name: "store", workerData: options, execArgv: [] });
    this.#worker.on("message", (message: FromThread) => {
      this.#receive(message);
    });
    this.#worker.on("error", (error) => {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    });
    this.#worker.on("exit", (code) => {
      this.#end(new Error(`the store's thread ended with code ${code}`));
      this.#ended.resolve(undefined);
    });
  }

  /** Settles when the database is open; rejects with CommandError when it cannot be. */
  static async start(options: ThreadOptions, events: ThreadEvents, file = entry()): Promise<StoreThread> {
    const thread = new StoreThread(file, options, events);
    await thread.#opened.promise;
    return thread;
  }

  /** Settles when it is committed. Requests are done in the order of the calls. */
  call<O extends OperationName>(operation: O, ...args: Arguments[O]): Promise<Answers[O]> {
    return new Promise((resolve, reject) => {
      if (this.#state !== "open") throw new CommandError("failed", "the store is closed");
      if (this.#waiting.length >= MAX_WAITING) {
        throw new CommandError("unreachable", `${MAX_WAITING} requests wait for the store's disk; try again later`);
      }
      this.#waiting.push({ request: { operation, args } as Request, resolve, reject });
      this.#sendBatch();
    });
  }

  /** Ends the thread after what was asked before. */
  async close(): Promise<void> {
    if (this.#state === "open") {
      this.#state = "closing";
      this.#closeWhenIdle();
    }
    await this.#ended.promise;
  }

  #receive(message: FromThread): void {
    switch (message.type) {
      case "opened":
        this.#becomeOpen(message.keySetAside);
        return;
      case "cannot-open":
        this.#state = "ended";
        this.#opened.reject(new CommandError("failed", message.message));
        return;
      case "answers":
        this.#answer(message);
        return;
      case "not-committed":
        this.#rejectBatch(message.message);
        return;
      default:
        unreachable(message);
    }
  }

  #becomeOpen(keySetAside: string | undefined): void {
    if (keySetAside !== undefined) this.#events.log.warn("store-key-set-aside", { path: keySetAside });
    this.#state = "open";
    this.#opened.resolve(undefined);
  }

  #sendBatch(): void {
    if (this.#underWay.length > 0 || this.#waiting.length === 0) return;
    this.#underWay = this.#waiting.splice(0, MAX_BATCH);
    this.#post({ type: "batch", requests: this.#underWay.map(({ request }) => request) });
  }

  #answer({ answers, appended }: { answers: Answer[]; appended: Event[] }): void {
    if (this.#isFailing) this.#events.log.info("store-commits-again");
    this.#isFailing = false;
    const batch = this.#takeBatch();
    this.#events.onCommit(batch.length);
    if (appended.length > 0) this.#events.onAppended(appended);
    for (const [index, { resolve, reject }] of batch.entries()) {
      const answer = answers[index];
      if (answer?.type === "done") resolve(answer.value as never);
      else reject(new CommandError(answer?.code ?? "failed", answer?.message ?? "the store gave no answer"));
    }
  }

  #rejectBatch(reason: string): void {
    if (!this.#isFailing) this.#events.log.error("store-cannot-commit", { reason });
    this.#isFailing = true;
    const error = new CommandError("failed", `the manager's disk refused it (${reason}); nothing was changed`);
    for (const { reject } of this.#takeBatch()) reject(error);
  }

  /** The next goes before this one is answered: the thread need not wait for us. */
  #takeBatch(): Waiting[] {
    const batch = this.#underWay;
    this.#underWay = [];
    this.#sendBatch();
    if (this.#state === "closing") this.#closeWhenIdle();
    return batch;
  }

  #closeWhenIdle(): void {
    if (this.#underWay.length === 0) this.#post({ type: "close" });
  }

  #end(error: Error): void {
    const lost = [...this.#underWay, ...this.#waiting];
    const isFailure = this.#state === "open" || lost.length > 0;
    this.#state = "ended";
    this.#underWay = [];
    this.#waiting = [];
    this.#opened.reject(error);
    for (const { reject } of lost) reject(error);
    if (isFailure) this.#events.onFailure(error);
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message);
  }
}

/** `worker.ts` beside this source; in the shipped bundle a file of its own. */
function entry(): string {
  const isSource = extname(import.meta.filename) === ".ts";
  return join(import.meta.dirname, isSource ? "worker.ts" : `${basename(import.meta.filename, ".js")}-store.js`);
}
