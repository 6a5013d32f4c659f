import type { ReceivedMessage } from "../../../shared/api/schemas.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { type Command, LISTED_MESSAGES } from "./command.ts";
import { fieldsLine, shownTime } from "./fields.ts";

export const getVmReceivedMessages: Command = {
  verb: "getVmReceivedMessages",
  type: "Vm",
  required: {},
  optional: {},
  hasVm: true,
  summary: "lists what came from a virtual machine, the newest first",
  async run({ service, who }, { vm }) {
    const received = await service.listReceived(who, vm, LISTED_MESSAGES);
    return received.map(receivedLine);
  },
};

/** A secret has neither value nor base64. */
function receivedLine(message: ReceivedMessage): string {
  return fieldsLine({ ...contentOf(message), time: shownTime(message.receivedAt) });
}

function contentOf(message: ReceivedMessage): Record<string, string | undefined> {
  const { kind, key, value, base64, name, data, of, result } = message;
  switch (kind) {
    case "set":
      return { key, value, base64 };
    case "event":
    case "report":
      return { [kind]: name, data: data === undefined ? undefined : JSON.stringify(data) };
    case "acknowledge":
      return { key, acknowledged: of, result };
    default:
      return unreachable(kind);
  }
}
