/** What the store's thread is asked for: one operation for each method of the store, and a few that several serve one. */
import type { Receipt } from "../../shared/api/schemas.ts";
import type { ErrorCode } from "../../shared/protocol/errors.ts";
import type { Event } from "../events/event.ts";
import type { StoreLimits } from "./limits.ts";
import type { Store, WaitingMessage } from "./store.ts";

/** Methods that are no single operation of the same shape. */
type Composed = "nextMessage" | "expire" | "prune" | "close";

type Direct = Exclude<keyof Store, Composed>;

interface OwnArguments {
  nextMessage: [vmId: string, revision: number, now: number];
  expireSome: [now: number];
  pruneVmAfter: [vmId: string, now: number];
  pruneSomeAudit: [now: number];
  pruneSomeEvents: [now: number];
}

interface OwnAnswers {
  /** `settled`: those before it whose secret cannot be decrypted any more. */
  nextMessage: { next: WaitingMessage | undefined; settled: Receipt[] };
  /** Up to a bound; `more` when there may be others. */
  expireSome: { expired: Receipt[]; more: boolean };
  /** The VM that was pruned: the first after that id. */
  pruneVmAfter: string | undefined;
  pruneSomeAudit: { more: boolean };
  pruneSomeEvents: { more: boolean };
}

export type OperationName = Direct | keyof OwnArguments;

export type Arguments = {
  [O in OperationName]: O extends keyof OwnArguments
    ? OwnArguments[O]
    : Parameters<Store[Exclude<O, keyof OwnArguments>]>;
};

export type Answers = {
  [O in OperationName]: O extends keyof OwnAnswers
    ? OwnAnswers[O]
    : Awaited<ReturnType<Store[Exclude<O, keyof OwnAnswers>]>>;
};

export type Operations = { [O in OperationName]: (...args: Arguments[O]) => Answers[O] };

export type Request<O extends OperationName = OperationName> = { [N in O]: { operation: N; args: Arguments[N] } }[O];

/** In the order of the requests. */
export type Answer =
  { type: "done"; value: Answers[OperationName] } | { type: "failed"; code: ErrorCode; message: string };

/** From the manager to the thread. The next batch goes when the one before is answered. */
export type ToThread = { type: "batch"; requests: Request[] } | { type: "close" };

/** From the thread. `appended`: the events of the batch, in order. `not-committed`: nothing of the batch was kept. */
export type FromThread =
  | { type: "opened"; keySetAside: string | undefined }
  | { type: "cannot-open"; message: string }
  | { type: "answers"; answers: Answer[]; appended: Event[] }
  | { type: "not-committed"; message: string };

export interface ThreadOptions {
  directory: string;
  limits: StoreLimits;
}

export function perform<O extends OperationName>(operations: Operations, request: Request<O>): Answers[O] {
  const { operation, args }: { operation: O; args: Arguments[O] } = request;
  return operations[operation](...args);
}
