/** Which files were rendered with secrets: these are erased once used, and a later run without them has to know. */
import { join } from "node:path";
import * as z from "zod/mini";
import { systemCode } from "../../../shared/cli/failure.ts";
import { describeIssues, key } from "../../../shared/protocol/message.ts";
import { DurableFile } from "../../daemon/durable-file.ts";
import { ModuleError } from "../module.ts";

const secretUse = z.object({
  /** Of the secrets that the file was rendered with. */
  keys: z.array(key),
  /** Of all that made the file but its secrets; null where it cannot be told without them. */
  digest: z.nullable(z.string()),
});

const recordFile = z.object({ format: z.literal(1), files: z.record(z.string(), secretUse) });

/** How a file was rendered with secrets; it holds none itself. */
export type SecretUse = Readonly<z.infer<typeof secretUse>>;

/** By the files' paths; undefined for one that was rendered without a secret. */
export type SecretUses = ReadonlyMap<string, SecretUse | undefined>;

/** The record, on the disk. It is read by one run at a time. */
export class SecretFiles {
  readonly #file: DurableFile;

  constructor(stateDirectory: string) {
    this.#file = new DurableFile(join(stateDirectory, "bootstrap", "secret-files.json"));
  }

  /** Throws ModuleError. */
  async load(): Promise<SecretUses> {
    const text = await this.#attempt(() => this.#file.peek());
    if (text === undefined) return new Map();
    const parsed = recordFile.safeParse(parseJson(text));
    if (parsed.success) return new Map(Object.entries(parsed.data.files));
    throw new ModuleError(`${this.#file.path}: ${describeIssues(parsed.error)}; remove it to start anew`);
  }

  /** Settles when it will survive a power cut. Throws ModuleError. */
  async note(uses: SecretUses): Promise<void> {
    const before = await this.load();
    const after = new Map([...before, ...uses]);
    const files = Object.fromEntries([...after].filter(([, use]) => use !== undefined));
    if (JSON.stringify(files) === JSON.stringify(Object.fromEntries(before))) return;
    await this.#attempt(async () => {
      await this.#file.makeDirectory();
      await this.#file.replace(`${JSON.stringify({ format: 1, files })}\n`);
    });
  }

  async #attempt<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const code = systemCode(error);
      throw code === undefined ? error : new ModuleError(`${this.#file.path}: ${code}`, [], { cause: error });
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
