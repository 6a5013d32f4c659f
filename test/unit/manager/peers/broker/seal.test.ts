import fc from "fast-check";
import { createCipheriv } from "node:crypto";
import { describe, expect, it } from "vitest";
import { PeerKey } from "../../../../../manager/peers/broker/peer-key.ts";
import { MAX_ENVELOPE_BYTES, Opener, Sealer } from "../../../../../manager/peers/broker/seal.ts";
import type { SealedMessage } from "../../../../../manager/peers/wire.ts";
import { MAX_BODY_BYTES } from "../../../../../shared/api/endpoints.ts";

const HEADER_BYTES = 40;
const key = new PeerKey(Buffer.alloc(32, 7));
const otherKey = new PeerKey(Buffer.alloc(32, 8));
const host = "alpha.example";
const ada = "ada0".repeat(8);
const bob = "b0b0".repeat(8);
const routingKey = "vm.172dd6f8-7d36-44ef-9a03-3b342034aaa0";
const secret = "hunter2 \u00e9\u{1f600}\ud800";
const message: SealedMessage = {
  from: { id: ada, host },
  sentAt: 1_795_218_690_123,
  message: { type: "answer", of: "c".repeat(32), answer: { secret, list: [1, null, {}] } },
};

describe("an envelope", () => {
  it("gives what was put in to who has the key, and shows nothing of it to others", () => {
    const envelope = sealed(new Sealer(key, ada));
    expect(new Opener(key).open(envelope, routingKey)).toEqual({ type: "opened", sealed: message });
    for (const hidden of ["hunter2", host, "answer", "sentAt"]) expect(envelope.includes(hidden)).toBe(false);
  });

  it("shows version, key and sender, and counts, so that no two are sealed alike", () => {
    const sealer = new Sealer(key, ada);
    const headers = [sealed(sealer), sealed(sealer)].map((envelope) => envelope.toString("hex", 0, HEADER_BYTES));
    const shown = `${Buffer.from("vmp").toString("hex")}01${key.fingerprint}${ada}`;
    expect(headers).toEqual([`${shown}${"0".repeat(24)}`, `${shown}${"0".repeat(23)}1`]);
  });

  it("is opened as often as it is copied: who acts on messages knows them by their ids", () => {
    const opener = new Opener(key);
    const envelope = sealed(new Sealer(key, ada));
    expect([1, 2].map(() => opener.open(envelope, routingKey).type)).toEqual(["opened", "opened"]);
  });

  it("of another key is told with that key's fingerprint", () => {
    const opened = new Opener(key).open(sealed(new Sealer(otherKey, ada)), routingKey);
    expect(opened).toEqual({ type: "other-key", fingerprint: otherKey.fingerprint });
  });

  it("for one routing key is of no use under another", () => {
    const envelope = sealed(new Sealer(key, ada));
    for (const elsewhere of ["managers", "", `${routingKey}0`, routingKey.slice(1)]) {
      expect(new Opener(key).open(envelope, elsewhere)).toEqual({ type: "refused", reason: "damaged" });
    }
  });

  it("is refused when any bit of it was changed, and when it was cut anywhere", () => {
    const opener = new Opener(key);
    const envelope = sealed(new Sealer(key, ada));
    expect(opener.open(envelope, routingKey).type).toBe("opened");
    for (let bit = 0; bit < envelope.length * 8; bit += 1) {
      const changed = Buffer.from(envelope);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(opener.open(changed, routingKey).type).not.toBe("opened");
    }
    for (let length = 0; length < envelope.length; length += 1) {
      expect(opener.open(envelope.subarray(0, length), routingKey).type).toBe("refused");
    }
    expect(opener.open(Buffer.concat([envelope, Buffer.of(0)]), routingKey)).toMatchObject({ reason: "damaged" });
  });

  it("of a later version is told as such", () => {
    const envelope = sealed(new Sealer(key, ada));
    envelope.writeUInt8(2, 3);
    expect(new Opener(key).open(envelope, routingKey)).toEqual({ type: "refused", reason: "other-version" });
  });

  it("is not believed when its sender says another name inside", () => {
    const inside = { ...message, from: { id: bob, host } };
    const opened = new Opener(key).open(sealed(new Sealer(key, ada), inside), routingKey);
    expect(opened).toEqual({ type: "refused", reason: "malformed" });
  });

  it.each(["", "{", "[]", '{"from":1}', "[".repeat(100_000), JSON.stringify({ ...message, message: { type: "x" } })])(
    "is refused when what is in it is no message (%#)",
    (plaintext) => {
      const opened = new Opener(key).open(sealedByHand(Buffer.from(plaintext)), routingKey);
      expect(opened).toEqual({ type: "refused", reason: "malformed" });
    },
  );

  it("opens when made by hand of a message's JSON", () => {
    const opened = new Opener(key).open(sealedByHand(Buffer.from(JSON.stringify(message))), routingKey);
    expect(opened.type).toBe("opened");
  });

  it("has room for the largest body of a request, and not for much more than it may hold", () => {
    const sealer = new Sealer(key, ada);
    const body = "\u2028".repeat(MAX_BODY_BYTES / 3);
    const large = sealed(sealer, answering({ body }));
    expect(new Opener(key).open(large, routingKey)).toMatchObject({ type: "opened" });
    const tooLarge = sealer.seal(answering({ body: "x".repeat(MAX_ENVELOPE_BYTES) }), routingKey);
    expect(tooLarge).toMatchObject({ type: "refused", reason: expect.stringContaining("8388608") as unknown });
    const padded = Buffer.concat([large, Buffer.alloc(MAX_ENVELOPE_BYTES)]);
    expect(new Opener(key).open(padded, routingKey)).toEqual({ type: "refused", reason: "too-large" });
  });

  it("is sealed 2^40 times under one key, and then no more", () => {
    const sealer = new Sealer(key, ada, 2 ** 40 - 1);
    const last = sealed(sealer);
    expect(last.toString("hex", 28, HEADER_BYTES)).toBe("00000000000000ffffffffff");
    expect(new Opener(key).open(last, routingKey).type).toBe("opened");
    expect(sealer.seal(message, routingKey)).toMatchObject({ type: "refused" });
  });

  it("is opened whoever else has sent meanwhile, with and without the key", () => {
    const opener = new Opener(key);
    const envelope = sealed(new Sealer(key, ada));
    for (let sender = 0; sender < 1_100; sender += 1) {
      const id = sender.toString(16).padStart(32, "0");
      const theirs = sealed(new Sealer(key, id), { ...message, from: { id, host } });
      expect(opener.open(theirs, routingKey).type).toBe("opened");
      expect(opener.open(Buffer.concat([theirs.subarray(0, 60), envelope]), routingKey).type).toBe("refused");
    }
    expect(opener.open(envelope, routingKey).type).toBe("opened");
  });
});

