/** How long a command may take: what the user said, or what the command's kind of waiting needs. */
import { DEFAULT_TIMEOUT_MS } from "../shared/client.ts";

/** How long programs in guests, and many VMs together, are waited for, unless the user says otherwise. */
export const WAIT_TIMEOUT_MS = 60_000;

/** How long a guest may take to come up and to configure itself, unless the user says otherwise. Not measured. */
export const BOOTSTRAP_TIMEOUT_MS = 600_000;

/** What a command waits for: answers, a program in the guest, a guest that configures itself, or the user's Ctrl-C. */
export type Lasting = "answer" | "wait" | "bootstrap" | "endless";

const WHOLE_MS: Readonly<Record<Exclude<Lasting, "endless">, number>> = {
  answer: DEFAULT_TIMEOUT_MS,
  wait: WAIT_TIMEOUT_MS,
  bootstrap: BOOTSTRAP_TIMEOUT_MS,
};

export interface TimeLimits {
  /** Bounds each answer. */
  answerTimeoutMs: number;
  /** Ends whatever is under way: the command's time is up, or a signal came. */
  signal: AbortSignal;
}

export function timeLimits(timeoutMs: number | undefined, lasts: Lasting, interrupt: AbortSignal): TimeLimits {
  const answerTimeoutMs = timeoutMs ?? DEFAULT_TIMEOUT_MS;
  if (lasts === "endless") return { answerTimeoutMs, signal: interrupt };
  const wholeMs = timeoutMs ?? WHOLE_MS[lasts];
  return { answerTimeoutMs, signal: AbortSignal.any([interrupt, AbortSignal.timeout(wholeMs)]) };
}

/** Of the time there is, what an answer that the manager holds back needs to arrive. Not measured. */
const ANSWER_MARGIN_MS = 500;

/** How long the manager may hold back an answer so that it still comes within the time that is left. */
export function holdBackMs(leftMs: number): number {
  return Math.max(0, Math.floor(leftMs - Math.min(ANSWER_MARGIN_MS, leftMs / 4)));
}
