/** Things that run because the configuration names them; a new configuration ends some and starts others. */
export interface Closable {
  close(): Promise<void>;
}

export class RunningSet<Options, T extends Closable> {
  readonly #start: (options: Options) => Promise<T>;
  readonly #running = new Map<string, T>();

  constructor(start: (options: Options) => Promise<T>) {
    this.#start = start;
  }

  get all(): T[] {
    return [...this.#running.values()];
  }

  /**
   * Ends what is not wanted any more, then starts what is new; what is wanted as it was goes on. Rejects with the first
   * failure to start, after everything else was started.
   */
  async apply(wanted: readonly Options[]): Promise<void> {
    const byKey = new Map(wanted.map((options) => [JSON.stringify(options), options]));
    for (const [key, running] of this.#running) {
      if (byKey.has(key)) continue;
      this.#running.delete(key);
      await running.close();
    }
    const failures: unknown[] = [];
    for (const [key, options] of byKey) {
      if (this.#running.has(key)) continue;
      await this.#start(options).then(
        (started) => this.#running.set(key, started),
        (error: unknown) => failures.push(error),
      );
    }
    if (failures.length > 0) throw failures[0];
  }

  async close(): Promise<void> {
    const all = this.all;
    this.#running.clear();
    await Promise.all(all.map((running) => running.close()));
  }
}
