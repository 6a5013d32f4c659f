/** Which channel leads to the host, as a user writes it: `virtio:NAME`, `tty:PATH[@BAUD]` or `unix:PATH`. */

/** The port's name that both ends look for unless told otherwise. */
export const DEFAULT_PORT_NAME = "org.vmmessage.agent.0";

const DEFAULT_BAUD = 115_200;

export type ChannelSpec =
  { kind: "virtio"; name: string } | { kind: "tty"; path: string; baudRate: number } | { kind: "unix"; path: string };

/** Undefined when the text is none of the three. */
export function parseChannelSpec(text: string): ChannelSpec | undefined {
  const [, kind, rest] = /^(virtio|tty|unix):(.+)$/s.exec(text) ?? [];
  if (kind === undefined || rest === undefined) return undefined;
  if (kind === "virtio") return /^[\w.-]+$/.test(rest) ? { kind, name: rest } : undefined;
  if (!rest.startsWith("/")) return undefined;
  if (kind === "unix") return { kind, path: rest };
  const [, path = rest, baud] = /^(.*)@(\d+)$/.exec(rest) ?? [];
  return { kind: "tty", path, baudRate: baud === undefined ? DEFAULT_BAUD : Number(baud) };
}
