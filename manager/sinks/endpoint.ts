/** Where a sink leads, checked and taken apart: from a URL that a user gave, from coordinates, or from the configuration. */
import type { BodyFormat } from "../../shared/api/event-schemas.ts";
import type { AmqpBroker, AmqpDestination } from "../amqp/broker.ts";

/** What Masakari's engine acts on: each with its `vir_domain_event` (masakari/engine/instance_events.py). */
export const masakariEvents = {
  QEMU_GUEST_AGENT_ERROR: "STOPPED_FAILED",
  LIFECYCLE: "STOPPED_FAILED",
  IO_ERROR: "IO_ERROR_REPORT",
} as const;
export type MasakariEvent = keyof typeof masakariEvents;

/** How a token is had from Keystone (Identity API v3); `none` for a laboratory's Masakari with `noauth`. */
export type KeystoneLogin =
  | { method: "none" }
  | {
      method: "password";
      /** With the version: `https://keystone.example:5000/v3`. */
      url: string;
      user: string;
      userDomain: string;
      password: string;
      project: string;
      projectDomain: string;
    }
  | { method: "application-credential"; url: string; id: string; secret: string };

export interface MasakariEndpoint {
  type: "masakari";
  /** The sink's name: what was sent is kept under it. */
  name: string;
  /** With the version: `https://masakari.example:15868/v1`. Undefined: as Keystone's catalogue has it. */
  url: string | undefined;
  login: KeystoneLogin;
  /** Of the catalogue. */
  region: string | undefined;
  interface: "public" | "internal" | "admin";
  /** PEM, of the authority of both. */
  ca: string | undefined;
  /** What Masakari calls this host. */
  hostname: string;
  /** Which of its events an event of ours becomes, by our type. */
  events: Readonly<Record<string, MasakariEvent>>;
  retryMax: number;
  retryIntervalMs: number;
}

export type Endpoint =
  | {
      type: "amqp";
      broker: AmqpBroker;
      /** The exchange is a topic exchange with routing keys of events. */
      to: AmqpDestination;
      format: BodyFormat;
    }
  /** StratusLab's: `VM_ID=22; STATE=DONE` to one queue. */
  | { type: "notify"; broker: AmqpBroker; queue: string; vmId: string }
  /** `ca`: PEM, of the receiver's authority; the system's when undefined. */
  | { type: "webhook"; url: string; secrets: readonly string[]; format: BodyFormat; ca?: string | undefined }
  | { type: "mail"; to: readonly string[] }
  | { type: "sms"; gateway: string; number: string; format: BodyFormat }
  | { type: "command"; command: string; format: BodyFormat }
  | MasakariEndpoint;
