/** How doors find out who asks. Every attempt is checked against the stored users; failed ones are slowed down. */
import { CommandError } from "../../shared/cli/failure.ts";
import type { Principal } from "./principal.ts";

/** Wrong name, password, key or token, or one that has ended; which of them is not said. */
export class AuthenticationError extends CommandError {
  constructor(message = "wrong user name, password or token") {
    super("not-permitted", message);
  }
}

/** Too many failed attempts from there, or for that user. */
export class TooManyAttemptsError extends CommandError {
  readonly retryAfterMs: number;

  constructor(retryAfterMs: number) {
    const seconds = Math.ceil(retryAfterMs / 1000);
    super("not-permitted", `too many failed logins; try again in ${seconds} s`, { retryAfterMs });
    this.retryAfterMs = retryAfterMs;
  }
}

/** All reject with AuthenticationError or TooManyAttemptsError; failures and console logins are in the audit log. */
export interface Authenticator {
  /** @param via from where, as in {@link Principal.via}; failures are counted for each address and for each user */
  byPassword(credentials: { user: string; password: string }, via: string): Promise<Principal>;
  byToken(token: string, via: string): Promise<Principal>;
  /**
   * @param key in OpenSSH's form, `TYPE BASE64`; the caller has verified that the client has the private one
   */
  byPublicKey(credentials: { user: string; key: string }, via: string): Promise<Principal>;
}
