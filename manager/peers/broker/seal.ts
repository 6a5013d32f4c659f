/**
 * Envelopes in which managers' messages cross a broker that others use too: AES-256-GCM (NIST SP 800-38D), so that whoever
 * has no key reads nothing and makes nothing. In the clear, before the encrypted JSON of `sealedMessage` and the tag:
 *
 *     magic "vmp" · version (1 byte) · fingerprint of the key (8) · the sender's id (16) · nonce (12)
 *
 * This header and the routing key are authenticated with the rest: an envelope is of no use under another routing key. What
 * is not hidden: who sends to which VM or manager by its id, when, and how much. A copy of an envelope can be opened again
 * as long as its key is used: whoever acts on messages knows by their ids what was there before.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { type SealedMessage, sealedMessage } from "../wire.ts";
import type { PeerKey } from "./peer-key.ts";

const MAGIC = Buffer.from("vmp");
const VERSION = 1;

const VERSION_AT = MAGIC.length;
const FINGERPRINT_AT = VERSION_AT + 1;
const SENDER_AT = FINGERPRINT_AT + 8;
const NONCE_AT = SENDER_AT + 16;
/** SP 800-38D, section 8.2: of 96 bits, and never the same twice under one key. */
const NONCE_BYTES = 12;
const HEADER_BYTES = NONCE_AT + NONCE_BYTES;
const TAG_BYTES = 16;

/**
 * Four times the largest body of a request: an answer may hold what several requests have put. RabbitMQ takes 16 MiB and
 * more, unless its `max_message_size` says otherwise.
 */
export const MAX_ENVELOPE_BYTES = 8 * 1024 * 1024;

/**
 * SP 800-38D, section 8.3, allows 2^32 under one key where nonces may be random. Ours are 96 bits and counted (8.2.1), which it
 * leaves to the length of the counter; this is shorter, and 34 years of one start of a manager at a thousand a second.
 */
const MAX_SEALED = 2 ** 40;

/** Managers whose keys are kept. More can talk to us; each of their messages takes some microseconds more. Not measured. */
const MAX_SENDERS = 1_024;

export type Sealed = { type: "sealed"; envelope: Buffer } | { type: "refused"; reason: string };

/** `not-ours`: no envelope at all. `damaged`: changed, or for another routing key. `malformed`: sealed by who has the key. */
export type RefusalReason = "not-ours" | "too-large" | "other-version" | "damaged" | "malformed";

export type Opened =
  | { type: "opened"; sealed: SealedMessage }
  /** @see PeerKey.fingerprint */
  | { type: "other-key"; fingerprint: string }
  | { type: "refused"; reason: RefusalReason };

/** Of one start of a manager: its nonces count from 0. */
export class Sealer {
  readonly #header: Buffer;
  readonly #key: Uint8Array;
  #sealed: number;

  /**
   * @param senderId 32 hexadecimal digits, for one Sealer alone
   * @param sealedBefore how many nonces are used up already
   */
  constructor(key: PeerKey, senderId: string, sealedBefore = 0) {
    const sender = Buffer.from(senderId, "hex");
    const fingerprint = Buffer.from(key.fingerprint, "hex");
    this.#header = Buffer.concat([MAGIC, Buffer.of(VERSION), fingerprint, sender, Buffer.alloc(NONCE_BYTES)]);
    this.#key = key.envelopeKeyOf(sender);
    this.#sealed = sealedBefore;
  }

