/** The sink that leads to an endpoint. */
import type { EventsConfig } from "../config.ts";
import type { Log } from "../../shared/log.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Event } from "../events/event.ts";
import type { Store } from "../store/store.ts";
import { AmqpSink } from "./amqp-sink.ts";
import { CommandSink } from "./command-sink.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Mailer } from "./mailer.ts";
import { MailSink } from "./mail-sink.ts";
import { MasakariSink } from "./masakari/masakari-sink.ts";
import { NotifySink } from "./notify-sink.ts";
import { newRateLimits, type RateLimits } from "./rate-limits.ts";
import type { Sink } from "./sink.ts";
import type { TargetGuard } from "./target-guard.ts";
import { WebhookSink } from "./webhook-sink.ts";

export interface SinkContext {
  /** This machine's name. */
  host: string;
  /** As it is now. */
  config: () => EventsConfig;
  mailer: Mailer;
  limits: RateLimits;
  /** Where notifications to Masakari are written down. */
  journal: Pick<Store, "journal" | "saveJournalEntry" | "removeJournalEntry">;
  /** Whether what an event tells still stands: false when the guest it speaks of is well again. */
  stands: (event: Event) => boolean;
  log: Log;
}

/** @param guard limits where it may lead; undefined when root's configuration says where */
export function openSink(endpoint: Endpoint, guard: TargetGuard | undefined, context: SinkContext): Sink {
  const { host, config, mailer, log } = context;
  // Users' events must not use up what root's alerts need.
  const limits = guard === undefined ? newRateLimits() : context.limits;
  switch (endpoint.type) {
    case "amqp":
      return new AmqpSink({ ...endpoint, host, guard, log });
    case "notify":
      return new NotifySink({ ...endpoint, guard, log });
    case "webhook":
      return new WebhookSink({ ...endpoint, host, guard, allowsHttp: config().targets.http });
    case "mail":
      return new MailSink({ to: endpoint.to, mailer, host, limit: limits.mails });
    case "sms": {
      const { gateway: name, number, format } = endpoint;
      const program = () => ownMember(config().gateways, name);
      return new CommandSink({ type: "sms", name, program, number, format, host, limit: limits.texts });
    }
    case "command": {
      const { command: name, format } = endpoint;
      const program = () => ownMember(config().commands, name);
      return new CommandSink({ type: "command", name, program, format, host, limit: limits.runs });
    }
    case "masakari": {
      const { journal, stands } = context;
      return new MasakariSink({ endpoint, journal, stands, log });
    }
    default:
      return unreachable(endpoint);
  }
}

/** Names come from users: `constructor` is no program. */
export function ownMember<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}
