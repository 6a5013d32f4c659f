import { newMessage, type NewMessage, type Receipt } from "../../../shared/api/schemas.ts";
import { CommandError, usageError } from "../../../shared/cli/failure.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { describeIssues } from "../../../shared/protocol/message.ts";
import type { Command, Given } from "./command.ts";

/** How long a person is kept waiting to hear that the guest has the message. Not measured. */
const DELIVERY_WAIT_MS = 10_000;

/** Success when the guest has it, and when it waits on disk for a guest that is away; then a line says so. */
export const sendVmMessage: Command = {
  verb: "sendVmMessage",
  type: "Vm",
  required: { key: "KEY", message: "TEXT" },
  optional: { log: "no|yes" },
  hasVm: true,
  summary: "sends a key and its value to a virtual machine; log=yes writes the value to the audit log",
  async run({ service, who, signal }, given) {
    return describeFate(await service.send(who, given.vm, messageFrom(given), signal));
  },
};

function messageFrom({ attributes }: Given): NewMessage {
  const entry = { key: attributes.get("key"), value: attributes.get("message") };
  const { data, error } = newMessage.safeParse({
    method: "set",
    params: { entries: [entry] },
    log: logChoice(attributes.get("log")),
    waitFor: "delivered",
    waitMs: DELIVERY_WAIT_MS,
  });
  if (data === undefined) throw usageError(describeIssues(error).replace("params.entries[0].", ""));
  return data;
}

function logChoice(text = "no"): boolean {
  switch (text.toLowerCase()) {
    case "yes":
      return true;
    case "no":
      return false;
    default:
      throw usageError(`log=${text} is neither yes nor no`);
  }
}

function describeFate({ state, messageId, expiresAt, refusal }: Receipt): string[] {
  switch (state) {
    case "delivered":
    case "read":
    case "acknowledged":
      return [];
    case "queued":
      return [`queued: message ${messageId} waits for the virtual machine`];
    case "expired":
      throw new CommandError("failed", `message ${messageId} was not delivered by ${expiresAt ?? "its end"}`);
    case "refused":
      throw new CommandError(refusal?.code ?? "failed", refusal?.message ?? "the virtual machine refused the message");
    default:
      return unreachable(state);
  }
}