  seal(message: SealedMessage, routingKey: string): Sealed {
    const plaintext = Buffer.from(JSON.stringify(message));
    const size = HEADER_BYTES + plaintext.length + TAG_BYTES;
    if (size > MAX_ENVELOPE_BYTES) {
      return { type: "refused", reason: `it has ${size} bytes, and other managers take ${MAX_ENVELOPE_BYTES}` };
    }
    if (this.#sealed >= MAX_SEALED) {
      return { type: "refused", reason: "this manager has sent what may be sent under one key; it needs a restart" };
    }
    return { type: "sealed", envelope: this.#encrypted(plaintext, this.#nextHeader(), routingKey) };
  }

  #nextHeader(): Buffer {
    const header = Buffer.from(this.#header);
    header.writeUIntBE(this.#sealed, HEADER_BYTES - 6, 6);
    this.#sealed += 1;
    return header;
  }

  #encrypted(plaintext: Buffer, header: Buffer, routingKey: string): Buffer {
    const cipher = createCipheriv("aes-256-gcm", this.#key, header.subarray(NONCE_AT));
    cipher.setAAD(authenticated(header, routingKey));
    return Buffer.concat([header, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }
}

/** Of everybody who has the key. Never throws, whatever it is given. */
export class Opener {
  readonly #key: PeerKey;
  /** By the sender's id, those used last at the end. Only of those who have proved to have the key. */
  readonly #envelopeKeys = new Map<string, Uint8Array>();

  constructor(key: PeerKey) {
    this.#key = key;
  }

  open(envelope: Buffer, routingKey: string): Opened {
    const header = this.#headerOf(envelope);
    switch (header.type) {
      case "other-key":
      case "refused":
        return header;
      case "header":
        return this.#openFrom(header.sender, envelope, routingKey);
      default:
        return unreachable(header);
    }
  }

  #headerOf(envelope: Buffer): Exclude<Opened, { type: "opened" }> | { type: "header"; sender: string } {
    const isOurs = envelope.subarray(0, MAGIC.length).equals(MAGIC) && envelope.length >= HEADER_BYTES + TAG_BYTES;
    if (!isOurs) return { type: "refused", reason: "not-ours" };
    if (envelope.length > MAX_ENVELOPE_BYTES) return { type: "refused", reason: "too-large" };
    if (envelope.readUInt8(VERSION_AT) !== VERSION) return { type: "refused", reason: "other-version" };
    const fingerprint = envelope.toString("hex", FINGERPRINT_AT, SENDER_AT);
    if (fingerprint !== this.#key.fingerprint) return { type: "other-key", fingerprint };
    return { type: "header", sender: envelope.toString("hex", SENDER_AT, NONCE_AT) };
  }

  #openFrom(sender: string, envelope: Buffer, routingKey: string): Opened {
    const key = this.#envelopeKeys.get(sender) ?? this.#key.envelopeKeyOf(Buffer.from(sender, "hex"));
    const plaintext = decrypted(envelope, key, routingKey);
    if (plaintext === undefined) return { type: "refused", reason: "damaged" };
    this.#remember(sender, key);
    const sealed = read(plaintext);
    if (sealed?.from.id !== sender) return { type: "refused", reason: "malformed" };
    return { type: "opened", sealed };
  }

  #remember(sender: string, key: Uint8Array): void {
    this.#envelopeKeys.delete(sender);
    this.#envelopeKeys.set(sender, key);
    if (this.#envelopeKeys.size <= MAX_SENDERS) return;
    const [oldest = ""] = this.#envelopeKeys.keys();
    this.#envelopeKeys.delete(oldest);
  }
}

/** Undefined unless it was sealed with the key, for the routing key, and is as it was. */
function decrypted(envelope: Buffer, key: Uint8Array, routingKey: string): Buffer | undefined {
  const header = envelope.subarray(0, HEADER_BYTES);
  const tagAt = envelope.length - TAG_BYTES;
  const nonce = header.subarray(NONCE_AT);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(authenticated(header, routingKey)).setAuthTag(envelope.subarray(tagAt));
  try {
    return Buffer.concat([decipher.update(envelope.subarray(HEADER_BYTES, tagAt)), decipher.final()]);
  } catch {
    return undefined;
  }
}

/** The header's length is fixed, so no two pairs give the same bytes. */
function authenticated(header: Buffer, routingKey: string): Buffer {
  return Buffer.concat([header, Buffer.from(routingKey)]);
}

function read(plaintext: Buffer): SealedMessage | undefined {
  try {
    return sealedMessage.safeParse(JSON.parse(plaintext.toString("utf8"))).data;
  } catch {
    return undefined;
  }
}
