/** Stores in private temporary directories. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type NewEvent, vmEvent } from "../../../../manager/events/event.ts";
import { openStore, type StoreOptions } from "../../../../manager/store/open-store.ts";
import type { MessageToKeep, MirrorChange, Store, StoredLifecycle } from "../../../../manager/store/store.ts";
import type { VmRef } from "../../../../shared/api/schemas.ts";

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

export function testVm(index: number): VmRef {
  return { id: `22222222-2222-4222-8222-${String(index).padStart(12, "0")}`, name: `web${index}` };
}

/** The VM's key `k` has this value now. */
export function mirrorChange(vm: VmRef, value: string): MirrorChange {
  const asOf = Date.now();
  const place = { epoch: "e", revision: 1, limitBytes: 8192 };
  const agent = { software: "agent 0.1.0", uuid: null, bootId: null, nonce: "n", uptimeMs: 1, clonedFrom: undefined };
  const setAt = new Date(asOf).toISOString();
  const entry = { key: "k", value, setBy: "guest" as const, setAt, ageMs: 0, revision: 1 };
  const set = [{ entry, seenAt: asOf }];
  const whole = { vmId: vm.id, vmName: vm.name, isLate: false, isReset: false, deleted: [] };
  return { ...whole, ...place, asOf, agent: { ...agent, ...place, greetedAt: asOf }, set };
}

/** An event of the VM's life and what it was made from, which agree on the word. */
export function lifecycleStep(vm: VmRef, word: string): [NewEvent[], StoredLifecycle[]] {
  return [[vmEvent("VM.RUNNING", vm, Date.now(), { data: { word } })], [{ vmId: vm.id, lifecycle: { word } }]];
}

/** Every byte of every file of the directory. */
export async function bytesIn(directory: string): Promise<Buffer> {
  const files = await readdir(directory);
  return Buffer.concat(await Promise.all(files.map((file) => readFile(join(directory, file)))));
}
