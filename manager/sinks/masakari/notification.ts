/**
 * What Masakari is told of a VM (its API's `POST /v1/notifications`), and when it takes that for something it knows.
 * A notification is a duplicate of one of the same type, host and payload whose `generated_time` is not more than the window
 * before its own: so one that is sent again with the time it had is refused as known, and does no harm.
 */
import { rfc3339 } from "../../../shared/rfc3339.ts";
import { type MasakariEvent, masakariEvents } from "../endpoint.ts";

/**
 * From one notification to the next of the same payload. Masakari's window, `duplicate_notification_detection_interval`, is
 * 180 s unless configured otherwise, and its end belongs to it; databases round times to seconds.
 */
export const DUPLICATE_WINDOW_MS = 181_000;

export interface Failure {
  vmId: string;
  event: MasakariEvent;
  /** Milliseconds since 1970. */
  generatedAt: number;
}

/** What Masakari compares of one host's. */
export function payloadOf({ vmId, event }: Pick<Failure, "vmId" | "event">): string {
  return `${event} ${vmId}`;
}

/** The body of the request: Masakari refuses a payload with any other key. */
export interface Notification {
  notification: {
    type: "VM";
    hostname: string;
    generated_time: string;
    payload: { event: MasakariEvent; instance_uuid: string; vir_domain_event: string };
  };
}

export function notificationOf({ vmId, event, generatedAt }: Failure, hostname: string): Notification {
  return {
    notification: {
      type: "VM",
      hostname,
      generated_time: rfc3339(generatedAt),
      payload: { event, instance_uuid: vmId, vir_domain_event: masakariEvents[event] },
    },
  };
}
