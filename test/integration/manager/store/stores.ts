/** Stores in private temporary directories. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { openStore, type StoreOptions } from "../../../../manager/store/open-store.ts";
import type { MessageToKeep, Store } from "../../../../manager/store/store.ts";

export const vm = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };

export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "vmmessage-store-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** What is logged, event by event. */
export function recordedLog() {
  const events: string[] = [];
  const record = (event: string) => {
    events.push(event);
  };
  return { events, log: { info: record, warn: record, error: record } };
}

/** Closed when the test is over. A thread that dies fails the test, unless it says otherwise. */
export async function openTestStore(directory: string, options: Partial<StoreOptions> = {}): Promise<Store> {
  const onFailure = (error: Error) => {
    throw error;
  };
  const store = await openStore({ directory, log: recordedLog().log, onFailure, ...options });
  onTestFinished(() => store.close());
  return store;
}

export function message(messageId: string, value = "v", secret = false): MessageToKeep {
  const entries = [{ key: "k", value, ...(secret && { secret }) }];
  const change = { method: "set" as const, params: { messageId, entries } };
  return { vm, change, by: "alice", queuedAt: Date.now(), expiresAt: undefined };
}

/** Every byte of every file of the directory. */
export async function bytesIn(directory: string): Promise<Buffer> {
  const files = await readdir(directory);
  return Buffer.concat(await Promise.all(files.map((file) => readFile(join(directory, file)))));
}
