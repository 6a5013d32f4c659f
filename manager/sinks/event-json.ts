/** An event as the text that a sink sends. */
import type { BodyFormat } from "../../shared/api/event-schemas.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { cloudEvent, cloudStackBody } from "../events/bodies.ts";
import type { Event } from "../events/event.ts";

/** What every consumer of CloudEvents takes (CloudEvents 1.0, section "Size Limits"). */
export const MAX_EVENT_BYTES = 64 * 1024;

/** Members of an event's data that somebody else filled, and that can be read elsewhere by the event's id. */
const LARGE_MEMBERS = new Set(["value", "base64", "data"]);

/** At most {@link MAX_EVENT_BYTES}: what is larger goes without its values and says `truncated`. Undefined when that is not enough. */
export function eventJson(event: Event, format: BodyFormat, host: string): Buffer | undefined {
  const whole = encoded(event, format, host);
  if (whole.length <= MAX_EVENT_BYTES) return whole;
  const truncated = encoded(withoutLargeMembers(event), format, host);
  return truncated.length <= MAX_EVENT_BYTES ? truncated : undefined;
}

function encoded(event: Event, format: BodyFormat, host: string): Buffer {
  return Buffer.from(JSON.stringify(bodyOf(event, format, host)));
}

function bodyOf(event: Event, format: BodyFormat, host: string): Record<string, unknown> {
  switch (format) {
    case "cloudevents":
      return cloudEvent(event, host);
    case "cloudstack":
      return cloudStackBody(event);
    default:
      return unreachable(format);
  }
}

function withoutLargeMembers(event: Event): Event {
  const small = Object.entries(event.data).filter(([name]) => !LARGE_MEMBERS.has(name));
  return { ...event, value: undefined, data: { ...Object.fromEntries(small), truncated: true } };
}
