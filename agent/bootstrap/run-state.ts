/** What survives a boot: which instance was configured, by which commit, and a run that was under way when power went. */
import { join } from "node:path";
import * as z from "zod/mini";
import { bootstrapReport, targets } from "../../shared/bootstrap.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { describeIssues } from "../../shared/protocol/message.ts";
import { DurableFile } from "../daemon/durable-file.ts";

const stateFile = z.object({
  format: z.literal(1),
  /** Of {@link instanceOf}; null on a machine that has none. */
  instance: z.nullable(z.string()),
  /** The modules of `configure` have all ended well. */
  isConfigured: z.boolean(),
  /** A commit had them run, and not the end of the wait for one. */
  isCommitted: z.boolean(),
  /** The commit that the last run which ended was for. */
  handledCommit: z.nullable(z.string()),
  /** The keys as that run left them. */
  handledKeys: z.nullable(z.string()),
  /** Begun and not ended: the machine or the program went down in between. */
  underway: z.nullable(z.object({ target: z.enum(targets), commit: z.nullable(z.string()), attempts: z.int() })),
  /** Secrets that are used and still in the cache, as `identityOf` tells them. */
  toErase: z.array(z.string()),
  /** The last run that ended. */
  last: z.nullable(bootstrapReport),
  /** Whether the agent has been told how it ended. */
  isTold: z.boolean(),
});

export type RunState = z.infer<typeof stateFile>;

export class RunStateFile {
  readonly #file: DurableFile;

  constructor(stateDirectory: string) {
    this.#file = new DurableFile(join(stateDirectory, "bootstrap", "state.json"));
  }

  /** Of this instance; that of another one, whose disk this was copied from, counts for nothing. Throws CommandError (failed). */
  async load(instance: string | null): Promise<RunState> {
    const text = await this.#file.peek();
    if (text === undefined) return newState(instance);
    const parsed = stateFile.safeParse(parseJson(text));
    if (parsed.error) {
      throw new CommandError("failed", `${this.#file.path}: ${describeIssues(parsed.error)}; remove it to start anew`);
    }
    return parsed.data.instance === instance ? parsed.data : newState(instance);
  }

  /** Settles when it will survive a power cut. */
  async save(state: RunState): Promise<void> {
    await this.#file.makeDirectory();
    await this.#file.replace(`${JSON.stringify(state)}\n`);
  }
}

function newState(instance: string | null): RunState {
  const nothing = { handledCommit: null, handledKeys: null, underway: null, toErase: [], last: null };
  return { format: 1, instance, isConfigured: false, isCommitted: false, ...nothing, isTold: true };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
