/** What a run asks of the agent in this machine, each time over a connection of its own: the agent may be restarted in between. */
import { setTimeout as sleep } from "node:timers/promises";
import { aborted } from "../../shared/abort.ts";
import {
  type BootstrapMessage,
  type BootstrapMessageName,
  type BootstrapReport,
  REPORT_KEY,
} from "../../shared/bootstrap.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { DEFAULT_TIMEOUT_MS } from "../../shared/client.ts";
import { type KeyBatch, KeyWatcher } from "../../shared/key-watcher.ts";
import { listAll } from "../../shared/list-all.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import { newMessageId } from "../../shared/random.ts";
import { connectInTime, undefinedIfAborted, withAgent } from "../local-client.ts";
import { identityOf, type KeySnapshot, readKeys } from "./key-snapshot.ts";

/** How soon to ask again an agent that went away before it had answered. */
const ASK_AGAIN_MS = 200;

/** What an agent gets that did not answer the last time: a run has many steps. */
const IMPATIENT_TIMEOUT_MS = 500;

export class AgentDoor {
  readonly #socketPath: string;
  #timeoutMs = DEFAULT_TIMEOUT_MS;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** Throws CommandError, RequestError. */
  readKeys(): Promise<KeySnapshot> {
    return this.#with((client) => readKeys(client));
  }

  /** Marks a key as read, for the host's receipt. */
  async noteRead(key: string): Promise<void> {
    await this.#with((client) => client.read("get", { key }));
  }

  /** Erases the keys that are still as they were set: by what {@link identityOf} tells. Throws where that is not possible now. */
  async erase(identities: readonly string[]): Promise<void> {
    await this.#with(async (client) => {
      const { epoch, revision, entries } = await listAll(client);
      const keys = entries.filter((entry) => identities.includes(identityOf(entry))).map(({ key }) => key);
      if (keys.length === 0) return;
      const condition = { ifEpoch: epoch, ifRevision: revision };
      await client.change("delete", { messageId: newMessageId(), keys, ...condition });
    });
  }

  /** Shows the run under its key: less of it where the cache has no room for all. Throws when there is none at all. */
  async show(report: BootstrapReport): Promise<void> {
    for (const shown of [report, shortened(report)]) {
      try {
        await this.#setReport(shown);
        return;
      } catch (error) {
        if (!(error instanceof RequestError) || error.code !== "over-limit") throw error;
      }
    }
    await this.#setReport({ ...shortened(report), modules: [] });
  }

  /** Queues a report for the host. The same id twice has one effect. */
  async tell<N extends BootstrapMessageName>(name: N, data: BootstrapMessage<N>, messageId: string): Promise<void> {
    await this.#with((client) => client.change("report", { messageId, name, data: { ...data }, mayBeVolatile: true }));
  }

  /** Tells of the keys as they are and of every change, over restarts of the agent, until aborted. */
  async follow(changed: (batch: KeyBatch) => void, signal: AbortSignal): Promise<void> {
    let since: { epoch: string; revision: number } | undefined;
    const onBatch = (batch: KeyBatch): void => {
      since = { epoch: batch.epoch, revision: batch.revision };
      changed(batch);
    };
    while (!signal.aborted) {
      const channel = await connectInTime(this.#socketPath, signal).catch(undefinedIfAborted);
      if (channel === undefined) return;
      const watcher = new KeyWatcher(channel, { role: "local", prefix: "", since, onBatch });
      try {
        await Promise.race([watcher.begin().then(() => watcher.ended()), aborted(signal)]);
      } catch {
        // It went away before it had answered: it is asked again.
        await sleep(ASK_AGAIN_MS, undefined, { signal }).catch(() => undefined);
      } finally {
        await watcher.client.close();
      }
    }
  }

  async #setReport(report: BootstrapReport): Promise<void> {
    const entries = [{ key: REPORT_KEY, value: JSON.stringify(report) }];
    await this.#with((client) => client.change("set", { messageId: newMessageId(), entries }));
  }

  async #with<R>(work: Parameters<typeof withAgent<R>>[1]): Promise<R> {
    try {
      const result = await withAgent({ socketPath: this.#socketPath, timeoutMs: this.#timeoutMs }, work);
      this.#timeoutMs = DEFAULT_TIMEOUT_MS;
      return result;
    } catch (error) {
      if (error instanceof CommandError) this.#timeoutMs = IMPATIENT_TIMEOUT_MS;
      throw error;
    }
  }
}

/** What went well can be left out, and what was printed. */
function shortened({ modules, ...report }: BootstrapReport): BootstrapReport {
  const left = modules.filter(({ state }) => state !== "ok");
  return { ...report, modules: left.map((module) => ({ ...module, lines: undefined })), shortened: true };
}
