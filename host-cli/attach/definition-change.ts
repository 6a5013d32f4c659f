/** The change of a definition: what it is going to be, and its diff. */
import { createTwoFilesPatch, FILE_HEADERS_ONLY } from "diff";
import { XMLParser } from "fast-xml-parser";
import { CommandError } from "../../shared/cli/failure.ts";
import { channelXmlLines } from "../../shared/libvirt/channel-xml.ts";

/** virt-xml's names for the two: a domain's own name may be anything. */
const BEFORE = "Original XML";
const AFTER = "Altered XML";

/** What libvirt writes before the channels and among them (virDomainDefFormatInternal of its src/conf/domain_conf.c). */
const NOT_AFTER_CHANNELS = new Set([
  "emulator",
  "disk",
  "controller",
  "lease",
  "filesystem",
  "interface",
  "smartcard",
  "serial",
  "parallel",
  "console",
  "channel",
]);

const INDENT = "    ";

/** As diff -u and virt-xml have it. */
const CONTEXT_LINES = 3;

interface Place {
  startIndex: number;
  endIndex: number;
}

const PLACE = XMLParser.getMetaDataSymbol() as symbol;

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: true,
  captureMetaData: true,
  processEntities: false,
});

/**
 * The definition with the channel where libvirt will write it, all else as it stands there. It is for showing: libvirt makes
 * the change itself, and then gives the channel an address, and a controller where there is none.
 */
export function withChannel(xml: string): string {
  const at = xml.lastIndexOf("\n", placeOfChannel(xml)) + 1;
  const lines = channelXmlLines.map((line) => `${INDENT}${line}\n`);
  return `${xml.slice(0, at)}${lines.join("")}${xml.slice(at)}`;
}

/** Unified, as lines; none when nothing changed. */
export function diffLines(before: string, after: string): string[] {
  if (before === after) return [];
  const options = { context: CONTEXT_LINES, headerOptions: FILE_HEADERS_ONLY };
  return createTwoFilesPatch(BEFORE, AFTER, before, after, undefined, undefined, options).trimEnd().split("\n");
}

function placeOfChannel(xml: string): number {
  const devices = childrenOf(parser.parse(xml), "domain").find((element) => "devices" in element);
  if (devices === undefined) throw new CommandError("failed", "virsh dumpxml printed a domain without devices");
  const next = childrenOf([devices], "devices").find((element) => !NOT_AFTER_CHANNELS.has(nameOf(element)));
  return next === undefined ? placeOf(devices).endIndex - "</devices>".length : placeOf(next).startIndex;
}

/** An element as the parser has it: its children under its name, and where it stands. */
type Element = Record<string | symbol, unknown>;

function childrenOf(elements: unknown, name: string): Element[] {
  const element = (elements as Element[]).find((candidate) => name in candidate);
  return (element?.[name] ?? []) as Element[];
}

function nameOf(element: Element): string {
  return Object.keys(element)[0] ?? "";
}

function placeOf(element: Element): Place {
  return element[PLACE] as Place;
}
