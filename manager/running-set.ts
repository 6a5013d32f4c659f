/** Things that run because the configuration names them; a new configuration ends some and starts others. */
import { CommandError } from "../shared/cli/failure.ts";
import { Turns } from "./turns.ts";

export interface Closable {
  close(): Promise<void>;
}

type Start<T> = () => T | Promise<T>;

/**
 * Fails when this cannot be started anyway: then nothing is ended for it. The function that it gives starts it; what it has of files
 * that were read here does not change with them.
 */
type Prepare<Options, T> = (options: Options) => Start<T> | Promise<Start<T>>;

export class RunningSet<Options, T extends Closable> {
  readonly #prepare: Prepare<Options, T>;
  readonly #running = new Map<string, T>();
  /** What two configurations name is started once, and what is being started is not left running by close. */
  readonly #turns = new Turns();
  #closed: Promise<void> | undefined;

  constructor(prepare: Prepare<Options, T>) {
    this.#prepare = prepare;
  }

  get all(): T[] {
    return [...this.#running.values()];
  }

  /**
   * Ends what is not wanted any more, then starts what is new; what is wanted as it was goes on. When something new cannot
   * be prepared, all stays as it was. Rejects with the first failure, after everything else was ended and started.
   */
  apply(wanted: readonly Options[]): Promise<void> {
    return this.#turns.take(() => this.#apply(wanted));
  }

  /** Starts nothing more, and ends all. Rejects with the first failure, after everything else was ended. */
  close(): Promise<void> {
    this.#closed ??= this.#turns.take(async () => {
      throwFirst(await this.#end([...this.#running.keys()]));
    });
    return this.#closed;
  }

  async #apply(wanted: readonly Options[]): Promise<void> {
    this.#assertOpen();
    const byKey = new Map(wanted.map((options) => [JSON.stringify(options), options]));
    const added = new Map<string, Start<T>>();
    for (const [key, options] of byKey) if (!this.#running.has(key)) added.set(key, await this.#prepare(options));
    const results = await this.#end([...this.#running.keys()].filter((key) => !byKey.has(key)));
    for (const [key, start] of added) results.push(...(await Promise.allSettled([this.#start(key, start)])));
    throwFirst(results);
  }

  async #start(key: string, start: Start<T>): Promise<void> {
    this.#assertOpen();
    this.#running.set(key, await start());
  }

  #end(keys: readonly string[]): Promise<PromiseSettledResult<unknown>[]> {
    return Promise.allSettled(
      keys.map(async (key) => {
        const running = this.#running.get(key);
        this.#running.delete(key);
        await running?.close();
      }),
    );
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) throw new CommandError("unreachable", "the manager stops; it starts nothing more");
  }
}

function throwFirst(results: readonly PromiseSettledResult<unknown>[]): void {
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
