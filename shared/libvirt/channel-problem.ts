/** Why a domain that runs cannot be spoken to. */
import { CHANNEL_NAME } from "../channel-name.ts";
import { channelXmlInline } from "./channel-xml.ts";
import type { DomainChannel } from "./domain-xml.ts";

/** What is wrong with the channel of the running VM `name`, and what to add; undefined when its socket can be connected to. */
export function channelProblem(name: string, channel: DomainChannel | undefined): string | undefined {
  if (channel === undefined) {
    const remedy = `add ${channelXmlInline} to its devices ('vmmessage attach' does), then stop and start it`;
    return `the VM '${name}' has no channel named ${CHANNEL_NAME}; ${remedy}`;
  }
  if (channel.type === "unix" && channel.socketPath !== undefined) return undefined;
  const saw = channel.type === "unix" ? "no socket" : `the type '${channel.type}'`;
  return `the channel ${CHANNEL_NAME} of '${name}' has ${saw}; it has to be ${channelXmlInline}`;
}

/** Whether something in the guest has the port open; undefined when libvirt does not say. */
export function isOpenInGuest(channel: DomainChannel | undefined): boolean | undefined {
  return channel?.state === undefined ? undefined : channel.state === "connected";
}
