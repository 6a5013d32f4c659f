/** The commands that follow keys: `--watch` until interrupted, `--wait` until one key is set. */
import { setTimeout as sleep } from "node:timers/promises";
import { CommandError } from "../../shared/cli/failure.ts";
import type { Output } from "../../shared/cli/output.ts";
import { type KeyBatch, KeyWatcher } from "../../shared/key-watcher.ts";
import { fromWireValue, listLine, valueBytes } from "../../shared/protocol/value.ts";
import type { WaitCommand, WatchCommand } from "../command.ts";
import { connectToAgent } from "../local-client.ts";

/** A first boot must never hang; 60 s is what a user would give up after. */
const DEFAULT_WAIT_MS = 60_000;

/** How soon to look whether an agent has come up. */
const CONNECT_AGAIN_MS = 200;

/** The keys first, then every change; over restarts of the agent, until interrupted. */
export async function watchKeys(command: WatchCommand, output: Output): Promise<void> {
  let { since } = command;
  const onBatch = (batch: KeyBatch): void => {
    since = { epoch: batch.epoch, revision: batch.revision };
    if (command.isJson) output.json(batch);
    else for (const change of batch.changes) output.line(changeLine(change));
  };
  let channel = await connectToAgent(command.socketPath);
  while (!output.readerGone.aborted) {
    const watcher = new KeyWatcher(channel, { role: "local", prefix: command.prefix, since, onBatch });
    await watcher.begin();
    await Promise.race([watcher.ended(), untilAborted(output.readerGone)]);
    await watcher.client.close();
    if (output.readerGone.aborted) return;
    output.note("the agent went away; waiting for it");
    channel = await connectUntil(command.socketPath, output.readerGone);
  }
}

/** Bounded, whatever happens; an agent that is not up yet is waited for too. */
export async function waitForKey(command: WaitCommand, output: Output): Promise<void> {
  const { key, socketPath, timeoutMs = DEFAULT_WAIT_MS } = command;
  const deadline = AbortSignal.timeout(timeoutMs);
  while (!deadline.aborted) {
    const channel = await connectUntil(socketPath, deadline).catch(() => undefined);
    if (channel === undefined) break;
    let isSet: () => void = () => undefined;
    const set = new Promise<void>((resolve) => (isSet = resolve));
    const onBatch = ({ changes }: KeyBatch): void => {
      if (changes.some((change) => change.key === key && !("deleted" in change))) isSet();
    };
    const watcher = new KeyWatcher(channel, { role: "local", prefix: key, onBatch, timeoutMs });
    try {
      await Promise.race([watcher.begin(), untilAborted(deadline)]);
      const outcome = await Promise.race([set.then(() => "set"), watcher.ended(), untilAborted(deadline)]);
      if (outcome !== "set") continue;
      const { epoch, entry } = await watcher.client.read("get", { key });
      if (command.isJson) output.json({ epoch, ...entry });
      else output.raw(valueBytes(fromWireValue(entry)));
      return;
    } finally {
      await watcher.client.close();
    }
  }
  throw new CommandError("unreachable", `the key '${key}' was not set within ${timeoutMs / 1000} s`, { key });
}

function changeLine(change: KeyBatch["changes"][number]): string {
  if ("deleted" in change) return JSON.stringify({ deleted: change.key });
  const hasValue = change.value !== undefined || change.base64 !== undefined;
  return listLine(change.key, hasValue ? fromWireValue(change) : null);
}

async function connectUntil(socketPath: string, signal: AbortSignal) {
  for (;;) {
    try {
      return await connectToAgent(socketPath);
    } catch (error) {
      if (!(error instanceof CommandError) || error.code !== "unreachable" || signal.aborted) throw error;
      await sleep(CONNECT_AGAIN_MS, undefined, { signal });
    }
  }
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else
      signal.addEventListener(
        "abort",
        () => {
          resolve();
        },
        { once: true },
      );
  });
}
