/** What a command runs in, so that no command touches the process itself. */
import type { ReadStream, WriteStream } from "node:tty";
import type { Output } from "../shared/cli/output.ts";

export interface Context {
  output: Output;
  /** Opened when it is read. */
  stdin: () => AsyncIterable<Uint8Array>;
  /** Whom a password is asked of, and to whom progress is shown; undefined where there is no terminal. */
  terminal: { ask: () => ReadStream | undefined; show: WriteStream | undefined };
  /** Aborted with an Interruption when a signal asks the program to end. */
  interrupt: AbortSignal;
  environment: Readonly<Record<string, string | undefined>>;
  /** The user who runs this. */
  uid: number;
  home: string;
}
