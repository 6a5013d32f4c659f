/** What a command line about a domain's channel asks for, as data. */
import type { CommonOptions } from "./command.ts";

/** Gives a libvirt domain its channel. */
export interface AttachCommand extends CommonOptions {
  name: "attach";
  vm: string;
  /** What is printed of the change: its diff, or the whole definition. */
  shows: "diff" | "xml";
  /** The change is only shown. */
  isDryRun: boolean;
  /** Into the running VM too. */
  updates: boolean;
  /** Somebody at the terminal is asked first. */
  confirms: boolean;
}

/** Prints the channel's XML, which no libvirt is asked for. */
export interface ChannelXmlCommand extends CommonOptions {
  name: "channel xml";
}
