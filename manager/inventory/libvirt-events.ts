/** The lines of `virsh event --all --loop --timestamp`. */

/** Something happened to a domain. */
export interface LibvirtEvent {
  /** Milliseconds since 1970, by the clock of the machine that virsh runs on. */
  at: number;
  /** `lifecycle`, `reboot`, `watchdog`, `io-error` ... (`virsh event --list`). */
  kind: string;
  /** The domain's name; libvirt prints no UUID. Of a kind whose text may have quotes in it, perhaps not the name alone. */
  domain: string;
  /** Of a `lifecycle` event: what, and why (`virDomainEventType` and the details of each): `Stopped`, `Destroyed`. */
  lifecycle?: { word: string; detail: string };
}

/**
 * `2026-11-20 23:51:34.030+0000: event 'lifecycle' for domain 'web1': Suspended Paused`. A name may have quotes and all of
 * such a line in it, but not a line's end; a lifecycle event's own text has no quotes, so its name ends at the last one.
 */
const LINE =
  /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3})([+-]\d\d)(\d\d): event '([a-z0-9-]+)' for domain '(.*)'(?:: (.*))?$/su;

/** The text of `agent-lifecycle`, which has quotes, up to the last of them: `': state: 'connected' reason: 'channel event`. */
const AGENT_TEXT = /': state: '[a-z]+' reason: '[a-z ]+$/;

/** Undefined for anything else, such as the further lines of a `graphics` event. */
export function parseLibvirtEvent(line: string): LibvirtEvent | undefined {
  const match = LINE.exec(line);
  if (match === null) return undefined;
  const [, date = "", time = "", hours = "", minutes = "", kind = "", named = "", text = ""] = match;
  const at = Date.parse(`${date}T${time}${hours}:${minutes}`);
  if (Number.isNaN(at)) return undefined;
  const domain = kind === "agent-lifecycle" ? named.replace(AGENT_TEXT, "") : named;
  if (kind !== "lifecycle") return { at, kind, domain };
  const [word = "", ...detail] = text.split(" ");
  return { at, kind, domain, lifecycle: { word, detail: detail.join(" ") } };
}
