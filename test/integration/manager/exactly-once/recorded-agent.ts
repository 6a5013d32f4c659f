/** A real agent, beside it a record of every state its cache ever had, made by recorder.ts and not by the agent. */
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { AgentUnderTest } from "../../support/agents.ts";

/** What a cache held. A secret's value is on no disk, so each key stands with the change that set it. */
export interface CacheState {
  revision: number;
  keys: Record<string, { value: string | undefined; messageId: string }>;
}

export const EMPTY: CacheState = { revision: 0, keys: {} };

/** kill -9 before or after the agent puts a new file in the place of this one. */
export interface DeathOrder {
  file: "cache.json" | "queue.json";
  moment: "before" | "after";
}

export interface MachineIdentity {
  uuid: string;
  bootId: string;
}

const MACHINE: MachineIdentity = {
  uuid: "11111111-1111-4111-8111-111111111111",
  bootId: "22222222-2222-4222-8222-222222222222",
};

interface CacheFile {
  savedAt: { uptimeMs: number };
  revision: number;
  entries: { key: string; value?: string; messageId: string }[];
  answers: { host: unknown[] };
}

export class RecordedAgent implements AsyncDisposable {
  readonly #agent: AgentUnderTest;

  private constructor(agent: AgentUnderTest) {
    this.#agent = agent;
  }

  static async start(): Promise<RecordedAgent> {
    const agent = new RecordedAgent(await AgentUnderTest.make());
    await mkdir(join(agent.#directory, "states"), { recursive: true });
    await agent.become(MACHINE);
    await agent.start();
    return agent;
  }

  get #directory(): string {
    return join(this.#agent.directory, "recorder");
  }

  get channelPath(): string {
    return this.#agent.channelPath;
  }

  get socketPath(): string {
    return join(this.#agent.runDirectory, "agent.sock");
  }

  /** Starts it (again); settles when it answers. */
  start(): Promise<void> {
    return this.#agent.start([
      "env",
      `NODE_OPTIONS=--import=${join(import.meta.dirname, "recorder.ts")} --disable-warning=ExperimentalWarning`,
      `RECORDER_DIRECTORY=${this.#directory}`,
      `RECORDER_STATE=${this.#agent.stateDirectory}`,
    ]);
  }

  run(...args: string[]) {
    return this.#agent.run(...args);
  }

  kill(): Promise<unknown> {
    return this.#agent.kill("SIGKILL");
  }

  /** It ends itself when it comes to that point. */
  async dieAt(order: DeathOrder): Promise<void> {
    const path = join(this.#directory, "die.json");
    await writeFile(`${path}.new`, JSON.stringify(order));
    await rename(`${path}.new`, path);
  }

  untilDead(): Promise<void> {
    return this.#agent.untilEnd();
  }

  /** From its next start on it is in this machine. */
  async become(machine: Partial<MachineIdentity>): Promise<void> {
    await writeFile(join(this.#directory, "machine.json"), JSON.stringify({ ...MACHINE, ...machine }));
  }

  /** What its disk holds now, to go back to. The agent must not be running when it goes back. */
  async snapshot(): Promise<{ restore: () => Promise<void> }> {
    const { stateDirectory } = this.#agent;
    const copy = join(this.#agent.directory, "snapshot");
    await cp(stateDirectory, copy, { recursive: true });
    return {
      restore: async () => {
        await rm(stateDirectory, { recursive: true });
        await cp(copy, stateDirectory, { recursive: true });
      },
    };
  }

  /** Each state its cache had, the empty one first; what was written again unchanged counts once. */
  async history(): Promise<CacheState[]> {
    return distinct([EMPTY, ...(await this.#files()).map(stateIn)]);
  }

  /** How often it was asked for a change again that it had done: it then writes what it has once more. */
  async repetitions(): Promise<number> {
    const files = await this.#files();
    return files.filter((file, index) => {
      const before = files[index - 1];
      return (
        before !== undefined &&
        !isDeepStrictEqual(file.savedAt, before.savedAt) &&
        isDeepStrictEqual(file.answers, before.answers)
      );
    }).length;
  }

  async #files(): Promise<CacheFile[]> {
    const folder = join(this.#directory, "states");
    const names = (await readdir(folder)).sort();
    return Promise.all(names.map(async (name) => JSON.parse(await readFile(join(folder, name), "utf8")) as CacheFile));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#agent[Symbol.asyncDispose]();
  }
}

function stateIn({ revision, entries }: CacheFile): CacheState {
  const keys = Object.fromEntries(entries.map(({ key, value, messageId }) => [key, { value, messageId }]));
  return { revision, keys };
}

/** Without those that are as the one before. */
export function distinct(states: readonly CacheState[]): CacheState[] {
  return states.filter((state, index) => !isDeepStrictEqual(state, states[index - 1]));
}
