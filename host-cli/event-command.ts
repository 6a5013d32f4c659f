/** What a command line about events asks for, as data. */
import type { BodyFormat, EventFilter, ImageFormat } from "../shared/api/event-schemas.ts";
import type { CommonOptions } from "./command.ts";

export interface EventsCommand extends CommonOptions {
  name: "events";
  filter: EventFilter;
  /** The cursor after which to begin; the newest when there is none. */
  since: string | undefined;
  values: boolean;
  follow: boolean;
  limit: number | undefined;
}

/** The table of the types of events, which no manager is asked for. */
export interface EventTypesCommand extends CommonOptions {
  name: "event types";
}

/** Lines of text: from the command line, and from a file (`-` is stdin). */
export interface Lines {
  given: string[];
  file: string | undefined;
}

export type NotifyAction =
  { type: "list" } | { type: "add"; coordinates: Lines; vmId: string | undefined } | { type: "remove"; id: string };

export interface NotifyCommand extends CommonOptions {
  name: "notify";
  vm: string;
  action: NotifyAction;
}

/** What is left out stays as it is, or is the manager's default. */
export interface SubscriptionProperties {
  /** Undefined when none was named. */
  endpoints: Lines | undefined;
  filter: EventFilter;
  values: boolean | undefined;
  format: BodyFormat | undefined;
  /** Files with a secret each, before which a new one may be made. */
  secretFiles: string[];
  makesSecret: boolean;
  contact: string | undefined;
}

export interface SubscriptionChanges extends Omit<SubscriptionProperties, "contact"> {
  name: string | undefined;
  /** False to have none. */
  contact: string | false | undefined;
  /** What it was for is forgotten. */
  dropsFilter: boolean;
  dropsSecrets: boolean;
}

export type SubscriptionAction =
  | { type: "list" }
  | { type: "show"; id: string }
  | { type: "add"; subscription: string; properties: SubscriptionProperties }
  | { type: "change"; id: string; changes: SubscriptionChanges }
  | { type: "remove"; id: string };

export interface SubscriptionCommand extends CommonOptions {
  name: "subscription";
  action: SubscriptionAction;
}

export type SinkAction =
  | { type: "list" }
  | { type: "show" | "test" | "enable"; sink: string }
  | { type: "deliveries" | "dead-letters"; sink: string; limit: number | undefined }
  /** All dead letters when no events are named. */
  | { type: "redeliver"; sink: string; events: string[] };

export interface SinkCommand extends CommonOptions {
  name: "sink";
  action: SinkAction;
}

export type SaveAction =
  | {
      type: "save";
      vm: string;
      directory: string;
      authorEmail: string | undefined;
      format: ImageFormat | undefined;
      disk: string | undefined;
      waits: boolean;
    }
  | { type: "list"; vm: string | undefined }
  | { type: "show" | "cancel"; id: string };

export interface SaveCommand extends CommonOptions {
  name: "save";
  action: SaveAction;
}

export type EventCommand =
  EventsCommand | EventTypesCommand | NotifyCommand | SubscriptionCommand | SinkCommand | SaveCommand;
