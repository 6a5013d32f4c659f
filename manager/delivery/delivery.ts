/**
 * Hands a VM the messages that wait for it, in order and one at a time. A message leaves the queue when the guest has
 * answered it, so one whose answer was lost is sent again, under the same messageId: the guest then gives its first answer
 * and does nothing a second time.
 */
import type { ChangeMethod, Receipt } from "../../shared/api/schemas.ts";
import { asFailure, CommandError } from "../../shared/cli/failure.ts";
import type { Log } from "../../shared/log.ts";
import { NoAnswerError } from "../../shared/peer.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import type { Params, Result } from "../../shared/protocol/message.ts";
import type { Settlement, Store, WaitingMessage } from "../store/store.ts";

/** Between attempts while the guest answers other things but not this: doubled each time, up to the longest. */
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;

export interface DeliveryOptions {
  vmId: string;
  store: Pick<Store, "nextMessage" | "settle" | "settleForgotten">;
  /** Of the guest's cache, now or lately. */
  revision: () => number;
  /** As the agent's `info` has it. Rejects as `send`. */
  answersSince: () => Promise<number>;
  /** Rejects with RequestError when the guest refuses, with NoAnswerError when it cannot be known. */
  send<M extends ChangeMethod>(method: M, params: Params<M>): Promise<Result<M>>;
  isLinkUp: () => boolean;
  settled: (receipt: Receipt, message: WaitingMessage) => void;
  /** The store failed: a message stays, and what is done is not known to be kept. */
  failed: (error: unknown) => void;
  log: Log;
}

export class Delivery {
  readonly #options: DeliveryOptions;
  #isStopped = false;
  #isWanted = false;
  #endPause: () => void = () => undefined;
  #running: Promise<void> | undefined;

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /** A message was kept, or the link is up. */
  wake(): void {
    this.#isWanted = true;
    this.#endPause();
    if (this.#isStopped || !this.#options.isLinkUp()) return;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#isWanted) this.wake();
    });
  }

  /** Settles when the message under way, if any, is settled or given up. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endPause();
    await this.#running;
  }

  async #run(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (this.#isWanted && this.#options.isLinkUp() && !this.#isStopped) {
      this.#isWanted = false;
      const outcome = await this.#deliverNext();
      if (outcome === "none") continue;
      this.#isWanted = true;
      if (outcome === "settled") {
        retryMs = FIRST_RETRY_MS;
      } else if (this.#options.isLinkUp()) {
        await this.#pause(retryMs);
        retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS);
      }
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #deliverNext(): Promise<"settled" | "unanswered" | "none"> {
    const { vmId, store, revision, settled, failed } = this.#options;
    try {
      const message = await store.nextMessage(vmId, revision());
      if (message === undefined) return "none";
      const receipt = await this.#settle(message);
      if (receipt === "unanswered") return "unanswered";
      // Meanwhile it may have expired, after a step of the clock, or gone to another manager: that was told then.
      if (receipt !== undefined) settled(receipt, message);
      return "settled";
    } catch (error) {
      failed(error);
      return "unanswered";
    }
  }

  /** `unanswered` when the guest may or may not have done it. */
  async #settle(message: WaitingMessage): Promise<Receipt | undefined | "unanswered"> {
    const { store } = this.#options;
    const { messageId } = message;
    if (message.mayBeDone) {
      const answersSince = await this.#answersSince();
      if (answersSince === undefined) return "unanswered";
      const forgotten = await store.settleForgotten(messageId, answersSince, Date.now());
      if (forgotten !== undefined) return forgotten;
    }
    const settlement = await this.#send(message);
    return settlement === undefined ? "unanswered" : store.settle(messageId, settlement, Date.now());
  }

  /** Undefined when the guest does not say. */
  async #answersSince(): Promise<number | undefined> {
    try {
      return await this.#options.answersSince();
    } catch (error) {
      if (!(asFailure(error) instanceof CommandError) && !(error instanceof NoAnswerError)) {
        this.#options.log.error("delivery-failed", { vm: this.#options.vmId, error });
      }
      return undefined;
    }
  }

  /** Undefined when the guest may or may not have done it. */
  async #send({ messageId, change }: WaitingMessage): Promise<Settlement | undefined> {
    try {
      const result = await this.#options.send(change.method, change.params);
      return { type: "delivered", result: result };
    } catch (error) {
      if (error instanceof NoAnswerError || isPassing(error)) return undefined;
      const failure = asFailure(error);
      if (!(failure instanceof CommandError)) {
        this.#options.log.error("delivery-failed", { vm: this.#options.vmId, messageId, error });
        return undefined;
      }
      return { type: "refused", refusal: refusalOf(failure) };
    }
  }
}

/** Refusals that say nothing about the message. */
function isPassing(error: unknown): boolean {
  return error instanceof RequestError && (error.code === "busy" || error.code === "no-session");
}

function refusalOf({ code, message, details }: CommandError): NonNullable<Receipt["refusal"]> {
  return { code, message, ...(Object.keys(details).length > 0 && { details }) };
}
