import type { Command } from "./command.ts";
import { getVmReceivedMessages } from "./get-vm-received-messages.ts";
import { getVmSentMessages } from "./get-vm-sent-messages.ts";
import { listVm } from "./list-vm.ts";
import { sendVmMessage } from "./send-vm-message.ts";
import { showVm } from "./show-vm.ts";

export const commands: readonly Command[] = [sendVmMessage, getVmSentMessages, getVmReceivedMessages, listVm, showVm];
