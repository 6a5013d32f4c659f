/** What the scale test and the benchmark ask a manager on its own socket. */
import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { readEvents } from "../../../host-cli/managed/event-stream.ts";
import type { NewSubscription } from "../../../shared/api/event-schemas.ts";
import type { FleetRequest, FleetResult, Health, NewMessage, VmSummary } from "../../../shared/api/schemas.ts";

export class ManagerCalls {
  readonly #socketPath: string;
  /** Connections are kept, as by a program that asks often. */
  readonly #agent = new Agent({ keepAlive: true });

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** The links that are up. */
  async linksUp(): Promise<number> {
    const { links } = JSON.parse(await this.#body("GET", "/health")) as Health;
    return links.up;
  }

  /** The answer to a GET. */
  async ask<T>(path: string): Promise<T> {
    return JSON.parse(await this.#body("GET", path)) as T;
  }

  async ping(vm: string): Promise<void> {
    await this.#body("POST", `/v1/vms/${vm}/ping`);
  }

  /** Whether it has heard of that VM. */
  async knows(vm: string): Promise<boolean> {
    const { vms } = JSON.parse(await this.#body("GET", "/v1/vms")) as { vms: VmSummary[] };
    return vms.some(({ name }) => name === vm);
  }

  async send(vm: string, message: NewMessage): Promise<void> {
    await this.#body("POST", `/v1/vms/${vm}/messages`, message);
  }

  async subscribe(subscription: Partial<NewSubscription>): Promise<void> {
    await this.#body("POST", "/v1/subscriptions", subscription);
  }

  /** The sum of a metric over all VMs, or a VM's; or one that is of none. */
  async counter(name: string, vm?: string): Promise<number> {
    const lines = (await this.#body("GET", "/metrics")).split("\n");
    const label = vm === undefined ? "" : `vm="${vm}"`;
    const samples = lines.filter(
      (line) => /^[{ ]/.test(line.slice(name.length)) && line.startsWith(name) && line.includes(label),
    );
    return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
  }

  /** One result for each VM, as it comes. Who stops reading leaves. */
  async *fleet(body: FleetRequest): AsyncGenerator<FleetResult> {
    const response = await this.#ask("POST", "/v1/fleet", body);
    try {
      for await (const { event, data } of readEvents(response as AsyncIterable<Buffer>)) {
        if (event === "result") yield JSON.parse(data) as FleetResult;
        if (event === "error") throw new Error(`the fleet's call ended: ${data}`);
      }
    } finally {
      response.destroy();
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #body(method: string, path: string, body?: object): Promise<string> {
    return text(await this.#ask(method, path, body));
  }

  async #ask(method: string, path: string, body?: object): Promise<IncomingMessage> {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const asking = request({ socketPath: this.#socketPath, method, path, headers, agent: this.#agent });
    asking.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(asking, "response")) as [IncomingMessage];
    if (response.statusCode !== 200) {
      throw new Error(`${method} ${path} was answered ${String(response.statusCode)}: ${await text(response)}`);
    }
    return response;
  }
}
