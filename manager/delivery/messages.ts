/** Messages to VMs: kept on disk first, then handed to the VM's delivery; and the fate of each. */
import { createHash } from "node:crypto";
import type { NewMessage, Receipt } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { newMessageId } from "../../shared/random.ts";
import { ReceiptBoard } from "./receipt-board.ts";
import type { ManagedVm } from "../vms/managed-vm.ts";
import type { Change, Kept, MessageToKeep, Store } from "../store/store.ts";

/** How long a request waits for what it awaits, unless it says so itself. */
export const DEFAULT_WAIT_MS = 10_000;

export interface MessagesOptions {
  store: Store;
  /** A message that says nothing else expires after this, in ms. */
  expireAfterMs: () => number;
}

/** A message of its own for each VM, and what became of keeping it. */
export interface Sending {
  vm: ManagedVm;
  messageId: string;
  kept: Kept;
}

export class Messages {
  readonly #options: MessagesOptions;
  readonly board = new ReceiptBoard();

  constructor(options: MessagesOptions) {
    this.#options = options;
  }

  async keepOne(vm: ManagedVm, message: NewMessage, by: string): Promise<Sending> {
    const messageId = message.params.messageId ?? newMessageId();
    const [sending] = await this.#keep([vm], message, by, () => messageId);
    if (sending === undefined) throw new Error("nothing was kept");
    return sending;
  }

  /** Keeps one message for each of the VMs, all together; their ids are derived from the fleet's. */
  keepForAll(vms: readonly ManagedVm[], message: NewMessage, by: string): Promise<Sending[]> {
    const fleetId = message.params.messageId ?? newMessageId();
    return this.#keep(vms, message, by, (vm) => messageIdFor(fleetId, vm.vm.id));
  }

  async #keep(
    vms: readonly ManagedVm[],
    message: NewMessage,
    by: string,
    idFor: (vm: ManagedVm) => string,
  ): Promise<Sending[]> {
    const now = Date.now();
    const expiresAt = now + (message.expiresInMs ?? this.#options.expireAfterMs());
    const prepared = vms.map((vm) => {
      const change = changeOf(message, idFor(vm));
      const toKeep: MessageToKeep = { vm: vm.ref, change, by, queuedAt: now, expiresAt };
      return { vm, toKeep };
    });
    const kept = await this.#options.store.keepMessages(prepared.map(({ toKeep }) => toKeep));
    return prepared.map(({ vm, toKeep }, index) => {
      const result = kept[index];
      if (result === undefined) throw new Error("the store answered for fewer messages than it was given");
      if (result.type === "new") vm.messagesKept();
      return { vm, messageId: toKeep.change.params.messageId, kept: result };
    });
  }

  /** The receipt as it is, or as it is when what is awaited is known or the time is up. */
  async follow(
    receipt: Receipt,
    { waitFor, waitMs = DEFAULT_WAIT_MS }: Pick<NewMessage, "waitFor" | "waitMs">,
    signal?: AbortSignal,
  ): Promise<Receipt> {
    const { messageId } = receipt;
    if (waitFor === undefined) return receipt;
    return this.board.until(messageId, waitFor, {
      waitMs,
      signal,
      current: async () => (await this.#options.store.receipt(messageId)) ?? receipt,
    });
  }
}

/** Of keeping: the receipt, or what it failed with. */
export function receiptOf({ kept, messageId }: Sending): Receipt {
  switch (kept.type) {
    case "new":
    case "known":
      return kept.receipt;
    case "conflict":
      throw new CommandError("conflict", kept.message);
    case "unconfirmed":
      throw new CommandError("unconfirmed", kept.message, { messageId });
    case "over-limit":
      throw new CommandError("over-limit", kept.message, { limit: kept.limit });
  }
}

/** One id for each VM of a fleet, the same in every attempt. */
export function messageIdFor(fleetId: string, vmId: string): string {
  return createHash("sha256").update(`${fleetId}\n${vmId}`).digest("hex").slice(0, 32);
}

function changeOf(message: NewMessage, messageId: string): Change {
  switch (message.method) {
    case "set":
      return { method: "set", params: { ...message.params, messageId } };
    case "delete":
      return { method: "delete", params: { ...message.params, messageId } };
    case "clear":
      return { method: "clear", params: { ...message.params, messageId } };
  }
}
