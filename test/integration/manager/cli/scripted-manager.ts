/** A manager that does what no real one does on demand. It speaks the API's shapes over a real socket, plain or TLS. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import { type EndpointName, endpoints } from "../../../../shared/api/endpoints.ts";
import type { KeyAnswer, Problem, Receipt, VmSummary } from "../../../../shared/api/schemas.ts";
import type { Certificate } from "./certificates.ts";

/** A request as it arrived. */
export interface Seen {
  endpoint: EndpointName;
  params: Record<string, string>;
  query: Record<string, string>;
  body: Record<string, unknown> | undefined;
  authorization: string | undefined;
}

/** JSON with status 200, or in the manager's place whatever is written to the response. */
export type Reply = object | ((response: ServerResponse) => void | Promise<void>);
export type Script = Partial<Record<EndpointName, (seen: Seen) => Reply | Promise<Reply>>>;

export const UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
export const EPOCH = "00000000000000e0";
export const WEB1 = { id: UUID, name: "web1" };

export class ScriptedManager {
  readonly seen: Seen[] = [];
  script: Script;
  readonly #server: Server;

  private constructor(script: Script, certificate: Certificate | undefined) {
    this.script = script;
    const listener: RequestListener = (request, response) => void this.#answer(request, response);
    this.#server =
      certificate === undefined
        ? createServer(listener)
        : createSecureServer({ key: certificate.key, cert: certificate.cert }, listener);
  }

  static async atSocket(path: string, script: Script): Promise<ScriptedManager> {
    const manager = new ScriptedManager(script, undefined);
    await manager.#listen(path);
    return manager;
  }

  /** On a free port of the loopback interface, with TLS. */
  static async atPort(certificate: Certificate, script: Script): Promise<ScriptedManager> {
    const manager = new ScriptedManager(script, certificate);
    await manager.#listen(0);
    return manager;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts all connections and stops listening. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  asked(endpoint: EndpointName): Seen[] {
    return this.seen.filter((seen) => seen.endpoint === endpoint);
  }

  async #listen(where: string | number): Promise<void> {
    if (typeof where === "string") this.#server.listen(where);
    else this.#server.listen(where, "127.0.0.1");
    await once(this.#server, "listening");
    onTestFinished(() => this.close());
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = await readRequest(request);
    const handler = seen && this.script[seen.endpoint];
    if (seen) this.seen.push(seen);
    const reply = seen && handler ? await handler(seen) : refused("failed", "not in the script", 404);
    if (typeof reply === "function") await reply(response);
    else response.writeHead(200, { "content-type": "application/json; charset=utf-8" }).end(JSON.stringify(reply));
  }
}

async function readRequest(request: IncomingMessage): Promise<Seen | undefined> {
  const url = new URL(request.url ?? "", "http://localhost");
  let text = "";
  for await (const piece of request) text += String(piece);
  for (const [endpoint, { method, path }] of Object.entries(endpoints)) {
    const match = new RegExp(`^${path.replace(/:(\w+)/g, "(?<$1>[^/]+)")}$`).exec(url.pathname);
    if (method !== request.method || match === null) continue;
    const params = Object.entries(match.groups ?? {}).map(([name, value]) => [name, decodeURIComponent(value)]);
    return {
      endpoint: endpoint as EndpointName,
      params: Object.fromEntries(params) as Record<string, string>,
      query: Object.fromEntries(url.searchParams),
      body: text === "" ? undefined : (JSON.parse(text) as Record<string, unknown>),
      authorization: request.headers.authorization,
    };
  }
  return undefined;
}

/** An error as RFC 9457 shapes it. */
export function refused(code: Problem["code"], detail: string, status = 409, details?: object): Reply {
  return (response) => {
    const problem = { type: "about:blank", title: code, status, detail, code, ...(details && { details }) };
    response.writeHead(status, { "content-type": "application/problem+json" }).end(JSON.stringify(problem));
  };
}

/** A stream of events, left open unless told otherwise. */
export function events(list: readonly [name: string, data: object][], { end = false } = {}): Reply {
  return (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const [name, data] of list) response.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
    if (end) response.end();
  };
}

export function ago(ms: number): string {
  return new Date(Date.now() - ms).toISOString();
}

/** `web1`, running and answering, unless told otherwise. */
export function vmSummary(different: Partial<VmSummary> = {}): VmSummary {
  return {
    ...WEB1,
    host: "node7",
    status: "Running",
    statusSince: ago(3_600_000),
    inventory: "libvirt qemu:///system",
    link: { state: "up", since: ago(3_600_000) },
    pending: 0,
    lastHeardAt: ago(300_000),
    ...different,
  };
}

export const AWAY: Partial<VmSummary> = { status: "Stopped", link: { state: "off", since: ago(300_000) } };

export function receiptOf(seen: Seen, different: Partial<Receipt> = {}): Receipt {
  const { method, params } = seen.body as { method: Receipt["method"]; params: { messageId: string } };
  return {
    messageId: params.messageId,
    vm: WEB1,
    method,
    keys: ["foo"],
    state: "delivered",
    by: "admin",
    queuedAt: ago(10),
    deliveredAt: ago(1),
    result: { epoch: EPOCH, revision: 7, ...(method === "set" ? { replaced: [] } : { deleted: ["foo"] }) },
    ...different,
  };
}

/** Without an answer of the guest's. */
export function queuedReceipt(seen: Seen, different: Partial<Receipt> = {}): Receipt {
  const receipt = receiptOf(seen, { state: "queued" });
  delete receipt.result;
  delete receipt.deliveredAt;
  return { ...receipt, ...different };
}

export const ENTRY = {
  key: "foo",
  value: "bar",
  setBy: "guest" as const,
  setAt: "2026-01-01T00:00:00.000Z",
  ageMs: 125_000,
  revision: 6,
};

export function keyAnswer(different: Partial<KeyAnswer> = {}): KeyAnswer {
  return {
    vm: WEB1,
    status: "Running",
    from: "guest",
    asOf: ago(0),
    pending: [],
    epoch: EPOCH,
    entry: ENTRY,
    ...different,
  };
}
