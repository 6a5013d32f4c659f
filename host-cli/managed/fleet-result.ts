/** What became of one VM's part of a request for many. */
import type { FleetResult } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { agoInWords } from "../origin.ts";
import { sentFacts } from "../sent.ts";
import { shortValue, shownValue } from "../transcript.ts";
import { deliveredResult } from "./sending.ts";

/** The error, or the receipt of a message that was refused or expired; undefined when it is done or queued. */
export function failureOf({ receipt, error }: FleetResult): CommandError | undefined {
  if (error !== undefined) return new CommandError(error.code, error.message, error.details ?? {});
  if (receipt === undefined) return undefined;
  try {
    deliveredResult(receipt.method, receipt);
    return undefined;
  } catch (failure) {
    if (failure instanceof CommandError) return failure;
    throw failure;
  }
}

/** One line for programs, in the shape of the same command for one VM. */
export function resultFacts(result: FleetResult): object {
  const { vm, status, receipt, answer, ping } = result;
  const head = { vm: vm.name, id: vm.id, status };
  const failure = failureOf(result);
  if (failure !== undefined) {
    return { ...head, error: { ...failure.details, code: failure.code, message: failure.message } };
  }
  if (receipt !== undefined) {
    const answered = deliveredResult(receipt.method, receipt);
    const { messageId, state, acknowledgement } = receipt;
    const sent = sentFacts(vm.name, messageId, { state: "queued", receipt, ...(answered && { result: answered }) });
    return { ...sent, ...head, state, ...(acknowledgement && { acknowledged: acknowledgement }) };
  }
  if (answer !== undefined) {
    const { epoch, entry, from, asOf, pending } = answer;
    return { ...head, epoch, ...entry, from, asOf, pending };
  }
  return { ...head, ...(ping && { roundTripMs: ping.roundTripMs, uptimeMs: ping.uptimeMs }) };
}

/** For a table's cell: the answer on one line, or why there is none. */
export function resultInWords(result: FleetResult): string {
  const failure = failureOf(result);
  if (failure !== undefined) return failure.code;
  return result.answer === undefined ? bareResult(result) : shortValue(result.answer.entry);
}

/** The answer itself: a message's state, a value, a round trip. */
export function bareResult({ receipt, answer, ping }: FleetResult): string {
  if (receipt !== undefined) return receipt.state;
  if (answer !== undefined) return shownValue(answer.entry);
  return ping === undefined ? "" : `${ping.roundTripMs} ms`;
}

export function noteOf(result: FleetResult): string {
  const failure = failureOf(result);
  if (failure !== undefined) return failure.message;
  const { receipt, answer } = result;
  const acknowledged = receipt?.acknowledgement?.result;
  const age = answer?.from === "mirror" ? `as it was ${agoInWords(answer.asOf)}` : undefined;
  const waiting = answer === undefined || answer.pending.length === 0 ? undefined : "a change of it waits";
  return [acknowledged && `result '${acknowledged}'`, age, waiting].filter(Boolean).join("; ");
}
