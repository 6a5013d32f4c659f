/** A guest that is asked through a manager, which answers for it while it is away. */
import * as z from "zod/mini";
import { pause } from "../../shared/abort.ts";
import type { VmHealth } from "../../shared/api/monitor-schemas.ts";
import {
  type ChangeMethod,
  type NewMessage,
  pendingChange,
  type Receipt,
  type VmSummary,
} from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { WholeList } from "../../shared/list-all.ts";
import type { Params, Result } from "../../shared/protocol/message.ts";
import type { CommonOptions, SendingOptions } from "../command.ts";
import type { Context } from "../context.ts";
import type { ManagerAddress } from "../door.ts";
import {
  type Answered,
  type Changed,
  type Guest,
  type Pong,
  type Sent,
  SilentGuestError,
  type WatchRequest,
} from "../guest.ts";
import type { Expectations } from "../open-guest.ts";
import { pendingInWords } from "../origin.ts";
import { holdBackMs, type Lasting, WAIT_TIMEOUT_MS } from "../timing.ts";
import { DEFAULT_TIMEOUT_MS } from "../../shared/client.ts";
import { sentences, type Transcript } from "../transcript.ts";
import { ManagerLostError } from "./connect.ts";
import type { Manager } from "./manager.ts";
import { openManager } from "./open-manager.ts";
import { deliveredResult, sendingFields } from "./sending.ts";
import { followKeys } from "./follow-keys.ts";

interface Opening {
  command: CommonOptions;
  context: Context;
  transcript: Transcript;
  expectations: Expectations;
}

/** How long the manager holds back one answer to whether a message is delivered. Not measured. */
const DELIVERY_POLL_MS = 30_000;

/** Between two attempts to hand over a message, while the manager is restarted. */
const RETRY_PAUSE_MS = 250;

/** Asks the manager for the VM. */
export async function openManagedGuest(address: ManagerAddress, opening: Opening): Promise<Guest> {
  const { command, context, transcript, expectations } = opening;
  const vm = command.target.vm;
  if (vm === undefined) throw new CommandError("usage", "which VM? name it with -v VM");
  const { lasts = "answer", passwords } = expectations;
  const manager = await openManager(address, { command, context, ...(passwords && { passwords }) }, lasts);
  try {
    const summary = await manager.read("showVm", { params: { vm } });
    transcript.say(sentences.connected, sentences.status(summary.name, summary.status));
    return new ManagedGuest(manager, summary, { context, endMs: performance.now() + answerMs(command, lasts) });
  } catch (error) {
    manager[Symbol.dispose]();
    throw error;
  }
}

/** How long the guest's answer to a message is waited for. A bootstrap goes on to wait for it beside the guest's report. */
function answerMs({ timeoutMs }: CommonOptions, lasts: Lasting): number {
  if (lasts === "bootstrap") return Math.min(timeoutMs ?? DEFAULT_TIMEOUT_MS, DEFAULT_TIMEOUT_MS);
  return timeoutMs ?? (lasts === "wait" ? WAIT_TIMEOUT_MS : DEFAULT_TIMEOUT_MS);
}

class ManagedGuest implements Guest {
  readonly isExclusive = false;
  readonly keepsReceipts = true;
  readonly #manager: Manager;
  readonly #vm: VmSummary;
  readonly #context: Context;
  /** Till when answers are waited for, on the clock of `performance.now()`. */
  readonly #endMs: number;
  readonly #closing = new AbortController();

  constructor(manager: Manager, vm: VmSummary, { context, endMs }: { context: Context; endMs: number }) {
    this.#manager = manager;
    this.#vm = vm;
    this.#context = context;
    this.#endMs = endMs;
  }

  get name(): string {
    return this.#vm.name;
  }

  async get(key: string): Promise<Answered<Result<"get">>> {
    try {
      const { epoch, entry, ...origin } = await this.#manager.read("getKey", { params: { ...this.#params, key } });
      const { from, asOf, pending } = origin;
      return { epoch, entry, origin: { from, asOf, pending } };
    } catch (error) {
      this.#notePending(error);
      throw error;
    }
  }

