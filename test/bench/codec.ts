/**
 * Encoding and decoding of messages against JSON alone: the throughput of a frame's round trip as a share of
 * `JSON.parse(Buffer.from(JSON.stringify(m)).toString())`, the least that any sender and receiver of JSON do.
 */
import { encodeFrame, FrameDecoder } from "../../shared/protocol/frame.ts";
import { parseMessage, requests } from "../../shared/protocol/message.ts";
import type { Figure } from "./figure.ts";
import { median } from "./statistics.ts";

/** Rounds alternate, so that what else the machine does hits both sides alike. */
const ROUNDS = 3000;
const WARM_UP_ROUNDS = 1000;
/** Short beside the scheduler's slices: most rounds are not interrupted. */
const ROUND_MS = 0.1;

const messages = {
  small: setOf("frontend"),
  "4kib": setOf("The quick brown fox jumps over the lazy dog. ".repeat(91)),
};

export async function codecFigures(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [size, message] of Object.entries(messages)) {
    figures.push({
      name: `codec.frame_ratio.${size}`,
      unit: "x",
      ours: await throughputRatio(() => frameRoundTrip(message), message),
      goal: ">= 0.6",
    });
    figures.push({
      name: `codec.schema_ratio.${size}`,
      unit: "x",
      ours: await throughputRatio(() => checkedRoundTrip(message), message),
    });
  }
  return figures;
}

function setOf(value: string): object {
  const params = { messageId: "8d0f1c1e", entries: [{ key: "com.example.role", value }] };
  return { jsonrpc: "2.0", id: "h1111111111111111.2", method: "set", params };
}

const decoder = new FrameDecoder();

function frameRoundTrip(message: object): { params: unknown } {
  const [event] = decoder.push(encodeFrame(message));
  if (event?.type !== "payload") throw new Error("the frame did not arrive");
  const parsed = parseMessage(event.text);
  if (parsed.type !== "request") throw new Error("the message did not arrive");
  return parsed;
}

function checkedRoundTrip(message: object): unknown {
  const checked = requests.set.params.safeParse(frameRoundTrip(message).params);
  if (!checked.success) throw new Error("the message is not sound");
  return checked.data;
}

function jsonRoundTrip(message: object): unknown {
  return JSON.parse(Buffer.from(JSON.stringify(message)).toString());
}

async function throughputRatio(ours: () => unknown, message: object): Promise<number> {
  const theirs = (): unknown => jsonRoundTrip(message);
  for (let round = 0; round < WARM_UP_ROUNDS; round += 1) ratioOfRound(ours, theirs, 10);
  const repetitions = Math.max(1, Math.round((1000 * ROUND_MS) / msOf(theirs, 1000)));
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    ratios.push(ratioOfRound(ours, theirs, repetitions));
    if (round % 500 === 0) await new Promise(setImmediate);
  }
  return median(ratios);
}

/** Ours before theirs and after, so that neither gains from its place. */
function ratioOfRound(ours: () => unknown, theirs: () => unknown, repetitions: number): number {
  const before = msOf(ours, repetitions);
  const between = msOf(theirs, 2 * repetitions);
  return between / (before + msOf(ours, repetitions));
}

function msOf(work: () => unknown, repetitions: number): number {
  const startedAt = performance.now();
  for (let count = 0; count < repetitions; count += 1) work();
  return performance.now() - startedAt;
}
