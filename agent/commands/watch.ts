/** The commands that follow keys: `--watch` until interrupted, `--wait` until one key is set. */
import { aborted } from "../../shared/abort.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { Output } from "../../shared/cli/output.ts";
import { type KeyBatch, KeyWatcher } from "../../shared/key-watcher.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import { fromWireValue, listLine, valueBytes } from "../../shared/protocol/value.ts";
import type { WaitCommand, WatchCommand } from "../command.ts";
import { connectInTime, connectToAgent, undefinedIfAborted } from "../local-client.ts";

/** A first boot must never hang; 60 s is what a user would give up after. */
const DEFAULT_WAIT_MS = 60_000;

/** The keys first, then every change; over restarts of the agent, until interrupted. */
export async function watchKeys(command: WatchCommand, output: Output): Promise<void> {
  const { socketPath, prefix, isJson } = command;
  const { readerGone } = output;
  let { since } = command;
  const onBatch = (batch: KeyBatch): void => {
    since = { epoch: batch.epoch, revision: batch.revision };
    if (isJson) output.json(batch);
    else for (const change of batch.changes) output.listLine(changeLine(change));
  };
  let channel = await connectToAgent(socketPath);
  for (;;) {
    const watcher = new KeyWatcher(channel, { role: "local", prefix, since, onBatch });
    await watcher.begin();
    await Promise.race([watcher.ended(), aborted(readerGone)]);
    await watcher.client.close();
    if (readerGone.aborted) return;
    output.note("the agent went away; waiting for it");
    channel = await connectInTime(socketPath, readerGone);
  }
}

/** Bounded, whatever happens; an agent that is not up yet is waited for too. */
export async function waitForKey(command: WaitCommand, output: Output): Promise<void> {
  const { key, socketPath, isJson, timeoutMs = DEFAULT_WAIT_MS } = command;
  const deadline = AbortSignal.timeout(timeoutMs);
  while (!deadline.aborted) {
    const found = await keyInTime(socketPath, key, timeoutMs, deadline);
    if (found === undefined) continue;
    if (isJson) output.json(found);
    else output.raw(valueBytes(fromWireValue(found)));
    return;
  }
  throw new CommandError("unreachable", `the key '${key}' was not set within ${timeoutMs / 1000} s`, { key });
}

/** The key's entry as soon as it is set; undefined when the agent went away or the time was up. */
async function keyInTime(socketPath: string, key: string, timeoutMs: number, deadline: AbortSignal) {
  const channel = await connectInTime(socketPath, deadline).catch(undefinedIfAborted);
  if (channel === undefined) return undefined;
  let isSet: () => void = () => undefined;
  const set = new Promise<void>((resolve) => (isSet = resolve));
  const onBatch = ({ changes }: KeyBatch): void => {
    if (changes.some((change) => change.key === key && !("deleted" in change))) isSet();
  };
  const watcher = new KeyWatcher(channel, { role: "local", prefix: key, onBatch, timeoutMs });
  try {
    watcher.begin().catch(() => void channel.close());
    const outcome = await Promise.race([set.then(() => "set" as const), watcher.ended(), aborted(deadline)]);
    if (outcome !== "set") return undefined;
    const { epoch, entry } = await watcher.client.read("get", { key });
    return { epoch, ...entry };
  } catch (error) {
    // It was deleted again in the meantime, so the wait goes on.
    if (error instanceof RequestError && error.code === "no-such-key") return undefined;
    throw error;
  } finally {
    await watcher.client.close();
  }
}

function changeLine(change: KeyBatch["changes"][number]): string {
  if ("deleted" in change) return listLine("deleted", change.key);
  const hasValue = change.value !== undefined || change.base64 !== undefined;
  return listLine(change.key, hasValue ? fromWireValue(change) : null);
}
