import { PassThrough } from "node:stream";
import { expect, it } from "vitest";
import { sentences, shownValue, Transcript } from "../../../host-cli/transcript.ts";
import { Output } from "../../../shared/cli/output.ts";
import type { WireEntry } from "../../../shared/protocol/message.ts";
import { version } from "../../../shared/version.ts";

const entry: WireEntry = { key: "k", value: "v", setBy: "guest", setAt: "2026-01-01T00:00:00Z", ageMs: 0, revision: 1 };

function told(style: "transcript" | "quiet" | "json", ...lines: string[]): string {
  const stdout = new PassThrough();
  new Transcript(new Output("vmmessage", { stdout, stderr: new PassThrough() }), style).say(...lines);
  return String(stdout.read() ?? "");
}

it("the sentences are those of ovm_vmmessage", () => {
  expect([
    sentences.banner,
    sentences.connected,
    sentences.status("ol6u3apitest", "Running"),
    sentences.sending,
    sentences.sent,
    sentences.querying("newkey"),
    sentences.querySuccessful,
    sentences.returned("newkey", { ...entry, value: "newvalue" }),
    sentences.age({ ...entry, ageMs: 125_000 }),
  ]).toEqual([
    `vmmessage ${version}.`,
    "Connected.",
    "VM : 'ol6u3apitest' has status :  Running.",
    "Sending message.",
    "Message sent successfully.",
    "Querying for key 'newkey'.",
    "Query successful.",
    "Query for Key : 'newkey' returned value 'newvalue'.",
    "Key set 2 minutes ago.",
  ]);
});

it.each([
  [0, "Key set 0 seconds ago."],
  [1_999, "Key set 1 second ago."],
  [60_000, "Key set 1 minute ago."],
  [7_200_000, "Key set 2 hours ago."],
  [Number.MAX_SAFE_INTEGER, "Key set 104249991 days ago."],
])("an age of %i ms reads '%s'", (ageMs, sentence) => {
  expect(sentences.age({ ...entry, ageMs })).toBe(sentence);
});

it("the story is told in the transcript's style only", () => {
  expect(told("transcript", "a", "b")).toBe("a\nb\n");
  expect(told("quiet", "a")).toBe("");
  expect(told("json", "a")).toBe("");
});

it("what a terminal would obey is escaped", () => {
  expect(told("transcript", sentences.returned("k", { ...entry, value: "\u001b[2J\n\u202e" }))).toBe(
    "Query for Key : 'k' returned value '\\u001b[2J\\u000a\\u202e'.\n",
  );
});

it.each<[string, Pick<WireEntry, "value" | "base64">, string]>([
  ["text", { value: "größe" }, "größe"],
  ["bytes that are text", { base64: "aGk=" }, "hi"],
  ["bytes that are not", { base64: "//4=" }, "base64://4="],
])("a value that is %s is shown", (_, value, shown) => {
  expect(shownValue(value)).toBe(shown);
});
