/** The manager's HTTP API at all of its doors. */
import type { Authenticator } from "../access/authenticator.ts";
import type { Log } from "../../shared/log.ts";
import type { Service } from "../service/service.ts";
import type { Handlers } from "./handler.ts";
import { Door, type DoorOptions } from "./door.ts";
import { type ApiLimits, defaultApiLimits } from "./limits.ts";
import { StreamQuota } from "./stream-quota.ts";

export interface ApiServerOptions {
  service: Service;
  /** What serves the rows of the API's table; the service itself when left out. */
  handlers?: Handlers;
  authenticator: Authenticator;
  log: Log;
  doors: readonly DoorOptions[];
  limits?: Partial<ApiLimits>;
  /** Shared by the servers of one manager; without it, this one counts its own. */
  streams?: StreamQuota;
}

export class ApiServer implements AsyncDisposable {
  readonly #doors: readonly Door[];

  private constructor(doors: readonly Door[]) {
    this.#doors = doors;
  }

  /** Settles when all doors are open. Rejects with CommandError when one of them cannot be; then none is. */
  static async listen(options: ApiServerOptions): Promise<ApiServer> {
    const limits = { ...defaultApiLimits, ...options.limits };
    const { doors, streams = new StreamQuota(limits.streamsPerPrincipal), ...rest } = options;
    const parts = { ...rest, limits, streams };
    const opened: Door[] = [];
    try {
      for (const door of doors) opened.push(await Door.open(parts, door));
    } catch (error) {
      await Promise.all(opened.map((door) => door.close()));
      throw error;
    }
    for (const { name } of opened) parts.log.info("door-opened", { door: name });
    return new ApiServer(opened);
  }

  /** Where it listens: `unix:PATH`, `https:ADDRESS:PORT`. */
  get names(): string[] {
    return this.#doors.map(({ name }) => name);
  }

  /** Takes new certificates into use. Rejects with CommandError when some do not fit; those doors keep what they have. */
  async reloadCertificates(): Promise<void> {
    const results = await Promise.allSettled(this.#doors.map((door) => door.reload()));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  /** Settles when all doors are closed and every request has ended. */
  async close(): Promise<void> {
    await Promise.all(this.#doors.map((door) => door.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
