/** A message for the guest of the other host, and what whoever sends it is told. */
import type { Problem, Receipt } from "../../../shared/api/schemas.ts";
import { newMessageId } from "../../../shared/random.ts";
import { waitFor, withTimeout } from "../harness/wait-for.ts";
import type { Host } from "./lab.ts";

/** How long the guest's answer is awaited. */
const WAIT_MS = 4_000;
/** A manager answers in time, whatever became of the others: it waits for them for some seconds more than it was told. */
const ANSWER_TIMEOUT_MS = 30_000;
const RETRIES_TIMEOUT_MS = 60_000;

export type Told =
  /** The guest has done it. */
  | { type: "delivered" }
  /** A manager keeps it until the guest has done it. */
  | { type: "queued" }
  /** Nothing was done, and nothing will be. */
  | { type: "not-done"; why: string }
  /** It may be done or not. */
  | { type: "unconfirmed"; why: string }
  /** The sender's own manager went away. */
  | { type: "lost"; why: string };

export class Message {
  readonly id = newMessageId();
  /** No other message sets it. */
  readonly key: string;
  readonly from: Host;
  readonly to: Host;

  constructor(key: string, from: Host, to: Host) {
    this.key = key;
    this.from = from;
    this.to = to;
  }

  /** As often as wanted: always under the same id. Throws when the answer is none that a sender is to get. */
  async send(): Promise<Told> {
    const path = `/v1/vms/${this.to.vm}/messages`;
    const params = { messageId: this.id, entries: [{ key: this.key, value: this.id }] };
    const message = { method: "set", params, waitFor: "delivered", waitMs: WAIT_MS };
    const sending = this.from.manager.post<Receipt | Problem>(path, message);
    try {
      const { body } = await withTimeout(`an answer to ${this.key}`, untilLost(sending), ANSWER_TIMEOUT_MS);
      return "messageId" in body ? toldByReceipt(body) : toldByProblem(body, this.id);
    } catch (error) {
      if (error instanceof LostError) return { type: "lost", why: error.message };
      throw error;
    }
  }

  async sendUntilDelivered(): Promise<void> {
    const isDelivered = async (): Promise<boolean> => (await this.send()).type === "delivered";
    await waitFor(`${this.key} to be delivered`, isDelivered, { timeoutMs: RETRIES_TIMEOUT_MS, intervalMs: 100 });
  }

  /** How often its guest has done it. */
  async timesDone(): Promise<number> {
    return (await this.to.record.timesSet()).get(this.key) ?? 0;
  }
}

class LostError extends Error {}

function untilLost<T>(answer: Promise<T>): Promise<T> {
  return answer.catch((error: unknown) => {
    throw new LostError(String(error));
  });
}

function toldByReceipt({ state }: Receipt): Told {
  switch (state) {
    case "delivered":
    case "queued":
      return { type: state };
    default:
      throw new Error(`nobody is to be told '${state}' of a message that nothing expires and nothing refuses`);
  }
}

function toldByProblem({ code, detail, details = {} }: Problem, messageId: string): Told {
  if (code === "unreachable") return { type: "not-done", why: detail };
  // Of a manager that has just started, and was not yet told of the other one's VMs.
  if (code === "failed" && details["unknownVm"] === true) return { type: "not-done", why: detail };
  if (code === "unconfirmed" && details["messageId"] === messageId) return { type: "unconfirmed", why: detail };
  throw new Error(`nobody is to be told '${code}' (${detail}) with ${JSON.stringify(details)}`);
}
