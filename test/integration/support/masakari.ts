/**
 * OpenStack Masakari's API and the Keystone before it, on loopback: what masakari/api and keystonemiddleware answer, status
 * by status, to what a monitor sends. A notification that differs in anything from what Masakari acts on is refused.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import * as z from "zod/mini";
import type { Certificate } from "../manager/cli/certificates.ts";

/** masakari/engine/instance_events.py */
const INSTANCE_EVENTS: Record<string, string> = {
  QEMU_GUEST_AGENT_ERROR: "STOPPED_FAILED",
  LIFECYCLE: "STOPPED_FAILED",
  IO_ERROR: "IO_ERROR_REPORT",
};

/** `duplicate_notification_detection_interval` */
const DUPLICATE_MS = 180_000;

export const HOSTNAME = "compute-1";
export const USER = { name: "masakari", password: "s3cret-w0rd", project: "service", domain: "Default" };
export const CREDENTIAL = { id: "21dced0fd20347869b93710d2b98aae0", secret: "cr3dential-s3cret" };
export const PROJECT_ID = "a0b1c2d3e4f5460789a0b1c2d3e4f546";

/** As schemas/notifications.py and schemas/payload.py have it, and of the type VM, with an event that is acted on. */
const notification = z.strictObject({
  notification: z.strictObject({
    type: z.literal("VM"),
    hostname: z.string().check(z.regex(/^[a-zA-Z0-9-._]{1,255}$/)),
    generated_time: z.string().check(z.refine((text) => !Number.isNaN(Date.parse(text)))),
    payload: z
      .strictObject({ event: z.string(), instance_uuid: z.guid(), vir_domain_event: z.string() })
      .check(z.refine(({ event, vir_domain_event }) => INSTANCE_EVENTS[event] === vir_domain_event)),
  }),
});
type Notification = z.infer<typeof notification>["notification"];

const passwordLogin = z.strictObject({
  auth: z.strictObject({
    identity: z.strictObject({
      methods: z.tuple([z.literal("password")]),
      password: z.strictObject({
        user: z.strictObject({ name: z.string(), domain: z.strictObject({ name: z.string() }), password: z.string() }),
      }),
    }),
    scope: z.strictObject({
      project: z.strictObject({ name: z.string(), domain: z.strictObject({ name: z.string() }) }),
    }),
  }),
});
const credentialLogin = z.strictObject({
  auth: z.strictObject({
    identity: z.strictObject({
      methods: z.tuple([z.literal("application_credential")]),
      application_credential: z.strictObject({ id: z.string(), secret: z.string() }),
    }),
  }),
});

export type StoredNotification = Notification & { notification_uuid: string; created_at: string };

export interface SeenRequest {
  method: string;
  path: string;
  token: string | undefined;
  body: unknown;
}

interface Reply {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}

export interface CatalogueEntry {
  type: string;
  endpoints: { interface: string; region?: string | null; url: string }[];
}

export class MasakariUnderTest implements AsyncDisposable {
  /** What Masakari has in its database, in the order of its coming. */
  readonly stored: StoredNotification[] = [];
  /** To Masakari, with what each was answered. */
  readonly requests: (SeenRequest & { status: number })[] = [];
  /** Requests for tokens. */
  logins = 0;
  /** Whether Masakari wants tokens. */
  auth: "keystone" | "noauth" = "keystone";
  /** Away: Keystone is not there, and Masakari cannot ask it about tokens. */
  isKeystoneAway = false;
  readonly hostsUnderMaintenance = new Set<string>();
  tokenLifeMs = 3_600_000;
  catalogue: CatalogueEntry[];
  /** So many answers to notifications are lost: the connection ends when one is stored. */
  answersToLose = 0;
  /** What each answer of Masakari's waits for. */
  beforeAnswer: (request: SeenRequest) => Promise<void> = () => Promise.resolve();
  /** Instead of what it would answer, of either. */
  insteadOf: { keystone?: Reply; masakari?: Reply } = {};
  readonly #server: Server;
  readonly #scheme: string;
  readonly #tokens = new Map<string, number>();

