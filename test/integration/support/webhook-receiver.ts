/** A receiver of webhooks on loopback, over HTTPS or HTTP, that writes down what it gets and answers as it is told. */
import { once } from "node:events";
import {
  createServer as createHttpServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
} from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import type { Certificate } from "../manager/cli/certificates.ts";

export interface ReceivedWebhook {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Buffer;
}

export type Answer =
  | { status: number; headers?: Record<string, string>; body?: string | Buffer }
  /** The connection is reset, without an answer. */
  | "reset"
  /** No answer ever. */
  | "silence"
  /** The head of a 200, and then no end of the body. */
  | "endless";

export class WebhookReceiver implements AsyncDisposable {
  readonly requests: ReceivedWebhook[] = [];
  /** Connections it has had. */
  connections = 0;
  /** Of its requests, how many were in progress at the same time, at most. */
  mostAtOnce = 0;
  /** Every answer that is not scripted. */
  usualAnswer: Answer = { status: 204 };
  /** What an answer waits for. */
  beforeAnswer: (request: ReceivedWebhook) => Promise<void> = () => Promise.resolve();
  readonly #server: Server;
  readonly #isTls: boolean;
  /** By the other end's port: what TLS runs over is another socket than its own, and the one that can be reset. */
  readonly #sockets = new Map<number | undefined, Socket>();
  readonly #answers: Answer[] = [];
  #atOnce = 0;

  private constructor(certificate: Certificate | undefined) {
    this.#isTls = certificate !== undefined;
    this.#server = certificate === undefined ? createHttpServer() : createHttpsServer(certificate);
    this.#server.on("connection", (socket: Socket) => {
      this.connections += 1;
      const { remotePort } = socket;
      this.#sockets.set(remotePort, socket);
      socket.once("close", () => this.#sockets.delete(remotePort));
    });
    this.#server.on("request", (request, response) => {
      void this.#receive(request).then(async (received) => {
        this.#atOnce += 1;
        this.mostAtOnce = Math.max(this.mostAtOnce, this.#atOnce);
        await this.beforeAnswer(received);
        this.#atOnce -= 1;
        const answer = this.#answers.shift() ?? this.usualAnswer;
        if (answer === "reset") this.#reset(request.socket);
        else if (answer === "endless") response.writeHead(200).write("and ");
        else if (answer !== "silence") response.writeHead(answer.status, answer.headers).end(answer.body);
      });
    });
  }

  /** @param certificate undefined for HTTP */
  static async listen(certificate: Certificate | undefined): Promise<WebhookReceiver> {
    const receiver = new WebhookReceiver(certificate);
    receiver.#server.listen(0, "127.0.0.1");
    await once(receiver.#server, "listening");
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  url(path = "/", host = "127.0.0.1"): string {
    return `${this.#isTls ? "https" : "http"}://${host}:${this.port}${path}`;
  }

  /** Of the requests, in their order. */
  get ids(): (string | undefined)[] {
    return this.requests.map(({ headers }) => headers["webhook-id"]);
  }

  /** The next answers, in their order. */
  answer(...answers: readonly Answer[]): void {
    this.#answers.push(...answers);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets.values()) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #reset({ remotePort }: Socket): void {
    this.#sockets.get(remotePort)?.resetAndDestroy();
  }

  async #receive(request: IncomingMessage): Promise<ReceivedWebhook> {
    const { method = "", url: path = "", headers } = request;
    const received = { method, path, headers: flat(headers), body: await buffer(request) };
    this.requests.push(received);
    return received;
  }
}

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}
