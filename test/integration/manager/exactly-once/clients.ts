/** Those who speak while others are killed: clients of the manager's API, and programs in the guests. */
import { setTimeout as sleep } from "node:timers/promises";
import { connectUnixSocket } from "../../../../shared/channels/unix-socket.ts";
import { Client } from "../../../../shared/client.ts";
import type { Random } from "../../../fuzz/random.ts";
import type { ManagerUnderTest } from "../../support/managers.ts";
import type { SentMessage } from "./expected-history.ts";

/** Between attempts while nobody answers. */
const RETRY_MS = 10;

/** Between two events of a program: a manager takes 50 a second of a guest, and the agent's queue has an end. */
const TELL_EVERY_MS = 150;

export interface ApiClientOptions {
  /** Unlike any other client's. */
  name: string;
  manager: ManagerUnderTest;
  vms: readonly string[];
  random: Random;
  /** Stands in the values of its secrets, and in those of no others. */
  secret: string;
  /** Stands in values that the audit log is to have. */
  logged: string;
}

/** Sends one message after the other, each again under its messageId till the manager has answered. */
export class ApiClient {
  readonly #options: ApiClientOptions;
  readonly accepted: { vm: string; message: SentMessage }[] = [];

  constructor(options: ApiClientOptions) {
    this.#options = options;
  }

  acceptedFor(vm: string): SentMessage[] {
    return this.accepted.filter((one) => one.vm === vm).map(({ message }) => message);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { random, vms } = this.#options;
    for (let number = 0; !signal.aborted; number += 1) {
      const vm = random.pick(vms);
      const message = this.#message(number);
      await this.#send(vm, message);
      this.accepted.push({ vm, message });
    }
  }

  async #send(vm: string, message: SentMessage): Promise<void> {
    for (;;) {
      try {
        const { status, body } = await this.#options.manager.post(`/v1/vms/${vm}/messages`, message);
        if (status === 200) return;
        // A manager that starts does not know its VMs yet.
        if (status < 500 && status !== 404) throw new RangeError(`it answered ${status}: ${JSON.stringify(body)}`);
      } catch (error) {
        if (error instanceof RangeError) throw error;
      }
      await sleep(RETRY_MS);
    }
  }

  /** A few keys for each client, so that the cache is never full. */
  #message(number: number): SentMessage {
    const { name, random, secret, logged } = this.#options;
    const messageId = `${name}.${number}`;
    const key = `${name}.${random.pick(["a", "b", "c"])}`;
    const set = (value: string, isSecret: boolean, log: boolean): SentMessage => {
      return { method: "set", params: { messageId, entries: [{ key, value, secret: isSecret }] }, log };
    };
    switch (random.below(20)) {
      case 0:
        return { method: "clear", params: { messageId } };
      case 1:
      case 2:
      case 3:
        return { method: "delete", params: { messageId, keys: [key] } };
      case 4:
      case 5:
      case 6:
      case 7:
        return set(`${secret} ${number}`, true, true);
      case 8:
        return set(`${logged} ${number}`, false, true);
      default:
        return set(`value ${number}`, false, false);
    }
  }
}

/** Tells its host of one event after the other, each again under its messageId till the agent has answered. */
export class GuestProgram {
  readonly vm: string;
  readonly #socketPath: string;
  /** The messageIds, in order, of what the agent took. */
  readonly told: string[] = [];

  constructor(vm: string, socketPath: string) {
    this.vm = vm;
    this.#socketPath = socketPath;
  }

  async run(signal: AbortSignal): Promise<void> {
    for (let number = 0; !signal.aborted; number += 1) {
      const messageId = `${this.vm}.event.${number}`;
      while (!(await this.#tell(messageId))) await sleep(RETRY_MS);
      this.told.push(messageId);
      await sleep(TELL_EVERY_MS);
    }
  }

  async #tell(messageId: string): Promise<boolean> {
    try {
      await using client = await this.#connect();
      await client.change("event", { messageId, event: "TICK" });
      return true;
    } catch {
      return false;
    }
  }

  async #connect() {
    const client = new Client(await connectUnixSocket(this.#socketPath), { role: "local" });
    return Object.assign(client, { [Symbol.asyncDispose]: () => client.close() });
  }
}
