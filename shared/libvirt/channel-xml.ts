/** The XML that gives a domain its channel (https://libvirt.org/formatdomain.html#channel). */
import { CHANNEL_NAME } from "../channel-name.ts";

/** Its lines. It names no path: libvirt makes a socket where AppArmor and SELinux let QEMU have one. */
export const channelXmlLines = [
  "<channel type='unix'>",
  `  <target type='virtio' name='${CHANNEL_NAME}'/>`,
  "</channel>",
] as const;

/** The same on one line, for sentences. */
export const channelXmlInline = channelXmlLines.map((line) => line.trim()).join("");
