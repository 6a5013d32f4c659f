/** A VM's agent, greeted over the VM's channel; and for every way in which that can fail, its own message and code. */
import { type Channel, ChannelClosedError } from "../../shared/channel.ts";
import { connectUnixSocket } from "../../shared/channels/unix-socket.ts";
import { durationInWords } from "../../shared/cli/duration.ts";
import { asFailure, CommandError, Interruption, systemCode } from "../../shared/cli/failure.ts";
import { Client, type ClientOptions } from "../../shared/client.ts";
import { NoAnswerError } from "../../shared/peer.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import { type HelloResult, type Params, PROTOCOL_VERSIONS, type Result } from "../../shared/protocol/message.ts";
import { unlessAborted } from "../../shared/abort.ts";
import type { FoundVm } from "../find-vm/find-vm.ts";
import { SilentGuestError } from "../guest.ts";
import type { TimeLimits } from "../timing.ts";

/** Between two attempts to connect while the socket's backlog is full. */
const CONNECT_RETRY_MS = 100;

type Read = "get" | "list" | "watch" | "ping" | "info" | "stats";
type Change = "set" | "delete" | "clear";

export interface GreetingOptions
  extends TimeLimits, Pick<ClientOptions, "hello" | "answer" | "notified" | "restarted"> {
  /** Awaited before more is read from the guest, so that it cannot send faster than its words are printed. */
  pace?: () => Promise<void>;
}

export class GreetedAgent implements AsyncDisposable {
  readonly vm: FoundVm;
  /** What the agent answered to the hello. */
  readonly greeting: HelloResult;
  readonly #client: Client;
  readonly #options: GreetingOptions;

  private constructor(vm: FoundVm, greeting: HelloResult, client: Client, options: GreetingOptions) {
    this.vm = vm;
    this.greeting = greeting;
    this.#client = client;
    this.#options = options;
  }

