/** Reads what matters here from libvirt's domain XML (https://libvirt.org/formatdomain.html#channel). */
import { XMLParser } from "fast-xml-parser";
import * as z from "zod/mini";

const channel = z.object({
  "@type": z.string(),
  source: z.optional(z.object({ "@path": z.optional(z.string()) })),
  target: z.optional(z.object({ "@name": z.optional(z.string()), "@state": z.optional(z.string()) })),
});

const document = z.object({
  domain: z.object({
    name: z.string(),
    uuid: z.optional(z.string()),
    devices: z.optional(z.object({ channel: z.optional(z.array(z.unknown())) })),
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
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  parseTagValue: false,
  parseAttributeValue: false,
  isArray: (_name, path) => path === "domain.devices.channel",
});

/** Undefined when it is not a domain's XML. */
export function readDomain(xml: string, channelName: string): Domain | undefined {
  const parsed = document.safeParse(parseXml(xml));
  if (!parsed.success) return undefined;
  const { name, uuid, devices } = parsed.data.domain;
  const channels = (devices?.channel ?? []).map((element) => channel.safeParse(element).data);
  const ours = channels.find((element) => element?.target?.["@name"] === channelName);
  return {
    name,
    uuid,
    channel: ours && { type: ours["@type"], socketPath: ours.source?.["@path"], state: ours.target?.["@state"] },
  };
}

function parseXml(xml: string): unknown {
  try {
    return parser.parse(xml);
  } catch {
    return undefined;
  }
}
