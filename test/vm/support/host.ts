/** A host that speaks the protocol itself, where a test needs what a command line does not do. */
import type { Channel } from "../../../shared/channel.ts";
import { connectUnixSocket } from "../../../shared/channels/unix-socket.ts";
import { Client, type ClientOptions } from "../../../shared/client.ts";
import type { HelloResult, Result, WireEntry } from "../../../shared/protocol/message.ts";
import { newMessageId } from "../../../shared/random.ts";
import { listAll } from "../../../shared/list-all.ts";

/** An emulated guest on a busy machine has time. */
const answerTimeoutMs = 60_000;

export class Host implements AsyncDisposable {
  readonly client: Client;
  readonly channel: Channel;

  private constructor(channel: Channel, options: Partial<ClientOptions>) {
    this.channel = channel;
    this.client = new Client(channel, { role: "host", timeoutMs: answerTimeoutMs, ...options });
  }

  /** Connects and does not wait for an answer: behind another client there will be none. */
  static async connect(path: string, options: Partial<ClientOptions> = {}): Promise<Host> {
    return new Host(await connectUnixSocket(path), options);
  }

  hello(): Promise<HelloResult> {
    return this.client.hello();
  }

  set(key: string, value: string, messageId = newMessageId()): Promise<Result<"set">> {
    return this.client.change("set", { messageId, entries: [{ key, value }] });
  }

  setAll(values: Record<string, string>): Promise<Result<"set">> {
    const entries = Object.entries(values).map(([key, value]) => ({ key, value }));
    return this.client.change("set", { messageId: newMessageId(), entries });
  }

  setSecret(key: string, value: string): Promise<Result<"set">> {
    return this.client.change("set", { messageId: newMessageId(), entries: [{ key, value, secret: true }] });
  }

  delete(...keys: string[]): Promise<Result<"delete">> {
    return this.client.change("delete", { messageId: newMessageId(), keys });
  }

  async get(key: string): Promise<WireEntry> {
    return (await this.client.read("get", { key })).entry;
  }

  /** Every key with its value. */
  async keys(): Promise<Record<string, string>> {
    const { entries } = await listAll(this.client);
    return Object.fromEntries(entries.map(({ key, value = "" }) => [key, value]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
  }
}
