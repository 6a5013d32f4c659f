/** A broker and where to publish there, as far as a configuration or a URL says it. */
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

/** Names: a durable exchange, or one queue. */
export type AmqpDestination = { exchange: string } | { queue: string };
