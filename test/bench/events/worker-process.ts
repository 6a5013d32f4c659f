/** A process of its own for what is measured or measured against, so that its cost falls on nobody else. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

type Told<Answer> = { type: "done"; answer: Answer } | { type: "failed"; message: string };

/** A program of this directory, given commands over IPC. */
export class WorkerProcess<Command extends object, Answer> implements AsyncDisposable {
  readonly #program: string;
  readonly #child: ChildProcess;

  private constructor(program: string, child: ChildProcess) {
    this.#program = program;
    this.#child = child;
  }

  /** Settles when it has been set up. @param execArgv options for its Node */
  static async start<Command extends object, Answer>(
    program: string,
    args: readonly string[] = [],
    execArgv: string[] = [],
  ): Promise<WorkerProcess<Command, Answer>> {
    const child = fork(join(import.meta.dirname, program), args, { execArgv });
    const worker = new WorkerProcess<Command, Answer>(program, child);
    await worker.#told();
    return worker;
  }

  /** Settles when it is done. One command at a time. */
  async ask(command: Command): Promise<Answer> {
    this.#child.send(command);
    const told = await this.#told();
    if (told.type === "failed") throw new Error(`${this.#program}: ${told.message}`);
    return told.answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  async #told(): Promise<Told<Answer>> {
    const over = new AbortController();
    const exited = once(this.#child, "exit", { signal: over.signal }).then(() => {
      throw new Error(`${this.#program} ended`);
    });
    exited.catch(() => undefined);
    try {
      const told = once(this.#child, "message", { signal: over.signal }) as Promise<[Told<Answer>]>;
      const [message] = await Promise.race([told, exited]);
      return message;
    } finally {
      over.abort();
    }
  }
}

/** The program's side: does what it is told until whoever started it is gone. */
export function serveCommands(obey: (command: never) => Promise<unknown>): void {
  const tell = (told: Told<unknown>): void => void process.send?.(told);
  process.on("message", (command) => {
    obey(command as never).then(
      (answer) => {
        tell({ type: "done", answer });
      },
      (error: unknown) => {
        tell({ type: "failed", message: String(error) });
      },
    );
  });
  process.on("disconnect", () => process.exit());
  tell({ type: "done", answer: undefined });
}
