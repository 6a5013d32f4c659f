/** A guest that is asked over its own channel, which serves one client at a time. */
import type { ChangeMethod } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { listAll, type WholeList } from "../../shared/list-all.ts";
import type { Params, Result } from "../../shared/protocol/message.ts";
import type { CommonOptions } from "../command.ts";
import type { Context } from "../context.ts";
import { findVm } from "../find-vm/find-vm.ts";
import type { Guest, Pong, Sent, WatchRequest } from "../guest.ts";
import type { Expectations } from "../open-guest.ts";
import { timeLimits } from "../timing.ts";
import { sentences, type Transcript } from "../transcript.ts";
import { Acknowledgement } from "./acknowledgement.ts";
import { GreetedAgent } from "./greeted-agent.ts";
import { Watch } from "./watch.ts";

interface Opening {
  command: CommonOptions;
  context: Context;
  transcript: Transcript;
  expectations: Expectations;
}

/** Finds the VM's channel, connects and greets. */
export async function openDirectGuest({ command, context, transcript, expectations }: Opening): Promise<Guest> {
  const { target, timeoutMs } = command;
  const { answerTimeoutMs } = timeLimits(timeoutMs, "answer", context.interrupt);
  const vm = await findVm(target, AbortSignal.any([context.interrupt, AbortSignal.timeout(answerTimeoutMs)]));
  const status = sentences.status(vm.name, vm.status);
  if (vm.status !== "Running") transcript.say(status);
  const { lasts = "answer", acknowledgementOf } = expectations;
  const acknowledgement = acknowledgementOf === undefined ? undefined : new Acknowledgement(acknowledgementOf);
  const watching: { watch?: Watch } = {};
  const agent = await GreetedAgent.open(vm, {
    ...timeLimits(timeoutMs, lasts, context.interrupt),
    ...acknowledgement?.greeting,
    notified: (notification) => watching.watch?.notified(notification),
    restarted: () => watching.watch?.restarted(),
    pace: () => context.output.drained(),
  });
  transcript.say(sentences.connected, status);
  return new DirectGuest(agent, watching, acknowledgement);
}

class DirectGuest implements Guest {
  readonly isExclusive = true;
  readonly keepsReceipts = false;
  readonly #agent: GreetedAgent;
  readonly #watching: { watch?: Watch };
  readonly #acknowledgement: Acknowledgement | undefined;

  constructor(agent: GreetedAgent, watching: { watch?: Watch }, acknowledgement: Acknowledgement | undefined) {
    this.#agent = agent;
    this.#watching = watching;
    this.#acknowledgement = acknowledgement;
  }

  get name(): string {
    return this.#agent.vm.name;
  }

  get(key: string): Promise<Result<"get">> {
    return this.#agent.read("get", { key });
  }

  list(prefix: string): Promise<WholeList> {
    return listAll(this.#agent, prefix);
  }

  info(): Promise<Result<"info">> {
    return this.#agent.read("info", {});
  }

  async ping(): Promise<Pong> {
    const startMs = performance.now();
    const answer = await this.#agent.read("ping", {});
    return { roundTripMs: Math.round((performance.now() - startMs) * 1_000) / 1_000, ...answer };
  }

  stats(): Promise<Result<"stats">> {
    return this.#agent.read("stats", {});
  }

  health(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async send<M extends ChangeMethod>(method: M, params: Params<M>): Promise<Sent<M>> {
    return { state: "delivered", result: await this.#agent.change(method, params) };
  }

  async acknowledgement(messageId: string): Promise<Params<"acknowledge">> {
    if (this.#acknowledgement === undefined) throw new Error("no acknowledgement was asked for at the greeting");
    const acknowledged = await this.#agent.until(this.#acknowledgement.received, (why) => {
      const message = `'${this.name}' has the message, but nothing there acknowledged it: ${why}`;
      return new CommandError("unconfirmed", message, { vm: this.name, messageId });
    });
    // What answers after it shows that the agent has read our receipt and will not deliver it again.
    await this.#agent.read("ping", {}).catch(() => undefined);
    return acknowledged;
  }

  async watch({ prefix, since, changed, late = this.#agent.unreachable }: WatchRequest): Promise<never> {
    const watch = new Watch(prefix, changed);
    this.#watching.watch = watch;
    await watch.start(this.#agent, since);
    return this.#agent.until(watch.failed, late);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#agent[Symbol.asyncDispose]();
  }
}
