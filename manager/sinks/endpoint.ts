/** Where a sink leads, checked and taken apart: from a URL that a user gave, from coordinates, or from the configuration. */
import type { BodyFormat } from "../../shared/api/event-schemas.ts";

export interface AmqpBroker {
  tls: boolean;
  host: string;
  port: number;
  vhost: string;
  user: string;
  password: string;
  /** PEM, of its authority; the system's when undefined. */
  ca?: string | undefined;
}

export type Endpoint =
  | {
      type: "amqp";
      broker: AmqpBroker;
      /** A durable topic exchange with routing keys of events, or one queue. */
      to: { exchange: string } | { queue: string };
      format: BodyFormat;
    }
  /** StratusLab's: `VM_ID=22; STATE=DONE` to one queue. */
  | { type: "notify"; broker: AmqpBroker; queue: string; vmId: string }
  /** `ca`: PEM, of the receiver's authority; the system's when undefined. */
  | { type: "webhook"; url: string; secrets: readonly string[]; format: BodyFormat; ca?: string | undefined }
  | { type: "mail"; to: readonly string[] }
  | { type: "sms"; gateway: string; number: string; format: BodyFormat }
  | { type: "command"; command: string; format: BodyFormat };