it("bytes of anybody's are refused without throwing", () => {
  const opener = new Opener(key);
  const start = sealed(new Sealer(key, ada));
  const bytes = fc.tuple(fc.nat(60), fc.uint8Array({ maxLength: 200 }));
  fc.assert(
    fc.property(bytes, fc.string(), ([kept, rest], under) => {
      const opened = opener.open(Buffer.concat([start.subarray(0, kept), rest]), under);
      expect(opened.type).not.toBe("opened");
    }),
  );
});

function answering(answer: unknown): SealedMessage {
  return { ...message, message: { type: "answer", of: "c".repeat(32), answer } };
}

function sealed(sealer: Sealer, what = message): Buffer {
  const result = sealer.seal(what, routingKey);
  if (result.type === "refused") throw new Error(result.reason);
  return result.envelope;
}

/** As the format's description has it. */
function sealedByHand(plaintext: Buffer): Buffer {
  const sender = Buffer.from(ada, "hex");
  const nonce = Buffer.alloc(12, 9);
  const header = Buffer.concat([Buffer.from("vmp\u0001"), Buffer.from(key.fingerprint, "hex"), sender, nonce]);
  const cipher = createCipheriv("aes-256-gcm", key.envelopeKeyOf(sender), nonce);
  cipher.setAAD(Buffer.concat([header, Buffer.from(routingKey)]));
  return Buffer.concat([header, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}