  private constructor(certificate: Certificate | undefined) {
    this.#server = certificate === undefined ? createHttpServer() : createHttpsServer(certificate);
    this.#scheme = certificate === undefined ? "http" : "https";
    this.#server.on("request", (request, response) => {
      void this.#serve(request, response);
    });
    this.catalogue = [];
  }

  /** @param certificate undefined for HTTP */
  static async listen(certificate?: Certificate, port = 0): Promise<MasakariUnderTest> {
    const masakari = new MasakariUnderTest(certificate);
    masakari.#server.listen(port, "127.0.0.1");
    await once(masakari.#server, "listening");
    masakari.catalogue = [
      { type: "identity", endpoints: [{ interface: "public", region: "RegionOne", url: masakari.keystoneUrl }] },
      {
        type: "instance-ha",
        endpoints: [
          { interface: "public", region: "RegionOne", url: `${masakari.url}/${PROJECT_ID}` },
          { interface: "internal", region: "RegionOne", url: `${masakari.url}/` },
        ],
      },
    ];
    return masakari;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get origin(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`;
  }

  /** Masakari's, with the version. */
  get url(): string {
    return `${this.origin}/v1`;
  }

  get keystoneUrl(): string {
    return `${this.origin}/v3`;
  }

  get posts(): (SeenRequest & { status: number })[] {
    return this.requests.filter(({ method }) => method === "POST");
  }

  /** Tokens that were given so far are known no more. */
  revokeTokens(): void {
    this.#tokens.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = await seenIn(request).catch(() => undefined);
    if (seen === undefined) return;
    const isOfKeystone = seen.path === "/v3/auth/tokens" && seen.method === "POST";
    const reply = isOfKeystone ? this.#keystone(seen) : this.#masakari(seen);
    if (!isOfKeystone) {
      this.requests.push({ ...seen, status: reply.status });
      await this.beforeAnswer(seen);
      if (seen.method === "POST" && this.answersToLose > 0) {
        this.answersToLose -= 1;
        request.socket.destroy();
        return;
      }
    }
    const { status, body, headers } = reply;
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  }

  #keystone({ body }: SeenRequest): Reply {
    this.logins += 1;
    if (this.insteadOf.keystone !== undefined) return this.insteadOf.keystone;
    if (this.isKeystoneAway) return { status: 503, body: "<html>503 Service Unavailable</html>" };
    const isKnown = isUser(body) ?? isCredential(body);
    if (isKnown === undefined) return keystoneFault(400, "Bad Request", "Expecting to find identity in auth.");
    if (!isKnown) {
      return keystoneFault(401, "Unauthorized", "The request you have made requires authentication.");
    }
    const token = randomUUID().replaceAll("-", "");
    const now = Date.now();
    const expiresAt = now + this.tokenLifeMs;
    this.#tokens.set(token, expiresAt);
    const [issued_at, expires_at] = [now, expiresAt].map((ms) => new Date(ms).toISOString().replace("Z", "000Z"));
    const answer = { methods: ["password"], issued_at, expires_at, catalog: this.catalogue, is_domain: false };
    return { status: 201, headers: { "x-subject-token": token }, body: { token: answer } };
  }

  #masakari(seen: SeenRequest): Reply {
    if (this.insteadOf.masakari !== undefined) return this.insteadOf.masakari;
    const path = /^\/v1(?:\/[0-9a-f]{32})?\/notifications(?:\?limit=\d+)?$/.exec(seen.path);
    if (path === null) return fault(404, "itemNotFound", "The resource could not be found.");
    const refusal = this.auth === "noauth" ? undefined : this.#tokenRefusal(seen.token);
    if (refusal !== undefined) return refusal;
    if (seen.method === "GET") return { status: 200, body: { notifications: this.stored.slice(0, 1) } };
    return this.#create(seen.body);
  }

  /** Of keystonemiddleware. */
  #tokenRefusal(token: string | undefined): Reply | undefined {
    if (this.isKeystoneAway) {
      const message = "The server is currently unavailable. Please try again at a later time.";
      return { status: 503, body: { message, code: "503 Service Unavailable", title: "Service Unavailable" } };
    }
    if ((this.#tokens.get(token ?? "") ?? -Infinity) > Date.now()) return undefined;
    return keystoneFault(401, "Unauthorized", "The request you have made requires authentication.");
  }

  #create(body: unknown): Reply {
    const checked = notification.safeParse(body);
    if (!checked.success) {
      const [issue] = checked.error.issues;
      const words =
        issue?.code === "unrecognized_keys"
          ? `Additional properties are not allowed (${issue.keys.map((key) => `'${key}'`).join(", ")} was unexpected)`
          : `Invalid input for field/attribute ${issue?.path.join(".") ?? ""}.`;
      return fault(400, "badRequest", words);
    }
    const { notification: news } = checked.data;
    const { hostname, type } = news;
    if (hostname !== HOSTNAME) return fault(400, "badRequest", `Host with name ${hostname} could not be found.`);
    const of = `Notification received from host ${hostname} of type '${type}' is`;
    if (this.hostsUnderMaintenance.has(hostname)) {
      return fault(409, "conflictingRequest", `${of} ignored as the host is already under maintenance.`);
    }
    if (this.stored.some((known) => isDuplicate(news, known))) {
      return fault(
        409,
        "conflictingRequest",
        `Notification received from host ${hostname} of type ${type} is duplicate.`,
      );
    }
    const stored = { ...news, notification_uuid: randomUUID(), created_at: new Date().toISOString() };
    this.stored.push(stored);
    return { status: 202, body: { notification: { ...stored, status: "new", id: this.stored.length } } };
  }
}

function isDuplicate(news: Notification, known: Notification): boolean {
  const isSame = JSON.stringify(sorted(news.payload)) === JSON.stringify(sorted(known.payload));
  return isSame && Date.parse(known.generated_time) >= Date.parse(news.generated_time) - DUPLICATE_MS;
}

function sorted(payload: Notification["payload"]): unknown {
  return Object.entries(payload).sort();
}

/** Undefined for what is no such login. */
function isUser(body: unknown): boolean | undefined {
  const { data } = passwordLogin.safeParse(body);
  if (data === undefined) return undefined;
  const { identity, scope } = data.auth;
  const { user } = identity.password;
  const isKnown = user.name === USER.name && user.password === USER.password && user.domain.name === USER.domain;
  return isKnown && scope.project.name === USER.project && scope.project.domain.name === USER.domain;
}

function isCredential(body: unknown): boolean | undefined {
  const { data } = credentialLogin.safeParse(body);
  if (data === undefined) return undefined;
  const { id, secret } = data.auth.identity.application_credential;
  return id === CREDENTIAL.id && secret === CREDENTIAL.secret;
}

function fault(code: number, name: string, message: string): Reply {
  return { status: code, body: { [name]: { code, message } } };
}

function keystoneFault(code: number, title: string, message: string): Reply {
  return { status: code, body: { error: { code, message, title } } };
}

async function seenIn(request: IncomingMessage): Promise<SeenRequest> {
  const text = String(await buffer(request));
  const { method = "", url: path = "", headers } = request;
  const isJson = headers["content-type"] === "application/json";
  const token = headers["x-auth-token"];
  return { method, path, token: String(token ?? "") || undefined, body: isJson ? (JSON.parse(text) as unknown) : text };
}
