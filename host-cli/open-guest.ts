/** From a command's target to the greeted guest, told as the transcript's first lines. */
import type { Output } from "../shared/cli/output.ts";
import { DEFAULT_TIMEOUT_MS } from "../shared/client.ts";
import type { CommonOptions } from "./command.ts";
import { findVm } from "./find-vm/find-vm.ts";
import { Guest, type GuestOptions } from "./guest.ts";
import { sentences, type Transcript } from "./transcript.ts";

/** How long `wait` and `--wait-ack` wait for a program in the guest, unless the user says otherwise. */
const WAIT_TIMEOUT_MS = 60_000;

/** What a command runs in. */
export interface Context {
  output: Output;
  /** Opened when it is read. */
  stdin: () => AsyncIterable<Uint8Array>;
  /** Aborted with an Interruption when a signal asks the program to end. */
  interrupt: AbortSignal;
}

export type Expectations = Omit<GuestOptions, "answerTimeoutMs" | "signal"> & {
  /** What the command waits for after the greeting: answers, a program in the guest, or the user's Ctrl-C. */
  lasts?: "answer" | "wait" | "endless";
};

export async function openGuest(
  { target, timeoutMs }: CommonOptions,
  { interrupt }: Context,
  transcript: Transcript,
  { lasts = "answer", ...options }: Expectations = {},
): Promise<Guest> {
  transcript.say(sentences.banner);
  const answerTimeoutMs = timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const vm = await findVm(target, AbortSignal.any([interrupt, AbortSignal.timeout(answerTimeoutMs)]));
  const status = sentences.status(vm.name, vm.status);
  if (vm.status !== "Running") transcript.say(status);
  const wholeMs = timeoutMs ?? (lasts === "wait" ? WAIT_TIMEOUT_MS : DEFAULT_TIMEOUT_MS);
  const signal = lasts === "endless" ? interrupt : AbortSignal.any([interrupt, AbortSignal.timeout(wholeMs)]);
  const guest = await Guest.open(vm, { ...options, answerTimeoutMs, signal });
  transcript.say(sentences.connected, status);
  return guest;
}
