/**
 * What a command can ask of a VM's agent, by whichever door: straight over the VM's channel (direct/) or through a manager
 * (managed/). Failures are CommandError, the same codes by both; an Interruption ends whatever is under way.
 */
import type { VmHealth } from "../shared/api/monitor-schemas.ts";
import type { ChangeMethod, MessageState, PendingChange, PingAnswer, Receipt } from "../shared/api/schemas.ts";
import type { RevisionArgument } from "../shared/cli/arguments.ts";
import { CommandError } from "../shared/cli/failure.ts";
import type { WholeList } from "../shared/list-all.ts";
import type { NotificationParams, Params, Result } from "../shared/protocol/message.ts";
import type { SendingOptions } from "./command.ts";

/** Where an answer of a manager's is from; over a channel the guest itself answers, just now. */
export interface Origin {
  from: "guest" | "mirror";
  /** When the answer was true. */
  asOf: string;
  /** Messages that wait and will change it. */
  pending: PendingChange[];
}

/** `origin` is none over a channel. */
export type Answered<T> = T & { origin?: Origin };

/** `result` is there when the guest has done it, `receipt` when a manager keeps one. */
export interface Sent<M extends ChangeMethod> {
  state: Extract<MessageState, "queued" | "delivered">;
  result?: Result<M>;
  receipt?: Receipt;
  /**
   * Of a queued one: what the guest answers when it gets it, undefined when the time is up before. Rejects with the
   * guest's refusal.
   */
  delivery?: () => Promise<Result<M> | undefined>;
}

export type Pong = Omit<PingAnswer, "vm">;

/**
 * The guest itself does not answer, or does not run. What is between it and us works, as far as can be told: not so where
 * a plain `unreachable` is thrown.
 */
export class SilentGuestError extends CommandError {
  constructor(message: string, details: Record<string, unknown>, options?: ErrorOptions) {
    super("unreachable", message, details, options);
  }
}

export type Changed = Pick<NotificationParams<"changed">, "epoch" | "revision" | "more" | "resync" | "changes">;

export interface WatchRequest {
  prefix: string;
  since?: RevisionArgument | undefined;
  changed: (changed: Changed) => void;
  /** What it means that the time is up; without it, that the guest is unreachable. */
  late?: (why: string) => CommandError;
  /** Is told what interrupts the watch and that it goes on; without it stderr is. */
  note?: (text: string) => void;
}

export interface Guest extends AsyncDisposable {
  /** The VM's name. */
  readonly name: string;
  /** Nobody else can use the VM's channel meanwhile. */
  readonly isExclusive: boolean;
  /** What became of a message can be asked for later. */
  readonly keepsReceipts: boolean;

  get(key: string): Promise<Answered<Result<"get">>>;
  /** All entries with the prefix, true for one revision. */
  list(prefix: string): Promise<Answered<WholeList>>;
  info(): Promise<Result<"info">>;
  ping(): Promise<Pong>;
  stats(): Promise<Result<"stats">>;
  /** What is known of its health; undefined where nobody watches it. */
  health(): Promise<VmHealth | undefined>;

  /** `unconfirmed` when no answer comes: it may or may not be done. */
  send<M extends ChangeMethod>(method: M, params: Params<M>, options?: SendingOptions): Promise<Sent<M>>;
  /** The word of a program in the guest that it has acted on the message that was sent; `unconfirmed` when it does not come. */
  acknowledgement(messageId: string): Promise<{ key: string; result?: string | undefined }>;
  /** The keys as they are, then every change, on over restarts of what is between. Rejects when it cannot go on. */
  watch(request: WatchRequest): Promise<never>;
}
