import fc from "fast-check";
import { expect, it } from "vitest";
import { newSyncId, SyncAnswer, syncRequest } from "../../../../../manager/monitor/guest-agent/sync-answer.ts";

const ID = 0x1234_5678_9abc;
const ANSWER = answer(ID);

function answer(id: unknown): Buffer {
  return delimited(`{"return": ${JSON.stringify(id)}}\n`);
}

function delimited(text: string): Buffer {
  return Buffer.concat([Buffer.of(0xff), Buffer.from(text)]);
}

function isAnswer(...pieces: Uint8Array[]): boolean {
  const answer = new SyncAnswer(ID);
  return pieces.some((piece) => answer.take(piece));
}

it("the question ends what was half asked, and has the number", () => {
  expect(syncRequest(7)).toEqual(delimited('{"execute":"guest-sync-delimited","arguments":{"id":7}}\n'));
});

it("numbers differ, and every JSON reader has them exactly", () => {
  const ids = Array.from({ length: 100 }, newSyncId);
  expect(new Set(ids).size).toBe(100);
  expect(ids.every((id) => Number.isSafeInteger(id) && id >= 0)).toBe(true);
});

it.each<[string, Buffer[]]>([
  ["alone", [ANSWER]],
  ["after the rest of an answer to somebody else", [Buffer.from('rn": {}}\n'), ANSWER]],
  [
    "after an answer to a question that was half asked",
    [Buffer.from('{"error": {"class": "GenericError"}}\n'), ANSWER],
  ],
  ["after an answer to an earlier ping", [answer(ID - 1), ANSWER]],
  ["after an answer that was cut off", [delimited('{"retu'), ANSWER]],
  ["after a line that does not end", [delimited("x".repeat(100_000)), ANSWER]],
  ["with more behind it", [Buffer.concat([ANSWER, Buffer.from('{"return": {}}\n')])]],
  ["and a carriage return", [delimited(`{"return": ${ID}}\r\n`)]],
  ["with two marks", [Buffer.concat([Buffer.of(0xff), ANSWER])]],
])("the answer is found %s", (_, pieces) => {
  expect(isAnswer(...pieces)).toBe(true);
});

it.each<[string, Buffer]>([
  ["another number", answer(ID + 1)],
  ["the number as text", answer(String(ID))],
  ["the number without the mark", ANSWER.subarray(1)],
  ["the number in an error", delimited(`{"error": ${ID}}\n`)],
  ["the number in a line that is too long", delimited(`${" ".repeat(2_000)}{"return": ${ID}}\n`)],
  ["the number in the next line", delimited(`{}\n{"return": ${ID}}\n`)],
  ["a line that has no end yet", ANSWER.subarray(0, -1)],
  ["no object", delimited("null\n")],
  ["no JSON", delimited(`{"return": ${ID}\n`)],
])("%s is no answer", (_, bytes) => {
  expect(isAnswer(bytes)).toBe(false);
});

it("the answer is found however it is cut and whatever came before, and nothing else is one", () => {
  const noise = fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(noise, fc.boolean(), fc.array(fc.integer({ min: 0, max: 100 })), (before, isThere, cuts) => {
      const bytes = isThere ? Buffer.concat([before, ANSWER]) : before;
      const ends = [...cuts.filter((cut) => cut < bytes.length), bytes.length].sort((a, b) => a - b);
      const pieces = ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
      expect(isAnswer(...pieces)).toBe(isThere);
    }),
  );
});
