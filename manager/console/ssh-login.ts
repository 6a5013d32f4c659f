/** Who logs in on a connection: RFC 4252's `publickey` and `password`, answered by the manager's authenticator. */
import ssh2, { type AuthContext, type ParsedKey, type PublicKeyAuthContext } from "ssh2";
import { CommandError } from "../../shared/cli/failure.ts";
import { type Authenticator, AuthenticationError } from "../access/authenticator.ts";
import type { Principal } from "../access/principal.ts";

/** Wrong passwords and keys that a connection may try. */
const MAX_FAILED_ATTEMPTS = 3;

/** Keys that a client may ask about before it signs with one; a client asks about each key once. */
const MAX_OFFERS = 16;

/** `offer-taken`: the client may sign with that key. `over`: the connection ends. */
export type Decision =
  { type: "accepted"; who: Principal } | { type: "offer-taken" } | { type: "refused" } | { type: "over" };

export class Login {
  readonly #authenticator: Authenticator;
  readonly #via: string;
  #failedAttempts = 0;
  #offers = 0;

  constructor(authenticator: Authenticator, via: string) {
    this.#authenticator = authenticator;
    this.#via = via;
  }

  /** Rejects with what is no refusal: a bug, or a store that cannot be read. */
  async decide(context: AuthContext): Promise<Decision> {
    switch (context.method) {
      case "password":
        // an object when the client wants to change it
        if (typeof context.password !== "string") return { type: "refused" };
        return this.#attempt({ user: context.username, password: context.password });
      case "publickey":
        return context.signature === undefined ? this.#takeOffer(context) : this.#attemptKey(context);
      case "none":
      case "hostbased":
      case "keyboard-interactive":
        return { type: "refused" };
    }
  }

  /**
   * Any key is taken, and the authenticator is not asked: public keys are public, so nobody learns whose this is, and no
   * login is noted, before the client shows that it has the private one.
   */
  #takeOffer(context: PublicKeyAuthContext): Decision {
    this.#offers += 1;
    if (this.#offers > MAX_OFFERS) return { type: "over" };
    return { type: readKey(context) === undefined ? "refused" : "offer-taken" };
  }

  async #attemptKey(context: PublicKeyAuthContext): Promise<Decision> {
    if (!isSigned(context)) return this.#fail();
    return this.#attempt({ user: context.username, key: opensshForm(context) });
  }

  async #attempt(credentials: { user: string } & ({ password: string } | { key: string })): Promise<Decision> {
    try {
      const who =
        "key" in credentials
          ? await this.#authenticator.byPublicKey(credentials, this.#via)
          : await this.#authenticator.byPassword(credentials, this.#via);
      return { type: "accepted", who };
    } catch (error) {
      if (!(error instanceof CommandError) || error.code !== "not-permitted") throw error;
      return error instanceof AuthenticationError ? this.#fail() : { type: "over" };
    }
  }

  #fail(): Decision {
    this.#failedAttempts += 1;
    return { type: this.#failedAttempts < MAX_FAILED_ATTEMPTS ? "refused" : "over" };
  }
}

function isSigned(context: PublicKeyAuthContext): boolean {
  const { blob, signature, hashAlgo } = context;
  if (blob === undefined || signature === undefined) return false;
  // An Error when the signature cannot be read.
  return Object.is(readKey(context)?.verify(blob, signature, hashAlgo), true);
}

/** Undefined for a kind that ssh2 does not know (certificates, FIDO keys) and for signatures with SHA-1. */
function readKey(context: PublicKeyAuthContext): ParsedKey | undefined {
  const { algo } = context.key;
  if (algo === "ssh-dss" || (algo === "ssh-rsa" && context.hashAlgo === undefined)) return undefined;
  const key = ssh2.utils.parseKey(opensshForm(context));
  return key instanceof Error || key.type !== algo ? undefined : key;
}

function opensshForm({ key: { algo, data } }: PublicKeyAuthContext): string {
  return `${algo} ${data.toString("base64")}`;
}
