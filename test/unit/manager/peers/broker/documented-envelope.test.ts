import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PeerKey } from "../../../../../manager/peers/broker/peer-key.ts";
import { Opener, Sealer } from "../../../../../manager/peers/broker/seal.ts";
import { type SealedMessage, sealedMessage, wireMessage } from "../../../../../manager/peers/wire.ts";

const page = readFileSync(join(import.meta.dirname, "..", "..", "..", "..", "..", "docs", "peers.md"), "utf8");
const key = new PeerKey(Uint8Array.from({ length: 32 }, (_, index) => index));
const envelope = Buffer.from(block("envelope").replaceAll("\n", ""), "hex");
const plaintext: SealedMessage = sealedMessage.parse(JSON.parse(block("plaintext")));

function block(title: string): string {
  return new RegExp(`^\`\`\`\\w+ title=${title}\\n([^]*?)^\`\`\`$`, "m").exec(page)?.[1] ?? "";
}

test("the envelope in docs/peers.md opens, and is what its plaintext is sealed into", () => {
  expect(new Opener(key).open(envelope, "managers")).toEqual({ type: "opened", sealed: plaintext });
  const sealed = new Sealer(key, plaintext.from.id).seal(plaintext, "managers");
  expect(sealed).toEqual({ type: "sealed", envelope });
});

test("docs/peers.md has every message that managers send, and no other", () => {
  const types = wireMessage.def.options.map((option) => {
    return [...(option as { shape: { type: { def: { values: string[] } } } }).shape.type.def.values];
  });
  const [, table = ""] = /^\| type +\|.*\n\|[-| ]+\|\n((?:\|.*\n)+)/m.exec(page) ?? [];
  const documented = [...table.matchAll(/^\| `(\w+)` /gm)].map(([, type = ""]) => type);
  expect(documented.sort()).toEqual(types.flat().sort());
});
