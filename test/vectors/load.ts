/** The golden vectors: what stands in the JSON files beside this one, and how their shorthands are meant. */
import { readFileSync } from "node:fs";

/** Hexadecimal digits, or a byte sequence (in hexadecimal digits) a number of times. */
export type BytePart = string | { repeat: string; times: number };

/** A text, or a piece of text a number of times. */
export type Text = string | { repeat: string; times: number };

export interface FrameVector {
  name: string;
  rule: string;
  bytes: BytePart[];
  events: ({ payload: string } | { payloadParts: BytePart[] } | { damaged: string })[];
  damagedFrames: number;
  /** What else is reported when a sound frame follows at once. */
  whenFollowed?: { damaged: string }[];
  /** An encoder makes exactly these bytes of the payload's JSON. */
  canonical?: true;
}

export interface Received {
  /** The payload of a sound frame, as JSON. */
  receives?: unknown;
  /** Bytes as they are, in hexadecimal digits. */
  receivesBytes?: string;
  /** The payloads of what is written in answer; an error's message may be any. */
  replies: unknown[];
  events: string[];
}

export interface Done {
  does: "hello" | { request: string; params: unknown };
  /** The payload of what is written. */
  writes: unknown;
}

export interface SessionVector {
  name: string;
  rule: string;
  tested: "guest" | "opener";
  opener: "host" | "local";
  steps: (Received | Done)[];
}

export interface ValueVectors {
  allowedKeys: { name: string; key: Text }[];
  refusedKeys: { name: string; key: Text; problem: string }[];
  lines: { name: string; key: string; value?: string; base64?: string; line: string; bytes: number }[];
  base64: { name: string; base64: string; becomes: { value: string } | { base64: string } }[];
  entries: { name: string; entry: Record<string, unknown>; allowed: boolean }[];
}

export type MessageVector = { name: string; payload: Record<string, unknown> } & (
  | { kind: "request" | "result" | "notification"; method: string }
  | { kind: "error"; code: string }
);

export interface CacheStep {
  atMs: number;
  by: "host" | "guest";
  method: "set" | "get" | "list" | "delete" | "clear" | "expire" | "changes";
  params: Record<string, unknown>;
  mayChangePrefix?: string;
  quota?: number;
  /** Members that the answer has, at least. */
  result?: Record<string, unknown>;
  error?: Record<string, unknown>;
}

export interface CacheVector {
  name: string;
  rule: string;
  limit: number;
  steps: CacheStep[];
}

export const frameVectors = load<FrameVector[]>("frame");
export const sessionVectors = load<SessionVector[]>("session");
export const valueVectors = load<ValueVectors>("values");
export const messageVectors = load<MessageVector[]>("messages");
export const cacheVectors = load<CacheVector[]>("cache");

/** All of them as the document names them: `frame/cut-short`. */
export const vectorNames: string[] = [
  ...frameVectors.map(({ name }) => `frame/${name}`),
  ...sessionVectors.map(({ name }) => `session/${name}`),
  ...Object.values(valueVectors).flatMap((group: { name: string }[]) => group.map(({ name }) => `values/${name}`)),
  ...messageVectors.map(({ name }) => `messages/${name}`),
  ...cacheVectors.map(({ name }) => `cache/${name}`),
];

export function bytesOf(parts: readonly BytePart[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      return typeof part === "string" ? Buffer.from(part, "hex") : Buffer.from(part.repeat.repeat(part.times), "hex");
    }),
  );
}

export function textOf(text: Text): string {
  return typeof text === "string" ? text : text.repeat.repeat(text.times);
}

/** Writes out the shorthand for long texts wherever it stands. */
export function writtenOut(value: unknown): unknown {
  if (isLongText(value)) return textOf(value);
  if (Array.isArray(value)) return value.map(writtenOut);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, writtenOut(member)]));
}

function isLongText(value: unknown): value is { repeat: string; times: number } {
  return typeof value === "object" && value !== null && "repeat" in value && "times" in value;
}

// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller knows the file's form
function load<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`${name}.json`, import.meta.url), "utf8")) as T;
}
