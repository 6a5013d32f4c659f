/** Byte sequences to be afraid of: random ones, sound frames spoilt in every way, and sound frames around wrong JSON. */
import { crc32 } from "node:zlib";
import { MAX_PAYLOAD } from "../../shared/protocol/limits.ts";
import { messageVectors, sessionVectors } from "../vectors/load.ts";
import type { Random } from "./random.ts";

/** The bytes that mean something to a decoder, so that random ones get somewhere. */
const MEANINGFUL_BYTES = [...Buffer.from('\u001e\u001e\n 0a9f{}[]":,\\')];

/** What stands in the place of a name or a value. */
const WRONG_JSON = [
  ...["null", "true", "0", "-1", "1.5", "1e999", "9007199254740993", '""', "[]", "{}", "[[]]", '"\\u0000"'],
  ...['"__proto__"', '"constructor"', '{"__proto__":{"a":1}}', '"\\ud800"', '" "', '"a=b"', '"h1111111111111111.2"'],
  ...['"1111111111111111"', '"guest"', '"error"', "[1,2,3]", `"${"x".repeat(300)}"`, "[".repeat(50), "nul", "'a'", ""],
];

/** A string, a number or a word of JSON, names of members too. */
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null/g;

interface Sample {
  text: string;
  tokens: { start: number; end: number }[];
}

/** Longer ones cost time and hold nothing that the others do not. */
const MAX_SAMPLE = 400;

const texts = new Set(
  payloads()
    .map((payload) => JSON.stringify(payload))
    .filter(({ length }) => length <= MAX_SAMPLE),
);

const samples: Sample[] = [...texts].map((text) => {
  const tokens = [...text.matchAll(TOKEN)].map(({ 0: token, index }) => ({ start: index, end: index + token.length }));
  return { text, tokens };
});

function payloads(): unknown[] {
  const inSessions = sessionVectors.flatMap(({ steps }) => {
    return steps.flatMap((step) => {
      if ("does" in step) return [step.writes];
      return step.receives === undefined ? [] : [step.receives];
    });
  });
  return [...messageVectors.map(({ payload }) => payload), ...inSessions];
}

type Make = (random: Random) => Buffer;

/** More of the short and cheap ones; the others come in tens of thousands all the same. */
const kinds: Make[] = [
  ...[randomBytes, randomBytes, randomBytes, meaningfulBytes, meaningfulBytes, meaningfulBytes, meaningfulBytes],
  ...[flipped, flipped, truncated, truncated, truncated, doubled, spliced, spliced],
  ...[soundFrame, wrongFrame, wrongFrame, batch, withLongGap],
];

/** Once in this many, one that is about as large as a frame may be. */
const LARGE_ONE_IN = 10_000;

export function sequence(random: Random): Buffer {
  if (random.isOneIn(LARGE_ONE_IN)) return large(random);
  return random.pick(kinds)(random);
}

function frameOf(text: string): Buffer {
  const payload = Buffer.from(text);
  const checksum = crc32(payload).toString(16).padStart(8, "0");
  return Buffer.concat([Buffer.from(`\u001e${checksum} `), payload, Buffer.from("\n")]);
}

function randomBytes(random: Random): Buffer {
  return Buffer.from(Array.from({ length: random.below(24) }, () => random.below(256)));
}

function meaningfulBytes(random: Random): Buffer {
  return Buffer.from(Array.from({ length: random.below(24) }, () => random.pick(MEANINGFUL_BYTES)));
}

function soundFrame(random: Random): Buffer {
  return frameOf(random.pick(samples).text);
}

/** A sound frame around JSON in which names and values are of the wrong kind, or which is no JSON any more. */
function wrongFrame(random: Random): Buffer {
  const { text, tokens } = random.pick(samples);
  let wrong = "";
  let copiedTo = 0;
  for (const { start, end } of tokens) {
    if (!random.isOneIn(tokens.length)) continue;
    wrong += text.slice(copiedTo, start) + random.pick(WRONG_JSON);
    copiedTo = end;
  }
  return frameOf(wrong + text.slice(copiedTo));
}

function flipped(random: Random): Buffer {
  const frame = soundFrame(random);
  for (let count = 1 + random.below(3); count > 0; count -= 1) {
    const at = random.below(frame.length);
    frame[at] = (frame[at] ?? 0) ^ (1 << random.below(8));
  }
  return frame;
}

function truncated(random: Random): Buffer {
  const frame = soundFrame(random);
  return frame.subarray(0, random.below(frame.length));
}

function doubled(random: Random): Buffer {
  const frame = soundFrame(random);
  const from = random.below(frame.length);
  return Buffer.concat([frame.subarray(0, from + random.below(frame.length - from)), frame.subarray(from)]);
}

function spliced(random: Random): Buffer {
  const [head, tail] = [soundFrame(random), soundFrame(random)];
  return Buffer.concat([head.subarray(0, random.below(head.length)), tail.subarray(random.below(tail.length))]);
}

function batch(random: Random): Buffer {
  const members = Array.from({ length: random.below(3) }, () => random.pick(samples).text);
  return frameOf(`[${members.join(",")}]`);
}

function withLongGap(random: Random): Buffer {
  return Buffer.concat([Buffer.alloc(random.below(40), random.pick([0x0a, 0x20, 0x61])), soundFrame(random)]);
}

function large(random: Random): Buffer {
  const length = MAX_PAYLOAD - 20 + random.below(40);
  if (random.isOneIn(2)) return Buffer.concat([Buffer.of(0x1e), Buffer.alloc(length, "a"), randomBytes(random)]);
  return frameOf(`"${"é".repeat((length - 2) >> 1)}"`);
}
