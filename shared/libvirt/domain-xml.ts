/** Reads what matters here from libvirt's domain XML (https://libvirt.org/formatdomain.html#channel). */
import { XMLParser } from "fast-xml-parser";
import * as z from "zod/mini";
import { GUEST_AGENT_CHANNEL_NAME } from "../channel-name.ts";

/** An element without attributes and children is read as an empty string, and says as much as none. */
const perhaps = <T extends z.ZodMiniType>(element: T) => z.catch(z.optional(element), undefined);

const channel = z.object({
  "@type": z.string(),
  source: perhaps(z.object({ "@path": z.optional(z.string()) })),
  target: perhaps(z.object({ "@name": z.optional(z.string()), "@state": z.optional(z.string()) })),
});

const controller = z.object({ "@type": z.literal("virtio-serial") });

const document = z.object({
  domain: z.object({
    name: z.string(),
    uuid: z.optional(z.string()),
    devices: perhaps(
      z.object({ channel: z.optional(z.array(z.unknown())), controller: z.optional(z.array(z.unknown())) }),
    ),
  }),
});

export interface DomainChannel {
  /** `unix` is the one we can speak on. */
  type: string;
  /** In the XML of a running domain; libvirt makes one when the definition has none. */
  socketPath: string | undefined;
  /** `connected` while something in the guest has the port open. */
  state: string | undefined;
}

export interface Domain {
  name: string;
  uuid: string | undefined;
  channel: DomainChannel | undefined;
  /** That of QEMU's own guest agent, wherever it stands among the channels. */
  guestAgent: DomainChannel | undefined;
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  parseTagValue: false,
  parseAttributeValue: false,
  isArray: (_name, path) => path === "domain.devices.channel" || path === "domain.devices.controller",
});

/** Undefined when it is not a domain's XML. */
export function readDomain(xml: string, channelName: string): Domain | undefined {
  const parsed = document.safeParse(parseXml(xml));
  if (!parsed.success) return undefined;
  const { name, uuid, devices } = parsed.data.domain;
  const channels = (devices?.channel ?? []).map(readChannel);
  const named = (wanted: string) => channels.find((candidate) => candidate?.name === wanted)?.channel;
  return { name, uuid, channel: named(channelName), guestAgent: named(GUEST_AGENT_CHANNEL_NAME) };
}

/** Whether it has the device that virtio-serial ports belong to. */
export function hasVirtioSerialController(xml: string): boolean {
  const { devices } = document.safeParse(parseXml(xml)).data?.domain ?? {};
  return devices?.controller?.some((element) => controller.safeParse(element).success) === true;
}

function readChannel(element: unknown): { name: string | undefined; channel: DomainChannel } | undefined {
  const parsed = channel.safeParse(element);
  if (!parsed.success) return undefined;
  const { "@type": type, source, target } = parsed.data;
  return { name: target?.["@name"], channel: { type, socketPath: source?.["@path"], state: target?.["@state"] } };
}

function parseXml(xml: string): unknown {
  try {
    return parser.parse(xml);
  } catch {
    return undefined;
  }
}
