/** Who a request is from. */
import { AuthenticationError, type Authenticator } from "../access/authenticator.ts";
import type { Principal } from "../access/principal.ts";

type Credentials = { type: "password"; user: string; password: string } | { type: "token"; token: string };

/** RFC 9110, section 11.4: a scheme and one token68. */
const AUTHORIZATION = /^([A-Za-z]+) +([A-Za-z0-9._~+/-]+=*) *$/;

/**
 * Credentials that are given are always checked, and wrong ones never fall back to the door's own principal. Rejects with
 * AuthenticationError or TooManyAttemptsError.
 *
 * @param doorPrincipal who a request without credentials is from; undefined where they are needed
 */
export async function principalOf(
  request: { authorization: string | undefined; via: string },
  doorPrincipal: Principal | undefined,
  authenticator: Authenticator,
): Promise<Principal> {
  const { authorization, via } = request;
  if (authorization === undefined) {
    if (doorPrincipal !== undefined) return doorPrincipal;
    throw new AuthenticationError("a user name and a password (Basic) or a token (Bearer) are needed here");
  }
  const credentials = credentialsIn(authorization);
  switch (credentials.type) {
    case "password":
      return authenticator.byPassword({ user: credentials.user, password: credentials.password }, via);
    case "token":
      return authenticator.byToken(credentials.token, via);
  }
}

function credentialsIn(authorization: string): Credentials {
  const [, scheme = "", token = ""] = AUTHORIZATION.exec(authorization) ?? [];
  switch (scheme.toLowerCase()) {
    case "basic":
      return passwordIn(token);
    case "bearer":
      return { type: "token", token };
    default:
      throw new AuthenticationError("the Authorization header is neither Basic nor Bearer with its credentials");
  }
}

/** RFC 7617, section 2: base64 of `USER:PASSWORD`, in UTF-8; a password can contain colons. */
function passwordIn(token: string): Credentials {
  const text = Buffer.from(token, "base64").toString();
  const colon = text.indexOf(":");
  if (colon === -1) throw new AuthenticationError("Basic credentials are base64 of USER:PASSWORD");
  return { type: "password", user: text.slice(0, colon), password: text.slice(colon + 1) };
}
