/** Events as guests cause them most, and the messages in which a broker gets them. */
import { randomUUID } from "node:crypto";
import type { Options } from "amqplib";
import { cloudStackBody } from "../../../manager/events/bodies.ts";
import { type Event, type NewEvent, vmEvent } from "../../../manager/events/event.ts";
import { routingKey } from "../../../manager/events/topic.ts";

const VMS = 100;
const vms = Array.from({ length: VMS }, (_, index) => ({ id: randomUUID(), name: `guest${index}` }));

/** Keys that a hundred guests set in turn. */
export function sampleEvents(count: number): NewEvent[] {
  return Array.from({ length: count }, (_, index) => {
    const vm = vms[index % VMS] ?? { id: "", name: "" };
    const time = Date.now();
    const key = `com.example.counter.${index % 8}`;
    const data = { key, setBy: "guest", setAt: new Date(time).toISOString(), messageId: `${vm.name}.${index}` };
    return vmEvent("KEY.SET", vm, time, { data: { ...data, isNew: false }, value: { value: String(index) } });
  });
}

/** As the log would number them. */
export function numbered(events: readonly NewEvent[]): Event[] {
  return events.map((event, index) => {
    return { ...event, id: randomUUID(), sequence: 1 + Math.floor(index / VMS), position: index + 1 };
  });
}

export interface Message {
  routingKey: string;
  body: Buffer;
  properties: Options.Publish;
}

/** The same bytes as the manager's own, in CloudStack's format and without the values of keys. */
export function messageOf(event: Event): Message {
  return {
    routingKey: routingKey(event),
    body: Buffer.from(JSON.stringify(cloudStackBody({ ...event, value: undefined }))),
    properties: {
      persistent: true,
      mandatory: false,
      messageId: event.id,
      timestamp: Math.floor(event.time / 1000),
      type: event.type,
      contentType: "text/plain",
    },
  };
}
