import { CommandError } from "../../shared/cli/failure.ts";
import { readEntries } from "../../shared/cli/value-sources.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import type { Params } from "../../shared/protocol/message.ts";
import type { Request } from "../../shared/protocol/session.ts";
import { newMessageId } from "../../shared/random.ts";
import { unlessAborted } from "../../shared/abort.ts";
import type { SetCommand } from "../command.ts";
import type { Guest } from "../guest.ts";
import { type Context, openGuest } from "../open-guest.ts";
import { sentences, Transcript } from "../transcript.ts";

/** `-k KEY -V VALUE ...`: all of the keys or none, in one message. */
export async function set(command: SetCommand, context: Context): Promise<void> {
  const transcript = new Transcript(context.output, command.style);
  const entries = await unlessAborted(context.interrupt, readEntries(command, context.stdin));
  const messageId = newMessageId();
  const acknowledgement = command.waitAck ? new Acknowledgement(messageId) : undefined;
  await using guest = await openGuest(command, context, transcript, acknowledgement?.expectations);
  transcript.say(sentences.sending);
  const result = await guest.change("set", { messageId, entries, ...command.condition });
  transcript.say(sentences.sent);
  const acknowledged = await acknowledgement?.receive(guest);
  if (acknowledged !== undefined) transcript.say(sentences.acknowledged(acknowledged.result));
  if (command.style === "json") {
    const { key, result: answer } = acknowledged ?? {};
    context.output.json({
      vm: guest.vm.name,
      messageId,
      ...result,
      ...(acknowledged && { acknowledged: { key, result: answer } }),
    });
  }
}

/** The word of a program in the guest that it has acted on the message (`agent --ack`). */
class Acknowledgement {
  readonly #messageId: string;
  readonly #received = Promise.withResolvers<Params<"acknowledge">>();

  constructor(messageId: string) {
    this.#messageId = messageId;
  }

  get expectations() {
    return {
      lasts: "wait" as const,
      hello: { accepts: ["acknowledge" as const], acknowledgeOf: this.#messageId },
      answer: (request: Request) => this.#take(request),
    };
  }

  async receive(guest: Guest): Promise<Params<"acknowledge">> {
    const acknowledged = await guest.until(this.#received.promise, (why) => {
      const message = `'${guest.vm.name}' has the message, but nothing there acknowledged it: ${why}`;
      return new CommandError("unconfirmed", message, { vm: guest.vm.name, messageId: this.#messageId });
    });
    // What answers after it shows that the agent has read our receipt and will not deliver it again.
    await guest.read("ping", {}).catch(() => undefined);
    return acknowledged;
  }

  #take({ method, params }: Request): Promise<unknown> {
    if (method !== "acknowledge" || params.of !== this.#messageId) {
      return Promise.reject(new RequestError("not-permitted", "only the acknowledgement of one message is taken here"));
    }
    this.#received.resolve(params);
    return Promise.resolve({});
  }
}