  async list(prefix: string): Promise<Answered<WholeList>> {
    const asked = { params: this.#params, query: { prefix } };
    const { epoch, revision, usedBytes, limitBytes, entries, ...rest } = await this.#manager.read("listKeys", asked);
    const { from, asOf, pending } = rest;
    return { epoch, revision, usedBytes, limitBytes, entries, origin: { from, asOf, pending } };
  }

  info(): Promise<Result<"info">> {
    return this.#askGuest(() => this.#manager.read("infoVm", { params: this.#params }));
  }

  async ping(): Promise<Pong> {
    const asked = { params: this.#params };
    const { roundTripMs, uptimeMs, applications } = await this.#askGuest(() => this.#manager.read("pingVm", asked));
    return { roundTripMs, uptimeMs, applications };
  }

  stats(): Promise<Result<"stats">> {
    return this.#askGuest(() => this.#manager.read("statsVm", { params: this.#params }));
  }

  health(): Promise<VmHealth> {
    return this.#manager.read("showHealth", { params: this.#params });
  }

  async send<M extends ChangeMethod>(method: M, params: Params<M>, options?: SendingOptions): Promise<Sent<M>> {
    // A VM that is away is not waited for: the message is safe with the manager.
    const isNear = ["up", "connecting"].includes(this.#vm.link.state);
    const receipt = await this.#handOver(params.messageId, () => {
      const waiting = isNear
        ? { waitFor: "delivered" as const, waitMs: holdBackMs(this.#endMs - performance.now()) }
        : {};
      return { method, params, ...(options && sendingFields(options)), ...waiting } as NewMessage;
    });
    const result = deliveredResult(method, receipt);
    if (result === undefined) return { state: "queued", receipt, delivery: () => this.#delivery(method, receipt) };
    return { state: "delivered", result, receipt };
  }

  async acknowledgement(messageId: string): Promise<{ key: string; result?: string | undefined }> {
    const receipt = await this.#awaitAcknowledgement(messageId);
    // Refused or expired while it waited.
    const isDelivered = deliveredResult(receipt.method, receipt) !== undefined;
    if (receipt.acknowledgement !== undefined) return receipt.acknowledgement;
    const state = isDelivered ? "has the message" : "is away and gets the message when it answers";
    const message = `'${this.name}' ${state}, but nothing there acknowledged it: the time is up`;
    throw new CommandError("unconfirmed", message, { vm: this.name, messageId, state: receipt.state });
  }

  async watch({ prefix, since, changed, late, note }: WatchRequest): Promise<never> {
    const signal = AbortSignal.any([this.#manager.signal, this.#closing.signal]);
    const epoch = since?.epoch ?? this.#vm.agent?.epoch;
    try {
      return await followKeys(this.#manager, {
        vm: this.#vm,
        prefix,
        since: since !== undefined && epoch !== undefined ? { epoch, revision: since.revision } : undefined,
        changed: (batch: Changed) => {
          changed(batch);
          return this.#context.output.drained();
        },
        note: (text) => {
          if (note === undefined) this.#context.output.note(text);
          else note(text);
        },
        signal,
      });
    } catch (error) {
      if (late !== undefined && error instanceof ManagerLostError && signal.aborted) throw late("the time is up");
      throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#manager[Symbol.dispose]();
    return Promise.resolve();
  }

  /** The manager has told of the VM at once: when it lets the time run out now, it waits for the guest. */
  async #askGuest<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof CommandError) || error.code !== "unreachable") throw error;
      if (!(error instanceof ManagerLostError))
        throw new SilentGuestError(error.message, error.details, { cause: error });
      if (!this.#manager.signal.aborted) throw error;
      throw new SilentGuestError(`'${this.name}' does not answer: the time is up`, { vm: this.name }, { cause: error });
    }
  }

  /** A key that is not there may wait to be set. */
  #notePending(failure: unknown): void {
    if (!(failure instanceof CommandError)) return;
    const pending = z.array(pendingChange).safeParse(failure.details["pending"]);
    for (const change of pending.data ?? []) this.#context.output.note(pendingInWords(change));
  }

  get #params(): { vm: string } {
    return { vm: this.#vm.id };
  }

  /** Again under the same messageId while the manager is lost: it has one effect. */
  async #handOver(messageId: string, message: () => NewMessage): Promise<Receipt> {
    let wasSent = false;
    for (;;) {
      try {
        return await this.#manager.readLate("sendMessage", { params: this.#params, body: message() });
      } catch (error) {
        if (!(error instanceof ManagerLostError)) throw error;
        wasSent ||= error.wasSent;
        if (this.#manager.signal.aborted) throw wasSent ? this.#unconfirmed(messageId, error) : error;
      }
      await pause(RETRY_PAUSE_MS, this.#manager.signal);
    }
  }

  /** Asked for again and again, so that an answer which was lost on its way is not waited for. */
  async #delivery<M extends ChangeMethod>(method: M, { messageId }: Receipt): Promise<Result<M> | undefined> {
    while (!this.#isOver) {
      try {
        const query = { waitFor: "delivered", waitMs: DELIVERY_POLL_MS };
        const receipt = await this.#manager.readLate("getReceipt", { params: { messageId }, query });
        const result = deliveredResult(method, receipt);
        if (result !== undefined) return result;
      } catch (error) {
        if (!(error instanceof ManagerLostError)) throw error;
        await pause(RETRY_PAUSE_MS, this.#manager.signal);
      }
    }
    return undefined;
  }

  get #isOver(): boolean {
    return this.#manager.signal.aborted || this.#closing.signal.aborted;
  }

  async #awaitAcknowledgement(messageId: string): Promise<Receipt> {
    for (;;) {
      try {
        const query = { waitFor: "acknowledged", waitMs: holdBackMs(this.#endMs - performance.now()) };
        return await this.#manager.readLate("getReceipt", { params: { messageId }, query });
      } catch (error) {
        if (!(error instanceof ManagerLostError)) throw error;
        if (this.#manager.signal.aborted) throw this.#unconfirmed(messageId, error);
      }
      await pause(RETRY_PAUSE_MS, this.#manager.signal);
    }
  }

  #unconfirmed(messageId: string, cause: Error): CommandError {
    const what = `the change was sent to the manager and not confirmed for '${this.name}'`;
    const message = `${what}: ${cause.message}; it may or may not be done`;
    return new CommandError("unconfirmed", message, { vm: this.name, messageId }, { cause });
  }
}
