/** Masakari's HTTP API, as far as its monitors need it, with the token that it wants. */
import * as z from "zod/mini";
import { CommandError } from "../../../shared/cli/failure.ts";
import type { KeystoneLogin, MasakariEndpoint } from "../endpoint.ts";
import { withoutSlash } from "./catalogue.ts";
import { address, type Answer, exchange, shownUrl, wordsIn } from "./exchange.ts";
import { Keystone, type Session } from "./keystone.ts";
import type { Notification } from "./notification.ts";

/** Masakari's API sleeps for up to 5 s before it looks for duplicates, and then asks its database and its engine. */
const ANSWER_TIMEOUT_MS = 20_000;

/** What Masakari answered. */
export interface Reply {
  status: number;
  /** Its own, printable; empty when it says nothing. */
  words: string;
  body: unknown;
  /** Where it was asked, for people. */
  url: string;
}

export interface MasakariClientOptions {
  endpoint: MasakariEndpoint;
  /** Milliseconds since 1970. */
  now: () => number;
}

const created = z.object({ notification: z.object({ notification_uuid: z.uuid() }) });
const list = z.object({ notifications: z.array(z.unknown()) });

export class MasakariClient {
  readonly #endpoint: MasakariEndpoint;
  readonly #keystone: Keystone | undefined;

  constructor({ endpoint, now }: MasakariClientOptions) {
    const { login } = endpoint;
    this.#endpoint = endpoint;
    this.#keystone = login.method === "none" ? undefined : new Keystone({ ...endpoint, login, now });
  }

  /** For people. */
  get target(): string {
    const { url, login } = this.#endpoint;
    if (url !== undefined) return shownUrl(url);
    return login.method === "none" ? "nowhere" : `as ${shownUrl(login.url)} has it`;
  }

  /** Settles when there is a token to ask with; rejects with CommandError when none is to be had. */
  async ready(stop: AbortSignal): Promise<void> {
    await this.#session(stop);
  }

  /** Rejects with CommandError when there is no answer, or no token any more. */
  notify(notification: Notification, stop: AbortSignal): Promise<Reply> {
    return this.#ask("POST", "/notifications", notification, stop);
  }

  /** Its URL, where it would take a notification from us: the same rights are asked for. Rejects with CommandError. */
  async check(stop: AbortSignal): Promise<string> {
    const reply = await this.#ask("GET", "/notifications?limit=1", undefined, stop);
    if (reply.status !== 200) throw new CommandError("failed", refusalOf(reply, this.#endpoint.login));
    if (list.safeParse(reply.body).success) return reply.url;
    throw new CommandError("failed", `what answers at ${reply.url} is not Masakari`);
  }

  async close(): Promise<void> {
    await this.#keystone?.close();
  }

  /** A token may be taken back before it expires: then another one is asked for, once. */
  async #ask(method: "GET" | "POST", path: string, body: unknown, stop: AbortSignal): Promise<Reply> {
    const session = await this.#session(stop);
    const reply = await this.#askWith(session, method, path, body, stop);
    if (reply.status !== 401 || this.#keystone === undefined) return reply;
    this.#keystone.drop(session);
    return await this.#askWith(await this.#session(stop), method, path, body, stop);
  }

  async #askWith(
    { token, url }: Session,
    method: "GET" | "POST",
    path: string,
    body: unknown,
    stop: AbortSignal,
  ): Promise<Reply> {
    const headers = token === undefined ? {} : { "x-auth-token": token };
    const { ca } = this.#endpoint;
    const request = { who: "Masakari", method, url: `${url}${path}`, headers, body, ca, timeoutMs: ANSWER_TIMEOUT_MS };
    return replyOf(await exchange(request, stop), token, url);
  }

  async #session(stop: AbortSignal): Promise<Session> {
    if (this.#keystone !== undefined) return await this.#keystone.session(stop);
    const { url } = this.#endpoint;
    if (url === undefined) throw new CommandError("usage", "without Keystone's catalogue, Masakari's url is needed");
    return { token: undefined, url: withoutSlash(url) };
  }
}

/** Masakari's own id of a notification that it took; undefined when it does not say. */
export function notificationIdIn({ body }: Pick<Reply, "body">): string | undefined {
  return created.safeParse(body).data?.notification.notification_uuid;
}

/** Why it did not do what it was asked for, and where to look. */
export function refusalOf({ status, words, url }: Reply, login: KeystoneLogin): string {
  const who = address({ who: "Masakari", url });
  const answer = `${who} answered ${status}${words === "" ? "" : ` (${words})`}`;
  if (status === 401 && login.method === "none") return `${answer}: it wants a token, and the sink's auth is 'none'`;
  if (status === 401)
    return `${answer}: it takes no token of this Keystone; are both of one cloud, and can it reach Keystone?`;
  if (status === 403)
    return `${answer}: its policy os_masakari_api:notifications wants another role, the administrator's by default`;
  if (status === 404) return `${answer}: it is not there; does its url end with the version (/v1)?`;
  if (status >= 300 && status < 400) return `${answer}, and redirects are not followed: name its new url`;
  return answer;
}

function replyOf(answer: Answer, token: string | undefined, url: string): Reply {
  return { status: answer.status, words: wordsIn(answer, token), body: answer.body, url: shownUrl(url) };
}
