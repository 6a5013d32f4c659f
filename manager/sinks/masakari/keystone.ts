/** Tokens from Keystone, by OpenStack's Identity API v3: one at a time, for whoever asks, until it has nearly expired. */
import * as z from "zod/mini";
import { unlessAborted } from "../../../shared/abort.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import type { KeystoneLogin, MasakariEndpoint } from "../endpoint.ts";
import { catalogue, masakariUrl, withoutSlash } from "./catalogue.ts";
import { address, type Answer, exchange, MAX_ANSWER_BYTES, wordsIn } from "./exchange.ts";

/** Keystone checks a password in well under a second. Not measured. */
const LOGIN_TIMEOUT_MS = 10_000;

/** A token is renewed when so much of its life is over, so that none expires on its way. */
const RENEWED_AFTER = 0.9;

/**
 * Keystone may lock a user out for many wrong passwords (its `[security_compliance] lockout_failure_attempts`). So it is asked
 * again after so long at first, and after twice as long each time that it refuses, up to the longest; all who ask meanwhile
 * are told what the last one was told. Not measured.
 */
const FIRST_PAUSE_MS = 10_000;
const LONGEST_PAUSE_MS = 600_000;

type Login = Exclude<KeystoneLogin, { method: "none" }>;

export interface KeystoneOptions extends Pick<MasakariEndpoint, "url" | "region" | "interface" | "ca"> {
  login: Login;
  /** Milliseconds since 1970. */
  now: () => number;
}

/** What one login gave. */
export interface Session {
  /** Undefined where none is wanted. */
  token: string | undefined;
  /** Masakari's, with the version. */
  url: string;
}

interface LentSession extends Session {
  renewAt: number;
}

const time = z.iso.datetime();
const tokenAnswer = z.object({
  token: z.object({ issued_at: time, expires_at: time, catalog: z.optional(catalogue) }),
});

/** A login that was refused, and for how long none is tried after it. */
interface Refusal {
  error: CommandError;
  at: number;
  pauseMs: number;
}

/** A refused login is tried again after 10 s, then after twice as long each time, up to 10 min; a success ends that. */
export class Keystone {
  readonly #options: KeystoneOptions;
  readonly #closing = new AbortController();
  #session: LentSession | undefined;
  #login: Promise<LentSession> | undefined;
  #refusal: Refusal | undefined;

  constructor(options: KeystoneOptions) {
    this.#options = options;
  }

  /** Rejects with CommandError, which tells no secret, or the signal's reason. */
  async session(signal: AbortSignal): Promise<Session> {
    const now = this.#options.now();
    if (this.#session !== undefined && now < this.#session.renewAt) return this.#session;
    if (this.#refusal !== undefined && isRecent(this.#refusal, now)) throw this.#refusal.error;
    this.#login ??= this.#logIn().finally(() => {
      this.#login = undefined;
    });
    return await unlessAborted(signal, this.#login);
  }

  /** Its token is taken no more: the next who asks gets another one. */
  drop(session: Session): void {
    if (this.#session === session) this.#session = undefined;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#login?.catch(() => undefined);
  }

  async #logIn(): Promise<LentSession> {
    const { login, ca } = this.#options;
    const url = `${withoutSlash(login.url)}/auth/tokens`;
    const body = { auth: authOf(login) };
    const request = { who: "Keystone", method: "POST", url, body, ca, timeoutMs: LOGIN_TIMEOUT_MS } as const;
    const answer = await exchange(request, this.#closing.signal);
    if (answer.status !== 201) throw this.#failure(answer);
    this.#refusal = undefined;
    this.#session = this.#sessionIn(answer);
    return this.#session;
  }

  /** How long it lives is counted by our clock, which may differ from Keystone's. */
  #sessionIn({ headers, body }: Answer): LentSession {
    const { region, interface: face, now } = this.#options;
    const token = headers["x-subject-token"];
    const { data } = tokenAnswer.safeParse(body);
    if (typeof token !== "string" || data === undefined) {
      throw this.#failed(`gave no token that we understand, with a catalogue of at most ${MAX_ANSWER_BYTES} bytes`);
    }
    const { issued_at: issuedAt, expires_at: expiresAt, catalog = [] } = data.token;
    const lifeMs = Date.parse(expiresAt) - Date.parse(issuedAt);
    const url = this.#options.url ?? masakariUrl(catalog, { region, interface: face });
    return { token, url: withoutSlash(url), renewAt: now() + RENEWED_AFTER * lifeMs };
  }

  #failure(answer: Answer): CommandError {
    const { login, now } = this.#options;
    const { status } = answer;
    if (status === 401) {
      const error = this.#failed(`refused ${whoIs(login)} (401)`, "not-permitted");
      const pauseMs = this.#refusal === undefined ? FIRST_PAUSE_MS : 2 * this.#refusal.pauseMs;
      this.#refusal = { error, at: now(), pauseMs: Math.min(pauseMs, LONGEST_PAUSE_MS) };
      return error;
    }
    if (status === 404 || (status >= 300 && status < 400)) {
      return this.#failed(`answered ${status}, and is not there; does its url end with the version (/v3)?`);
    }
    const words = wordsIn(answer, secretOf(login));
    return this.#failed(`answered ${status}${words === "" ? "" : `: ${words}`}`, "unreachable");
  }

  #failed(what: string, code: CommandError["code"] = "failed"): CommandError {
    return new CommandError(code, `${address({ who: "Keystone", url: this.#options.login.url })} ${what}`);
  }
}

/** Not what a clock that was set back calls later. */
function isRecent({ at, pauseMs }: Refusal, now: number): boolean {
  return at <= now && now < at + pauseMs;
}

/** `auth` of a request for a token. An application credential is for one project, which it knows itself. */
function authOf(login: Login): object {
  if (login.method === "application-credential") {
    const { id, secret } = login;
    return { identity: { methods: ["application_credential"], application_credential: { id, secret } } };
  }
  const { user, userDomain, password, project, projectDomain } = login;
  return {
    identity: { methods: ["password"], password: { user: { name: user, domain: { name: userDomain }, password } } },
    scope: { project: { name: project, domain: { name: projectDomain } } },
  };
}

function whoIs(login: Login): string {
  if (login.method === "application-credential") return `the application credential '${login.id}' or its secret`;
  const { user, userDomain, project, projectDomain } = login;
  return `the user '${user}' of the domain '${userDomain}', the password, or the project '${project}' of '${projectDomain}'`;
}

function secretOf(login: Login): string {
  return login.method === "password" ? login.password : login.secret;
}