  /** Connects and greets. Throws CommandError: unreachable, held, not-permitted, failed. */
  static async open(vm: FoundVm, options: GreetingOptions): Promise<GreetedAgent> {
    const { signal, answerTimeoutMs, pace } = options;
    const path = socketOf(vm);
    const channel = await connect(vm, path, AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]));
    const client = new Client(pace === undefined ? channel : paced(channel, pace), {
      ...options,
      role: "host",
      timeoutMs: answerTimeoutMs,
    });
    try {
      const greeting = await unlessAborted(signal, Promise.race([client.hello(), endOf(client)]));
      return new GreetedAgent(vm, greeting, client, options);
    } catch (error) {
      // Looked at while we are still connected: the kernel's table shows us waiting.
      const reason = await whyNoHello((await hasEnded(client)) ? new ChannelEndedError() : error, vm, path, options);
      await client.close();
      throw reason;
    }
  }

  /** What silence means where no change is at stake. */
  readonly unreachable = (why: string): CommandError => {
    return new SilentGuestError(`'${this.vm.name}' does not answer: ${why}`, { vm: this.vm.name });
  };

  /** Asks for something that changes nothing. Throws CommandError: `unreachable` when no answer comes. */
  read<M extends Read>(method: M, params: Params<M>): Promise<Result<M>> {
    return this.#within(this.#client.read(method, params), this.unreachable);
  }

  /** Asks for a change. Throws CommandError: `unconfirmed` when no answer comes. */
  change<M extends Change>(method: M, params: Params<M>): Promise<Result<M>> {
    return this.#within(this.#client.change(method, params), (why) => {
      const message = `the change was sent to '${this.vm.name}' and not confirmed: ${why}; it may or may not be done`;
      return new CommandError("unconfirmed", message, { vm: this.vm.name, messageId: params.messageId });
    });
  }

  /** Waits for what the guest says unasked; `late` is what it means when that does not come. */
  until<T>(awaited: Promise<T>, late: (why: string) => CommandError): Promise<T> {
    return this.#within(awaited, late);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client.close();
  }

  async #within<T>(work: Promise<T>, silent: (why: string) => CommandError): Promise<T> {
    try {
      return await unlessAborted(this.#options.signal, Promise.race([work, endOf(this.#client)]));
    } catch (error) {
      if (!isSilence(error)) throw guestFailure(error);
      throw silent((await hasEnded(this.#client)) ? "the channel was closed" : "the time is up");
    }
  }
}

function socketOf({ name, status, socketPath }: FoundVm): string {
  if (status === "Running" && socketPath !== undefined) return socketPath;
  throw new SilentGuestError(`the VM '${name}' is not running`, { vm: name, status });
}

async function connect(vm: FoundVm, path: string, signal: AbortSignal): Promise<Channel> {
  for (;;) {
    try {
      return await connectUnixSocket(path, signal);
    } catch (error) {
      if (signal.reason instanceof Interruption) throw signal.reason;
      // The listener's backlog is full: others wait to be served before us.
      if (systemCode(error) !== "EAGAIN") throw await whyNoConnection(error, vm, path);
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
    }
  }
}

async function whyNoConnection(error: unknown, vm: FoundVm, path: string): Promise<unknown> {
  const details = { vm: vm.name, socket: path };
  const options = { cause: error };
  const failure = (code: CommandError["code"], message: string): CommandError =>
    new CommandError(code, message, details, options);
  switch (systemCode(error) ?? "") {
    case "ENOENT":
      return new SilentGuestError(
        `the channel's socket ${path} does not exist; is the VM '${vm.name}' running?`,
        details,
        options,
      );
    case "ECONNREFUSED":
      return new SilentGuestError(
        `nobody listens on ${path}: the VM '${vm.name}' is off, or this is not its socket`,
        details,
        options,
      );
    case "EACCES":
    case "EPERM":
      return failure("not-permitted", `not permitted to open ${path}; run vmmessage as root or as the socket's group`);
    case "ENAMETOOLONG":
    case "EINVAL":
      return failure("usage", `${path} cannot be the path of a Unix socket: at most 107 bytes`);
    case "EAGAIN":
    case "ABORT_ERR":
      return held(vm, path);
    default:
      return failure("unreachable", `cannot connect to ${path}: ${String(error)}`);
  }
}

async function whyNoHello(error: unknown, vm: FoundVm, path: string, options: GreetingOptions): Promise<unknown> {
  if (error instanceof Interruption) return error;
  const details = { vm: vm.name, socket: path };
  if (isSilence(error)) return whySilent(error, vm, path, options);
  if (error instanceof RequestError && error.code === "no-common-version") {
    const ours = PROTOCOL_VERSIONS.join(", ");
    const message = `the agent in '${vm.name}' and this program have no protocol version in common; we speak ${ours}`;
    return new CommandError("failed", `${message}; update the older of the two`, details, { cause: error });
  }
  return asFailure(error);
}

async function whySilent(error: unknown, vm: FoundVm, path: string, options: GreetingOptions): Promise<CommandError> {
  const details = { vm: vm.name, socket: path };
  if (error instanceof ChannelEndedError) {
    const message = `the channel ${path} was closed before the guest answered; did the VM '${vm.name}' stop?`;
    return new SilentGuestError(message, details);
  }
  const { findHolder } = await import("../../shared/channel-holder.ts");
  if ((await findHolder(path)) !== undefined) return held(vm, path);
  const hint = vm.isOpenInGuest === false ? " (libvirt says that nothing in the guest has the port open)" : "";
  const time = durationInWords(options.answerTimeoutMs);
  const remedy = "is vmmessage's agent installed and running in the guest?";
  return new SilentGuestError(`no agent in '${vm.name}' answered within ${time}${hint}; ${remedy}`, details);
}

async function held(vm: FoundVm, path: string): Promise<CommandError> {
  const { findHolder, holderInWords } = await import("../../shared/channel-holder.ts");
  const holder = (await findHolder(path)) ?? {};
  const message = `the channel of '${vm.name}' is held by ${holderInWords(holder)}, and it serves one client at a time`;
  return new CommandError("held", `${message} (${path})`, { vm: vm.name, socket: path, ...holder });
}

class ChannelEndedError extends Error {
  override readonly name = "ChannelEndedError";
}

async function endOf(client: Client): Promise<never> {
  await client.ended;
  throw new ChannelEndedError();
}

function hasEnded(client: Client): Promise<boolean> {
  const nextTurn = new Promise<false>((resolve) => {
    setImmediate(resolve, false);
  });
  return Promise.race([client.ended.then(() => true), nextTurn]);
}

/** A guest that says that it cannot answer now is as one that says nothing. */
function guestFailure(error: unknown): unknown {
  const failure = asFailure(error);
  if (!(failure instanceof CommandError) || failure.code !== "unreachable") return failure;
  return new SilentGuestError(failure.message, failure.details, { cause: error });
}

/** No answer came or none will, as opposed to one that says no. */
function isSilence(error: unknown): boolean {
  const isLate = error instanceof NoAnswerError || (error instanceof Error && error.name === "TimeoutError");
  return isLate || error instanceof ChannelClosedError || error instanceof ChannelEndedError;
}

function paced(channel: Channel, pace: () => Promise<void>): Channel {
  return {
    name: channel.name,
    incoming: readPaced(channel.incoming, pace),
    write: (bytes) => channel.write(bytes),
    close: () => channel.close(),
  };
}

async function* readPaced(incoming: AsyncIterable<Uint8Array>, pace: () => Promise<void>): AsyncGenerator<Uint8Array> {
  for await (const chunk of incoming) {
    yield chunk;
    await pace();
  }
}
